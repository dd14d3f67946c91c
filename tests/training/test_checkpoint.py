"""Checkpoints on disk: what is kept, what is passed over, and when one is due."""

import json
import logging
from pathlib import Path

import pytest
import torch

from lmkit.errors import CheckpointError
from lmkit.neural import weights
from lmkit.training import checkpoint
from lmkit.training.checkpoint import Checkpoints, Snapshot, differences, is_whole, read


def state_of(step: int, value: float = 0.5) -> Snapshot:
    """Two groups of tensors whose values tell snapshots apart."""
    tensors = {
        "model": {"w": torch.full((2, 3), value)},
        "random": {"cpu": torch.arange(5, dtype=torch.uint8)},
    }
    return Snapshot(step, tensors, {"epoch": step / 10, "over": False})


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "checkpoints").iterdir())


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    """Tensors with their types, the facts of the snapshot and those of the run come back as they were."""
    saved = state_of(7)
    saved.tensors["model"]["transposed"] = torch.arange(6.0).view(2, 3).T
    Checkpoints(tmp_path, keep=2, every=1, facts={"recipe": {"seed": 3}}).save(saved)
    found = read(tmp_path / "checkpoints" / "step-000000007")
    assert found.step == 7
    assert found.tensors.keys() == saved.tensors.keys()
    for group, tensors in saved.tensors.items():
        assert found.tensors[group].keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert found.tensors[group][name].dtype == tensor.dtype
            assert torch.equal(found.tensors[group][name], tensor)
    assert found.facts["epoch"] == 0.7
    assert found.facts["recipe"] == {"seed": 3}


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_oldest_are_removed(tmp_path: Path, keep: int) -> None:
    """The newest `keep` remain, by number, also across a change in the number of digits."""
    places = Checkpoints(tmp_path, keep=keep, every=1)
    for step in (2, 9, 10, 101):
        places.save(state_of(step))
    assert names(tmp_path) == [f"step-{step:09d}" for step in (2, 9, 10, 101)[-keep:]]
    assert places.newest().step == 101


def test_the_same_step_twice(tmp_path: Path) -> None:
    """A complete checkpoint of the step stays as it is; a damaged one is replaced."""
    places = Checkpoints(tmp_path, keep=2, every=1)
    places.save(state_of(4, 1.0))
    places.save(state_of(4, 2.0))
    assert places.newest().tensors["model"]["w"].unique().tolist() == [1.0]
    (tmp_path / "checkpoints" / "step-000000004" / "state.json").write_text("{}")
    places.save(state_of(4, 3.0))
    assert places.newest().tensors["model"]["w"].unique().tolist() == [3.0]
    assert names(tmp_path) == ["step-000000004"]


def remove_digests(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def remove_tensors(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def flip(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)


def cut_state(folder: Path) -> None:
    text = (folder / "state.json").read_text()
    (folder / "state.json").write_text(text[: len(text) // 2])


def name_other_folder(folder: Path) -> None:
    (folder / "manifest.json").write_text(json.dumps({"../step-000000001/state.json": "0"}))


def no_object(folder: Path) -> None:
    (folder / "manifest.json").write_text("[]")


def other_format(folder: Path) -> None:
    facts = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**facts, "format": 99}))
    digests = json.loads((folder / "manifest.json").read_text())
    digests["state.json"] = checkpoint.sha256(folder / "state.json")
    (folder / "manifest.json").write_text(json.dumps(digests))


DAMAGES = [remove_digests, remove_tensors, flip, cut_state, name_other_folder, no_object, other_format]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_passed_over(tmp_path: Path, damage, caplog: pytest.LogCaptureFixture) -> None:
    """A half-written or damaged folder is named in a warning, and the one before it is read; alone it is an error."""
    places = Checkpoints(tmp_path, keep=3, every=1)
    places.save(state_of(1))
    places.save(state_of(2))
    damage(tmp_path / "checkpoints" / "step-000000002")
    assert not is_whole(tmp_path / "checkpoints" / "step-000000002")
    caplog.set_level(logging.WARNING)
    assert places.newest().step == 1
    assert len(caplog.records) == 1
    assert "step-000000002 is damaged" in caplog.text
    damage(tmp_path / "checkpoints" / "step-000000001")
    with pytest.raises(CheckpointError, match="every checkpoint is damaged"):
        places.newest()


def test_a_damaged_later_one_does_not_count(tmp_path: Path) -> None:
    """Training that went back to an older checkpoint removes the later ones when it saves."""
    places = Checkpoints(tmp_path, keep=2, every=1)
    for step in (5, 6, 7):
        places.save(state_of(step))
    flip(tmp_path / "checkpoints" / "step-000000007")
    places.save(state_of(6))
    assert names(tmp_path) == ["step-000000006", "step-000000007"]
    (tmp_path / "checkpoints" / "step-000000006" / "manifest.json").unlink()
    places.save(state_of(6))
    assert names(tmp_path) == ["step-000000006"]


def test_left_over_folders_are_removed(tmp_path: Path) -> None:
    """A hidden folder of a killed process is neither read nor left."""
    places = Checkpoints(tmp_path, keep=2, every=1)
    places.save(state_of(1))
    (tmp_path / "checkpoints" / ".step-000000002").mkdir()
    assert places.newest().step == 1
    places.save(state_of(3))
    assert names(tmp_path) == ["step-000000001", "step-000000003"]


def test_without_any(tmp_path: Path) -> None:
    """A directory without checkpoints is an error with exit code 5, never a fresh start."""
    with pytest.raises(CheckpointError, match="no checkpoint to resume from") as caught:
        Checkpoints(tmp_path, keep=2, every=1).newest()
    assert caught.value.exit_code == 5
    assert f"--init-from {tmp_path}" in str(caught.value)


def test_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A save that fails leaves the previous one and no half of the new one; only the last save of a run raises."""
    places = Checkpoints(tmp_path, keep=1, every=1)
    places.save(state_of(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "save_tensors", full)
    caplog.set_level(logging.WARNING)
    places.save(state_of(2))
    assert "the checkpoint of step 2 cannot be written" in caplog.text
    assert names(tmp_path) == ["step-000000001"]
    with pytest.raises(CheckpointError, match="free some space"):
        places.save(state_of(3), last=True)
    assert places.newest().step == 1


def test_due_by_steps(tmp_path: Path) -> None:
    """With a number of steps, every multiple of it is due."""
    places = Checkpoints(tmp_path, keep=1, every=4)
    assert [step for step in range(1, 13) if places.due(step)] == [4, 8, 12]


def test_due_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one, a checkpoint is due five minutes after the last save, whatever the step."""
    now = 1000.0
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now)
    places = Checkpoints(tmp_path, keep=1, every=None)
    now = 1299.0
    assert not places.due(1)
    now = 1300.0
    assert places.due(1)
    places.save(state_of(1))
    assert not places.due(2)


def test_differences_of_tables() -> None:
    """Dotted names in order, only of settings that differ; one that a table lacks is None."""
    then = {"model": {"name": "gru", "cell": {"size": 3}}, "seed": 1, "old": True}
    now = {"model": {"name": "gru", "cell": {"size": 4}}, "seed": 1, "new": "x"}
    found = [str(difference) for difference in differences(then, now)]
    assert found == ["model.cell.size was 3, now 4", "new was None, now 'x'", "old was True, now None"]
    assert list(differences(then, then)) == []
