"""`lmkit plugins new`: what it writes installs, is tidy, and passes the checks as it is."""

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lmkit.cli import cli
from lmkit.scaffold import PARTS


def new(*line: object) -> Result:
    return CliRunner().invoke(cli, ["plugins", "new", *map(str, line)])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of a new part of each kind."""
    root = tmp_path_factory.mktemp("new")
    found = {kind: root / f"my-{kind}" for kind in PARTS}
    for kind, folder in found.items():
        made = new(kind, f"my-{kind}", "--out", folder)
        assert made.exit_code == 0, made.output
    return found


def as_installed(folder: Path, into: Path) -> Path:
    """The folder with the metadata of an installed distribution beside its package, without running pip."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = into / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    entries = "".join(f"{name} = {value}\n" for name, value in project["entry-points"]["lmkit"].items())
    (info / "entry_points.txt").write_text(f"[lmkit]\n{entries}")
    return info


def test_new_parts_pass_the_checks(folders: dict[str, Path], tmp_path: Path) -> None:
    """A part of each kind follows every rule, by the test that was written with it."""
    for folder in folders.values():
        as_installed(folder, tmp_path)
    tests = [path for folder in folders.values() for path in folder.glob("tests/test_*.py")]
    assert len(tests) == len(PARTS)
    paths = os.pathsep.join([str(tmp_path), *map(str, folders.values()), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *map(str, tests)]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout
    assert "skipped" not in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", PARTS)
def test_new_parts_install(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """pip installs the distribution, with its module and its entry point."""
    options = [
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        str(tmp_path / "site"),
    ]
    command = [sys.executable, "-m", "pip", "install", *options, str(folders[kind])]
    subprocess.run(command, check=True)
    names = {path.name for path in (tmp_path / "site").iterdir()}
    assert f"my_{kind}" in names


def test_new_files_are_tidy(folders: dict[str, Path]) -> None:
    """ruff finds nothing to improve, and no placeholder is left."""
    root = next(iter(folders.values())).parent
    for arguments in (["check"], ["format", "--check"]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "--no-cache", str(root)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout
    for path in root.rglob("*.*"):
        assert not path.is_file() or "$" not in path.read_text(encoding="utf-8"), path


def test_it_says_what_it_wrote_and_what_is_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files on stdout, the commands on stderr; without --out the folder has the part's name."""
    monkeypatch.chdir(tmp_path)
    made = new("cell", "two_words")
    assert made.stdout.splitlines()[0] == "two_words/pyproject.toml"
    assert all(Path(line).is_file() for line in made.stdout.splitlines())
    assert "pip install -e two_words" in made.stderr
    assert "class TwoWords(GatedCell)" in Path("two_words/two_words/cell.py").read_text(encoding="utf-8")
    listed = json.loads(new("cell", "other", "--json").stdout)
    assert listed["folder"] == "other"
    assert len(listed["files"]) == 5


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("My", "a name begins with a letter"),
        ("../up", "a name begins with a letter"),
        ("a--b", "a name begins with a letter"),
        ("gru", "'gru' is a built-in cell"),
        ("json", "Python has a module json already"),
        ("class", "Python has a module class already"),
        ("lmkit", "Python has a module lmkit already"),
    ],
)
def test_names_that_cannot_be_used(name: str, said: str, tmp_path: Path) -> None:
    """Names that Python or lmkit has another meaning for are refused in one line, and nothing is written."""
    refused = new("cell", name, "--out", tmp_path / "new")
    assert (refused.exit_code, refused.output.count("\n"), said in refused.output) == (2, 1, True), (
        refused.output
    )
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    """A folder that exists is not written into."""
    (tmp_path / "kept.txt").write_text("kept")
    refused = new("decoder", "fresh", "--out", tmp_path)
    assert (refused.exit_code, "exists already" in refused.output) == (2, True), refused.output
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
    assert importlib.util.find_spec("fresh") is None
