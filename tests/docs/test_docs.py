"""What the documentation says is true: its Python runs, its command lines parse, its lists are complete."""

import importlib
import importlib.util
import inspect
import os
import re
import shlex
import subprocess
import sys
import tomllib
import typing
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import click
import pytest
import torch
from click.testing import CliRunner

from lmkit import hookspecs, plugins
from lmkit.cli import cli
from lmkit.specs import KINDS
from lmkit.testing import checks

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# ([\w./-]+\.(?:py|toml))\n")
TEXT = "the cat sat on the mat and the dog lay by the door\na bird sang in the tree by the house\n" * 40


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; file: the file that it is, where its first line names one."""

    language: str
    code: str
    line: int

    @property
    def file(self) -> str | None:
        named = FILE_NAME.match(self.code)
        return named[1] if named else None

    @property
    def content(self) -> str:
        return self.code.partition("\n")[2] if self.file else self.code


def blocks(page: Path, *languages: str) -> list[Block]:
    if not page.exists():
        return []
    text = page.read_text(encoding="utf-8")
    found = (Block(m[1], m[2], text[: m.start()].count("\n") + 2) for m in FENCE.finditer(text))
    return [block for block in found if block.language in languages]


def write_file(folder: Path, block: Block) -> None:
    assert block.file
    path = folder / block.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.content, encoding="utf-8")


class Installed:
    """Packages in place of installed plugins; each has the distribution of its name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._own = plugins.installed(third_party=False)
        self._packages: dict[str, str] = {}
        monkeypatch.setattr(plugins, "installed", self._list)

    def add(self, package: str, distribution: str) -> None:
        self._packages[package] = distribution
        self.forget()

    def forget(self) -> None:
        """Import what the packages hold now."""
        for name in [n for n in sys.modules if n.split(".")[0] in self._packages]:
            del sys.modules[name]
        importlib.invalidate_caches()
        plugins.registry.cache_clear()

    def _list(self, *, third_party: bool = True) -> list[plugins.Plugin]:
        def loader(package: str) -> typing.Callable[[], ModuleType]:
            return lambda: importlib.import_module(package)

        return self._own + [plugins.Plugin(p, d, "0.1.0", loader(p)) for p, d in self._packages.items()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place to be in, with two texts and room for packages."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Files of one page that are written twice in a second would be taken from the bytecode of the first.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("text.txt", "valid.txt"):
        Path(name).write_text(TEXT, encoding="utf-8")
    return tmp_path


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = Installed(monkeypatch)
    yield found
    found.forget()
    torch.set_num_threads(threads)


def add_packages(installed: Installed, folder: Path) -> list[str]:
    """Install every package that the folder holds; their distributions."""
    packages = [path.parent.name for path in sorted(folder.glob("*/__init__.py"))]
    for package in packages:
        installed.add(package, package.replace("_", "-"))
    return [package.replace("_", "-") for package in packages]


def run_page(page: Path, folder: Path, installed: Installed) -> None:
    """Run the Python of a page in order, in one namespace; blocks that are files are written."""
    space: dict[str, object] = {"__name__": "docs"}
    for block in blocks(page, "python", "toml"):
        if block.file:
            write_file(folder, block)
            add_packages(installed, folder)
        elif block.language == "python":
            # Blank lines put tracebacks where the page has them.
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), space)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_runs(page: Path, folder: Path, installed: Installed) -> None:
    """Every ```python block of a page runs, after the ones above it."""
    run_page(page, folder, installed)


def test_plugins_of_the_tutorial_conform(folder: Path, installed: Installed) -> None:
    """Every plugin that docs/plugins.md builds passes the conformance suite, in its first state and its last."""
    page = ROOT / "docs" / "plugins.md"
    files: dict[str, list[Block]] = {}
    for block in blocks(page, "python"):
        if block.file:
            files.setdefault(block.file, []).append(block)
    for state in (0, -1):
        for versions in files.values():
            write_file(folder, versions[state])
        found = [check for name in add_packages(installed, folder) for check in checks(f"{name}:*")]
        assert {check.part.kind for check in found} == set(KINDS)
        for check in found:
            check()


def test_example_is_the_tutorial(folder: Path) -> None:
    """examples/first_cell is what docs/plugins.md begins with."""
    seen = set()
    for block in blocks(ROOT / "docs" / "plugins.md", "python", "toml"):
        if block.file and block.file not in seen and block.file.startswith(("first_cell", "pyproject")):
            seen.add(block.file)
            example = ROOT / "examples" / "first_cell" / block.file
            assert example.read_text(encoding="utf-8") == block.content
    assert len(seen) == 3


def test_example_installs(tmp_path: Path) -> None:
    """examples/first_cell is a distribution that pip builds and whose part passes the suite."""
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    source = str(ROOT / "examples" / "first_cell")
    pip = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(tmp_path), source]
    subprocess.run(pip, check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "site")
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
    suite = [sys.executable, "-m", "lmkit.testing", "first-cell:first-cell"]
    result = subprocess.run(suite, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def command_lines(page: Path) -> list[tuple[str, list[str]]]:
    """The `lmkit` lines of a page's shell blocks, and their words without pipes and redirections."""
    found = []
    for block in blocks(page, "sh", "console", "bash", "shell"):
        for line in block.code.replace("\\\n", " ").splitlines():
            line = line.removeprefix("$ ")
            if "..." in line or not re.match(r"(\w+=\S+ )*lmkit( |$)", line):
                continue
            words = shlex.split(line, comments=True)
            words = words[words.index("lmkit") + 1 :]
            ends = [i for i, word in enumerate(words) if re.fullmatch(r"[|;&>]+|2?>\S*", word)]
            found.append((line, words[: ends[0]] if ends else words))
    return found


def parse(words: list[str]) -> None:
    """Parse a command line as click does before it runs a command."""
    command: click.Command = cli
    context: click.Context | None = None
    try:
        while True:
            context = command.make_context(command.name or "lmkit", words, parent=context)
            if not isinstance(command, click.Group):
                return
            words = [*context._protected_args, *context.args]
            _, found, words = command.resolve_command(context, words)
            assert found
            command = found
    except click.exceptions.Exit:
        pass  # --help and --version end here


NEEDED = {
    "--recipe": ("", '[model]\nname = "gru"\n'),
    "--resume": ("recipe.toml", '[model]\nname = "gru"\n'),
    "--init-from": ("lmkit.json", '{"format": 1, "model": {"name": "lstm"}, "tokenizer": {"name": "word"}}'),
}
"""Files that a command line reads while it is parsed: their place in the path of a flag, and their contents."""

LINES = [(page.name, line, words) for page in PAGES for line, words in command_lines(page)]


@pytest.mark.parametrize(("page", "line", "words"), LINES, ids=[f"{p}: {line}" for p, line, _ in LINES])
def test_command_lines_parse(
    page: str, line: str, words: list[str], folder: Path, installed: Installed
) -> None:
    """Every `lmkit` line of the pages has commands, options and names of parts that exist."""
    for source in PAGES:
        for block in blocks(source, "python", "toml"):
            if block.file:
                write_file(folder, block)
    add_packages(installed, folder)
    for flag, (name, content) in NEEDED.items():
        if flag in words:
            file = Path(words[words.index(flag) + 1], name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
    parse(words)


def test_recipes_are_right(folder: Path, installed: Installed) -> None:
    """Every recipe in the pages resolves, and every range of one for a sweep."""
    from lmkit.recipe import SWEEP, build
    from lmkit.studies.sweep_ranges import read_space

    recipes = [b for page in PAGES for b in blocks(page, "toml") if b.file != "pyproject.toml"]
    assert recipes
    for block in recipes:
        tables = tomllib.loads(block.code)
        if SWEEP in tables:
            read_space(tables, f"line {block.line}")
        else:
            build(tables)


def test_every_hook_is_documented() -> None:
    """docs/plugins.md has each hook of lmkit/hookspecs.py with its exact signature, and no other."""
    hooks = {name: f for name, f in vars(hookspecs).items() if hasattr(f, "lmkit_spec")}
    wanted = set()
    for name, function in hooks.items():
        signature = inspect.signature(function)
        returns = str(signature.return_annotation).replace("collections.abc.", "").replace("lmkit.specs.", "")
        wanted.add(f"{name}({', '.join(map(str, signature.parameters.values()))}) -> {returns}")
    text = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### `(lmkit_.*)`$", text, re.MULTILINE)) == wanted


@pytest.mark.parametrize(
    ("maker", "made"), [("make_cli.py", "docs/cli.md"), ("make_stub.py", "lmkit/api.pyi")]
)
def test_what_is_made_is_current(maker: str, made: str) -> None:
    """docs/cli.md and lmkit/api.pyi are what their scripts in docs/ write."""
    script = ROOT / "docs" / maker
    # A separate process, without plugins.
    result = subprocess.run(
        [sys.executable, str(script), "--print"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    current = (ROOT / made).read_text(encoding="utf-8")
    assert current == result.stdout, f"run: python docs/{maker}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link of a page names a file that exists."""
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", FENCE.sub("", text)):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


# The steps of a cell are compiled, which takes half a minute.
CELL = pytest.param("cell", marks=pytest.mark.slow)


@pytest.mark.parametrize("heading", [CELL, "tokenizer", "decoder", "model", "encoder"])
def test_tutorials_of_own_parts(heading: str, folder: Path, installed: Installed) -> None:
    """Every tutorial of docs/own-parts.md works as it stands: the part keeps the rules, and its commands succeed."""
    page = ROOT / "docs" / "own-parts.md"
    text = page.read_text(encoding="utf-8")
    for block in blocks(page, "python"):
        write_file(folder, block)
    start = re.search(rf"^## An? {heading}$", text, re.MULTILINE)
    assert start
    first = text[: start.start()].count("\n")
    last = first + text[start.end() :].partition("\n## ")[0].count("\n")
    lines = [block for block in blocks(page, "sh") if first < block.line <= last]
    if heading == "decoder":  # its model is that of the first tutorial
        lines.insert(0, Block("sh", blocks(page, "sh")[0].code.splitlines()[1], 0))
    commands = [line for block in lines for line in block.code.splitlines()]
    assert any(line.startswith("lmkit plugins check") for line in commands)
    for line in commands:
        if not line.startswith("lmkit compare"):  # starts a process
            result = CliRunner().invoke(cli, shlex.split(line)[1:])
            assert result.exit_code == 0, f"{line}\n{result.output}"
