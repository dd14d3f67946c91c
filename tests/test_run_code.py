"""A run keeps the source of its part from a file as text, and nothing runs it unless its file is named."""

import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import lmkit
from lmkit import plugins
from lmkit.cli import COMMANDS, cli
from lmkit.cli.completion import PartFile, RunOrText, RunPath
from lmkit.errors import CheckpointError, ModelError, PluginError, UsageError
from lmkit.part_files import NOTEBOOK, SESSION, add_again, part_of_class, to_send, use
from lmkit.recurrence import GatedCell, Recurrent

MARK = "LMKIT_TEST_MARK"
CELL = f'''
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from lmkit import option
from lmkit.recurrence import GatedCell

with Path(os.environ["{MARK}"]).open("a") as file:
    file.write("run ")


@dataclass(frozen=True)
class MyOptions:
    slope: float = option(1.0, "times the sum")


class MyCell(GatedCell):
    options: MyOptions

    def gates(self, x, h, state):
        return torch.tanh(self.options.slope * (x + h))
'''
SMALL = ("--hidden-size", "4", "--max-steps", "2", "--batch-size", "2", "--bptt", "8", "--tier", "plain")


@pytest.fixture(autouse=True)
def mark(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that a cell's source writes to when it is run; no test knows the classes of another."""
    path = tmp_path_factory.mktemp("mark") / "mark"
    monkeypatch.setenv(MARK, str(path))
    forget()
    yield path
    forget()


def forget() -> None:
    """Begin as a new process: without parts from files and their modules."""
    plugins.registry.cache_clear()
    for name in [name for name in sys.modules if name.startswith("file_")]:
        del sys.modules[name]


def command(*words: object) -> Result:
    forget()
    return CliRunner().invoke(cli, [*map(str, words)])


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, mycell.py and a run that it trained."""
    folder = tmp_path_factory.mktemp("sent")
    (folder / "text.txt").write_text("the cat sat on the mat\n" * 40, encoding="utf-8")
    (folder / "mycell.py").write_text(CELL, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, str(folder / "mark"))
        result = command(
            "train", folder / "text.txt", "--cell", f"{folder / 'mycell.py'}:MyCell", "--slope", "0.5",
            "--tokenizer", "word", "--min-count", "1", *SMALL, "--out", folder / "run",
        )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert f"eval {folder / 'run'} FILE --code {folder / 'mycell.py'}:MyCell" in result.output
    return folder


def test_the_source_is_stored_as_text(sent: Path) -> None:
    """The run has the source, with a hash like any file, under a name that is no distribution's."""
    run = sent / "run"
    assert (run / "code" / "MyCell.py").read_text(encoding="utf-8") == CELL
    manifest = json.loads((run / "lmkit.json").read_text(encoding="utf-8"))
    assert manifest["model"]["cell"] == {"name": "file:MyCell", "slope": 0.5}
    assert "code/MyCell.py" in manifest["files"]
    assert 'name = "file:MyCell"' in (run / "recipe.toml").read_text(encoding="utf-8")


LOADING = {
    "eval": ("eval", "RUN", "TEXT"),
    "surprisal": ("surprisal", "RUN", "TEXT"),
    "generate": ("generate", "RUN"),
    "embed": ("embed", "RUN", "TEXT", "--out", "NEW.safetensors"),
    "fill": ("fill", "RUN", "the _ sat"),
    "try": ("try", "RUN"),
    "context": ("context", "RUN", "TEXT"),
    "distances": ("distances", "RUN"),
    "minimal-pairs": ("minimal-pairs", "RUN", "TEXT"),
    "syntaxgym": ("syntaxgym", "RUN", "TEXT"),
    "compare": ("compare", "RUN", "TEXT"),
    "average": ("average", "RUN", "--last", "2", "--out", "NEW"),
    "interpolate": ("interpolate", "RUN", "COPY", "TEXT", "--out", "NEW"),
    "export": ("export", "RUN", "NEW.zip", "--to", "archive"),
    "serve": ("serve", "RUN", "--port", "0"),
    "resume": ("train", "--resume", "RUN"),
    "init": ("train", "TEXT", "--init-from", "RUN", "--out", "NEW"),
    "recipe": ("train", "TEXT", "--recipe", "RUN/recipe.toml", "--out", "NEW"),
    "classify": ("classify", "TABLE", "--init-from", "RUN", "--out", "NEW"),
}


@pytest.mark.parametrize("use_of_run", LOADING)
def test_no_command_runs_the_stored_source(
    use_of_run: str, sent: Path, mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that needs the model ends with exit code 6 and what to type, and has not run the run's code."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.tsv").write_text("text\tlabel\nthe cat\ta\nthe mat\tb\n" * 4, encoding="utf-8")
    names = {
        "RUN": str(sent / "run"), "TEXT": str(sent / "text.txt"), "NEW": str(tmp_path / "new"),
        "COPY": str(shutil.copytree(sent / "run", tmp_path / "copy")),
        "TABLE": str(tmp_path / "table.tsv"), "RUN/recipe.toml": str(sent / "run" / "recipe.toml"),
        "NEW.zip": str(tmp_path / "new.zip"), "NEW.safetensors": str(tmp_path / "new.safetensors"),
    }  # fmt: skip
    result = command(*(names.get(word, word) for word in LOADING[use_of_run]))
    assert not mark.exists()
    assert isinstance(result.exception, SystemExit), result.output
    if use_of_run in ("minimal-pairs", "syntaxgym"):  # the text, which is neither, may be refused first
        return
    assert result.exit_code == PluginError.exit_code, result.output
    stored = sent / "run" / "code" / "MyCell.py"
    assert ("--code FILE.py:MyCell" if use_of_run == "recipe" else f"--code {stored}:MyCell") in result.output


def test_commands_that_only_read_the_files(sent: Path, mark: Path, tmp_path: Path) -> None:
    """info and verify describe the run, and an archive of it is unpacked, without its code being run."""
    result = command("info", sent / "run")
    assert "need --code FILE.py:MyCell" in result.output
    assert json.loads(command("info", sent / "run", "--json").output)["code"] == ["MyCell"]
    assert command("verify", sent / "run").exit_code == 0
    packed = tmp_path / "run.zip"
    name = f"{sent / 'mycell.py'}:MyCell"
    assert command("export", sent / "run", packed, "--to", "archive", "--code", name).exit_code == 0
    mark.unlink()
    result = command("import", "archive", packed, "--out", tmp_path / "unpacked")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "unpacked" / "code" / "MyCell.py").read_text(encoding="utf-8") == CELL
    assert not mark.exists()
    (tmp_path / "unpacked" / "code" / "MyCell.py").write_text("changed", encoding="utf-8")
    assert command("verify", tmp_path / "unpacked").exit_code == ModelError.exit_code


def test_python_runs_no_stored_source(sent: Path, mark: Path) -> None:
    """`load` and `resume` refuse too, and say what to call."""
    for function in (lmkit.load, lmkit.resume):
        with pytest.raises(PluginError, match=r"first: lmkit\.use\('.*code/MyCell\.py:MyCell'\)"):
            function(sent / "run")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["code/MyCell.py:MyCell", "MyCell.py:MyCell", "file:../evil", "file:"])
def test_a_hostile_name_in_a_run(name: str, sent: Path, mark: Path, tmp_path: Path) -> None:
    """A run or a recipe cannot name a file to be run, neither its own nor another."""
    run = shutil.copytree(sent / "run", tmp_path / "run")
    for file in ("lmkit.json", "recipe.toml"):
        text = (run / file).read_text(encoding="utf-8")
        (run / file).write_text(text.replace("file:MyCell", name), encoding="utf-8")
    for words in (("eval", run, sent / "text.txt"), ("train", "--resume", run), ("info", run)):
        result = command(*words)
        assert not mark.exists()
        assert words[0] == "info" or 0 < result.exit_code <= PluginError.exit_code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)


def test_the_named_file_is_run(sent: Path, mark: Path) -> None:
    """With --code, which is also --cell, a command runs the named file, whether one's own or the run's copy."""
    for flag, file in (("--code", "mycell.py"), ("--cell", "run/code/MyCell.py")):
        mark.unlink(missing_ok=True)
        result = command("eval", sent / "run", sent / "text.txt", flag, f"{sent / file}:MyCell")
        assert result.exit_code == 0, result.output
        assert mark.read_text(encoding="utf-8") == "run "
        assert "not the code" not in result.output


def test_another_process_gets_the_source(sent: Path, mark: Path) -> None:
    """What a process sends is enough to run the files of its parts again, even if they have changed since."""
    use(f"{sent / 'mycell.py'}:MyCell")
    (again,) = sending = to_send()
    forget()
    mark.unlink()
    add_again(json.loads(json.dumps(sending)))
    assert mark.read_text(encoding="utf-8") == "run "
    assert (to_send(), again[2]) == (sending, CELL)
    lmkit.load(sent / "run")


@pytest.mark.slow
def test_compare_and_workers(sent: Path) -> None:
    """Processes that a command starts get the named files."""
    flag = ("--code", f"{sent / 'mycell.py'}:MyCell")
    assert command("compare", sent / "run", sent / "text.txt", *flag).exit_code == 0
    assert command("eval", sent / "run", sent / "text.txt", "--workers", "1", *flag).exit_code == 0


def test_resume_and_start(sent: Path, tmp_path: Path) -> None:
    """--resume, --init-from, average and the new runs keep the source; --cell names the file here as well."""
    run = shutil.copytree(sent / "run", tmp_path / "run")
    name = f"{sent / 'mycell.py'}:MyCell"
    result = command("train", "--resume", run, "--max-steps", "3", "--cell", name)
    assert result.exit_code == 0, result.output
    for words in (
        (
            "train",
            sent / "text.txt",
            "--init-from",
            run,
            "--max-steps",
            "1",
            "--tier",
            "plain",
            f"--cell={name}",
        ),
        ("average", run, sent / "run", "--code", name),
    ):
        result = command(*words, "--out", tmp_path / words[0])
        assert result.exit_code == 0, result.output
        assert (tmp_path / words[0] / "code" / "MyCell.py").read_text(encoding="utf-8") == CELL
        assert f"lmkit eval {tmp_path / words[0]} FILE --code {name}\n" in result.output


def test_changed_source(sent: Path, tmp_path: Path) -> None:
    """Scores with changed code come with a warning; a training cannot be resumed with it."""
    changed = tmp_path / "mycell.py"
    changed.write_text(CELL.replace("tanh", "sigmoid"), encoding="utf-8")
    stored = f"--code {sent / 'run' / 'code' / 'MyCell.py'}:MyCell"
    result = command("eval", sent / "run", sent / "text.txt", "--code", f"{changed}:MyCell")
    assert result.exit_code == 0, result.output
    assert "is not the code that it was trained with" in result.output
    assert stored in result.output
    result = command("train", "--resume", sent / "run", "--max-steps", "9", "--code", f"{changed}:MyCell")
    assert result.exit_code == CheckpointError.exit_code
    assert stored in result.output


def test_two_versions_of_one_class(sent: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of two classes with one name, each run gets the one that it was trained with, and others get the last."""
    changed = tmp_path / "mycell.py"
    changed.write_text(CELL.replace("tanh", "sigmoid"), encoding="utf-8")
    use(f"{sent / 'mycell.py'}:MyCell")
    settings = {"hidden_size": 4, "max_steps": 2, "batch_size": 2, "bptt": 8, "tier": "plain"}
    second = lmkit.train(
        sent / "text.txt", cell=use_class(f"{changed}:MyCell"), out=tmp_path / "two", **settings
    )
    caplog.clear()
    models = [lmkit.load(path) for path in (sent / "run", tmp_path / "two")]
    assert "not the code" not in caplog.text
    cells = [type(model.run.model.stack.layers[0]) for model in models]  # pyright: ignore[reportAttributeAccessIssue]
    assert cells[0] is not cells[1]
    assert type(second.run.model.stack.layers[0]) is cells[1]  # pyright: ignore[reportAttributeAccessIssue]
    use(f"{sent / 'mycell.py'}:MyCell")
    assert lmkit.load(tmp_path / "two").score(["the cat"]).bits == models[1].score(["the cat"]).bits


def use_class(name: str) -> type:
    return plugins.registry().find("cell", use(name)).load()


def test_every_command_with_runs_has_code() -> None:
    """Whoever gives a run, or a recipe to sweep, can name its code, in one way for all commands that load models."""
    for name in COMMANDS:
        found = cli.get_command(click.Context(cli), name)
        assert found is not None
        params = found.params
        takes_runs = any(isinstance(param.type, (RunPath, RunOrText)) for param in params) or name == "sweep"
        has_code = any("--code" in param.opts and isinstance(param.type, PartFile) for param in params)
        assert has_code == (takes_runs and name not in ("info", "verify")), name


def test_a_class_in_memory(sent: Path, tmp_path: Path) -> None:
    """A class of a script, a test or a notebook trains, saves its source and is loaded while it is known."""
    settings = {"hidden_size": 4, "max_steps": 2, "batch_size": 2, "bptt": 8, "tier": "plain"}
    lmkit.train(sent / "text.txt", model=Plain, out=tmp_path / "run", **settings)
    stored = (tmp_path / "run" / "code" / "Plain.py").read_text(encoding="utf-8")
    assert stored == Path(__file__).read_text(encoding="utf-8")
    lmkit.load(tmp_path / "run")
    forget()
    with pytest.raises(PluginError, match="needs the code of Plain"):
        lmkit.load(tmp_path / "run")
    assert use(Plain) == "file:Plain"
    lmkit.load(tmp_path / "run")


class Plain(GatedCell):
    def gates(self, x, h, state):
        return (x + h).tanh()


def test_a_class_of_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source of a notebook's class is that of its cell; of a class typed at a prompt there is none."""
    import linecache
    import types

    text = "class Noted(Base):\n    def gates(self, x, h, state):\n        return (x + h).tanh()\n"
    module = types.ModuleType("notebook_main")
    module.__dict__["Base"] = GatedCell
    monkeypatch.setitem(sys.modules, "notebook_main", module)
    exec(compile(text, "<cell 7>", "exec"), module.__dict__)
    part = part_of_class(module.Noted)
    assert (part.file, part.text) == (SESSION, None)  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(linecache.cache, "<cell 7>", (len(text), None, text.splitlines(True), "<cell 7>"))
    part = part_of_class(module.Noted)
    assert (part.file, part.text) == (NOTEBOOK, text)  # pyright: ignore[reportAttributeAccessIssue]
    assert part.describe() == "the cell Noted of a notebook"


def test_without_source(
    tmp_path: Path, sent: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run of a class without source says so when it is trained."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("lmkit.part_files._source", lambda target: (SESSION, None))
    lmkit.train(
        sent / "text.txt", model=Plain, out=tmp_path / "run", hidden_size=4, max_steps=1, tier="plain"
    )
    assert not (tmp_path / "run" / "code").exists()
    assert "the source of Plain cannot be found" in caplog.text


def test_recurrent_takes_a_class() -> None:
    """`Recurrent(cell=MyCell)`: with the defaults of its options; an installed class is the installed part."""
    from lmkit_recurrent.lstm import LSTMCell

    assert isinstance(Recurrent(3, 4, cell=Plain).layers[0], Plain)
    layer = Recurrent(3, 4, cell=LSTMCell).layers[0]
    assert layer.options is not None
    assert part_of_class(LSTMCell).long_name == "lmkit:lstm"


def test_a_string_is_no_file_in_python(sent: Path) -> None:
    """Only `use` runs a file, so a string from elsewhere cannot."""
    make: Callable[[], object] = lambda: lmkit.train(sent / "text.txt", model=f"{sent / 'mycell.py'}:MyCell")  # noqa: E731
    with pytest.raises(UsageError, match=r"lmkit\.use\("):
        make()
