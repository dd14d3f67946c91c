"""The directory of a run in training: names, locks, and what a failure leaves."""

import shutil
from pathlib import Path

import pytest

import lmkit
from lmkit.errors import CheckpointError, ModelError, UsageError
from lmkit.notes import NOTE
from lmkit.options import choose
from lmkit.run_paths import MANIFEST
from lmkit.runs import put_in_place
from lmkit.training.run_directory import run_lock, workplace

GRU = choose("model", {"name": "recurrent", "cell": "gru"}, "model")


def test_free_names_are_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --out, the name of the cell under runs/, with the next free number."""
    monkeypatch.chdir(tmp_path)
    found = []
    for _ in range(3):
        with workplace(None, GRU, overwrite=False) as directory:
            assert directory.is_dir()
            (directory / "lmkit.json").write_text("{}")
            found.append(directory.as_posix())
    assert found == ["runs/gru", "runs/gru-2", "runs/gru-3"]


def test_one_training_at_a_time(tmp_path: Path) -> None:
    """While a directory is locked, a second lock is exit code 5; afterwards it is free again."""
    with run_lock(tmp_path):
        with (
            pytest.raises(CheckpointError, match="another process is training in it") as caught,
            run_lock(tmp_path),
        ):
            pass
        assert caught.value.exit_code == 5
    with run_lock(tmp_path):
        pass


@pytest.mark.parametrize("existed", [False, True])
def test_a_failure_before_a_checkpoint_leaves_nothing(tmp_path: Path, existed: bool) -> None:
    """A directory made for the run is removed; an empty one that the user made is only emptied."""
    out = tmp_path / "a" / "run"
    if existed:
        out.mkdir(parents=True)
    with pytest.raises(ValueError, match="broken"), workplace(out, GRU, overwrite=False):  # noqa: PT012
        (out / "recipe.toml").write_text("")
        (out / "tokenizer").mkdir()
        (out / "checkpoints").mkdir()
        raise ValueError("broken")
    assert out.exists() == existed
    if existed:
        assert [path.name for path in out.iterdir() if path.name != ".lock"] == []


@pytest.mark.parametrize("name", ["lmkit.json", "checkpoints/step-000000002"])
def test_a_failure_after_a_checkpoint_keeps_everything(tmp_path: Path, name: str) -> None:
    """With a model or a checkpoint there is something to resume or load."""
    with pytest.raises(KeyboardInterrupt), workplace(tmp_path / "run", GRU, overwrite=False) as directory:  # noqa: PT012
        (directory / name).mkdir(parents=True) if "/" in name else (directory / name).write_text("{}")
        (directory / "recipe.toml").write_text("x")
        raise KeyboardInterrupt
    assert (tmp_path / "run" / "recipe.toml").read_text() == "x"


def test_overwriting(tmp_path: Path) -> None:
    """A run is replaced only on request, and a folder that is no run never; until then its files stay."""
    run, other = tmp_path / "run", tmp_path / "other"
    for folder, name in ((run, "recipe.toml"), (other, "letter.txt")):
        folder.mkdir()
        (folder / name).write_text("old")
    with pytest.raises(UsageError, match="give --overwrite"), workplace(run, GRU, overwrite=False):
        pass
    with pytest.raises(UsageError, match="is not a run"), workplace(other, GRU, overwrite=True):
        pass
    assert (other / "letter.txt").read_text() == "old"
    with workplace(run, GRU, overwrite=True) as directory:
        assert (directory / "recipe.toml").read_text() == "old"


@pytest.mark.parametrize(
    "name",
    [".lock", "metrics.jsonl", "checkpoints", "tokenizer/words.txt", ".lmkit.json.part", "model.safetensors"],
)
@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_links_in_a_run_are_not_written_through(run: Path, tmp_path: Path, name: str, how: str) -> None:
    """A run with a symbolic link is refused before anything is written, and what the link points to stays."""
    path, away = run / name, tmp_path / "away"
    if path.exists():
        path.rename(away)
    else:
        away.write_text("mine")
    before = sorted(away.rglob("*")) if away.is_dir() else away.read_bytes()
    path.symlink_to(away)
    actions = {
        "resume": lambda: lmkit.api.resume(run),
        "overwrite": lambda: lmkit.train("pydocs", out=run, overwrite=True),
    }
    with pytest.raises(ModelError, match=f"{name} is a symbolic link") as caught:
        actions[how]()
    assert caught.value.exit_code == 4
    assert (sorted(away.rglob("*")) if away.is_dir() else away.read_bytes()) == before


def test_a_run_may_be_reached_through_a_link(run: Path, tmp_path: Path) -> None:
    """Links outside a run are the user's: a new run replaces the one that a link points to."""
    link = tmp_path / "best"
    link.symlink_to(run)
    with run_lock(link):
        pass
    put_in_place(shutil.copytree(run, tmp_path / "other"), link)
    assert link.is_symlink()
    assert (run / MANIFEST).is_file()


def test_a_run_that_has_just_begun_is_kept(tmp_path: Path) -> None:
    """A process that may not overwrite, because another one trains there, removes nothing."""
    (tmp_path / "recipe.toml").write_text("x")
    with (
        run_lock(tmp_path),
        pytest.raises(CheckpointError, match="another process"),
        workplace(tmp_path, GRU, overwrite=True),
    ):
        pass
    assert (tmp_path / "recipe.toml").read_text() == "x"


def test_what_was_only_begun_begins_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A killed training without model and checkpoint leaves nothing that --overwrite would have to protect."""
    caplog.set_level(NOTE)
    (tmp_path / "run" / "tokenizer").mkdir(parents=True)
    (tmp_path / "run" / "recipe.toml").write_text("")
    (tmp_path / "run" / ".fitting").mkdir()
    with workplace(tmp_path / "run", GRU, overwrite=False):
        pass
    assert caplog.messages == [
        f"{tmp_path / 'run'}: a training was stopped here before it saved anything; it begins again"
    ]


@pytest.mark.parametrize("name", ["lmkit.json", "checkpoints/step-000000002", "metrics.jsonl", "notes.txt"])
def test_what_was_saved_needs_overwrite(tmp_path: Path, name: str) -> None:
    """So does any file that is not of the training."""
    (tmp_path / "recipe.toml").write_text("")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    with pytest.raises(UsageError, match="give --overwrite"), workplace(tmp_path, GRU, overwrite=False):
        pass


def test_a_killed_training_leaves_its_name_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without --out too, unless the training still runs: what it left is removed, with a line."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(NOTE)
    for name in ("gru", "gru-2"):
        (Path("runs") / name / "tokenizer").mkdir(parents=True)
        (Path("runs") / name / "recipe.toml").write_text("")
        (Path("runs") / name / ".fitting").mkdir()
    with run_lock(Path("runs/gru")), workplace(None, GRU, overwrite=False) as directory:
        assert directory == Path("runs/gru-2")
        assert [path.name for path in directory.iterdir()] == [".lock"]
    assert caplog.messages == [
        f"{Path('runs/gru-2')}: removed, since a training was stopped here before it saved anything"
    ]
