"""Fixtures for all tests: the shared folder, commands with third-party plugins installed, a reader of pages."""

import logging
import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several workers share the cores; set before torch is imported, here and in the programs that tests start.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import random
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import settings

# Examples are the same in every run, and have no time limit, which a loaded machine or a first compilation would
# exceed.
settings.register_profile("lmkit", deadline=None, derandomize=True)
settings.load_profile("lmkit")

ROOT = Path(__file__).parent.parent
THIRDPARTY = ROOT / "tests" / "thirdparty"
DEMOS = (
    "lmkit-demo-cell",
    "lmkit-demo-tokenizer",
    "lmkit-demo-decoder",
    "lmkit-demo-bigram",
    "lmkit-demo-encoder",
)
"""The third-party distributions that are as they should be."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Fixtures are made from the same state, whichever test is the first to need them."""
    same_random_state()
    same_log_levels()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """Every test begins with the same random state, whichever ran before it."""
    same_random_state()


def same_random_state() -> None:
    """Seed the generators that a test may use without its own seed."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def same_log_levels() -> None:
    """Undo the levels that a command has set in this process; a test sets its own later."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for name in [name for name in root.manager.loggerDict if name.startswith("lmkit")]:
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def quiet_messages() -> Iterator[None]:
    """The handler that a command puts on the root logger goes with the test."""
    before = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = before


# A shell starts what runs in the background with Ctrl-C ignored, which the programs that tests interrupt would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """The workers of `pytest -n auto`: each imports torch, so that more than eight gain little and cost memory."""
    return min(os.cpu_count() or 1, 8)


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of texts and reference files beside the repository."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip(f"needs the folder {path.name} beside the repository")
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run, trained once; tests that change it take `run`."""
    import lmkit

    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text("the cat sat on the mat\n" * 40, encoding="utf-8")
    lmkit.train(
        folder / "text.txt", out=folder / "gru", tokenizer="word", min_count=1,
        hidden_size=8, max_steps=2, batch_size=2, bptt=8,
    )  # fmt: skip
    return folder / "gru"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the small run, to damage."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture(scope="session")
def plugin_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each distribution of tests/thirdparty, installed in a separate folder for PYTHONPATH."""
    wheels = tmp_path_factory.mktemp("wheels")
    sources = [str(path.parent) for path in sorted(THIRDPARTY.glob("*/pyproject.toml"))]
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(wheels), *sources]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    folders = {}
    for wheel in wheels.glob("*.whl"):
        # A wheel of pure Python unpacked is a wheel installed, and takes no second run of pip for each.
        folder = tmp_path_factory.mktemp("plugin")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        folders[wheel.name.split("-")[0].replace("_", "-")] = folder
    return folders


@pytest.fixture
def python_with_plugins(plugin_folders: dict[str, Path], tmp_path: Path) -> Run:
    """python_with_plugins(*args, plugins=DEMOS): Python in an empty folder with these distributions."""

    def run(*args: str, plugins: tuple[str, ...] = DEMOS) -> "subprocess.CompletedProcess[str]":
        folders = [*(str(plugin_folders[name]) for name in plugins), os.environ.get("PYTHONPATH", "")]
        paths = os.pathsep.join(filter(None, folders))
        env = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
        command = [sys.executable, *args]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=tmp_path)

    return run


@pytest.fixture
def lmkit_with_plugins(python_with_plugins: Run) -> Run:
    """lmkit_with_plugins(*args, plugins=DEMOS): `lmkit *args` in an empty folder with these distributions."""

    def run(*args: str, plugins: tuple[str, ...] = DEMOS) -> "subprocess.CompletedProcess[str]":
        start = "import sys; from lmkit.cli import main; sys.argv[0] = 'lmkit'; sys.exit(main())"
        return python_with_plugins("-c", start, *args, plugins=plugins)

    return run


OUTSIDE = ("href", "src", "action", "srcset", "data", "background", "poster")


class Page(HTMLParser):
    """Reads a page; `text` is what it shows, `tags` the names of its elements."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        names = {name for name, _ in attrs}
        assert not names & set(OUTSIDE), f"<{tag}> has an address"
        assert not any(name.startswith("on") for name in names), f"<{tag}> has a script"
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def _read(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    assert not page.open
    assert not {"script", "link", "iframe", "object", "embed", "base", "form", "img"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text
    return page


@pytest.fixture(scope="session")
def read_page() -> Callable[[str], Page]:
    """Reads a page or a fragment; AssertionError unless it is well formed, without scripts and outside addresses."""
    return _read
