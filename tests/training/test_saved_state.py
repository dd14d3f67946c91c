"""The state of a training in a checkpoint that somebody edited, with digests that match."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lmkit.cli import cli
from lmkit.errors import CheckpointError
from lmkit.training.early_stopping import TrainState
from lmkit.training.saved_state import read_state

EDITS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no state": lambda facts: facts.pop("state"),
    "a state that is a list": lambda facts: facts.update(state=[1]),
    "an unknown entry": lambda facts: facts["state"].update(depth=1),
    "a step beyond the training": lambda facts: facts["state"].update(step=10**12),
    "every step beyond the training": lambda facts: (
        facts.update(step=10**12),
        facts["state"].update(step=10**12),
    ),
    "a negative step": lambda facts: facts["state"].update(step=-1),
    "a step of another type": lambda facts: facts["state"].update(step="1"),
    "a best step to come": lambda facts: facts["state"].update(best_step=3),
    "a rate that grows": lambda facts: facts["state"].update(rate_divisor=0),
    "negative seconds": lambda facts: facts["state"].update(seconds=-5),
    "losses of letters": lambda facts: facts["state"].update(losses="abc"),
    "a loss that is a list": lambda facts: facts["state"].update(best_loss=[]),
    "an average that began to come": lambda facts: facts["state"].update(averaged_from=7),
    "no metrics": lambda facts: facts.pop("metrics_size"),
    "a negative size of metrics": lambda facts: facts.update(metrics_size=-1),
    "a size of metrics in letters": lambda facts: facts.update(metrics_size="1"),
    "no recipe": lambda facts: facts.pop("recipe"),
    "a recipe that is a list": lambda facts: facts.update(recipe=[]),
    "an unknown option in the recipe": lambda facts: facts["recipe"]["train"].update(feta2=0.9),
    "no machine": lambda facts: facts.pop("machine"),
    "a machine that is a number": lambda facts: facts.update(machine=3),
    "no fingerprints": lambda facts: facts.pop("fingerprints"),
    "fingerprints that are a list": lambda facts: facts.update(fingerprints=[]),
    "tiers that are a list": lambda facts: facts.update(tiers=[1]),
    "tiers of letters": lambda facts: facts.update(tiers={"stack.layers.0": {"a": "b"}}),
    "a group less": lambda facts: facts["groups"].remove("random"),
    "groups that are a number": lambda facts: facts.update(groups=1),
    "another format": lambda facts: facts.update(format=99),
    "a format that is a list": lambda facts: facts.update(format=[]),
}


@pytest.mark.parametrize("edit", EDITS)
def test_values_that_no_training_has_are_refused(run: Path, edit: str) -> None:
    """Exit code 5 and one error, never a training of other figures, and no internal error; the run stays as it was."""
    (folder,) = (run / "checkpoints").glob("step-*")
    for other in sorted((run / "checkpoints").glob("step-*"))[:-1]:
        other.rename(run / other.name)
    facts = json.loads((folder / "state.json").read_text())
    EDITS[edit](facts)
    text = json.dumps(facts)
    (folder / "state.json").write_text(text)
    digests = json.loads((folder / "manifest.json").read_text())
    digests["state.json"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(digests))
    before = (run / "model.safetensors").read_bytes()
    result = CliRunner().invoke(cli, ["train", "--resume", str(run)])
    assert result.exit_code == 5, (edit, result.output, result.exception)
    assert "internal" not in result.stderr
    assert (run / "model.safetensors").read_bytes() == before


def test_what_an_older_version_did_not_save_has_its_default() -> None:
    """Entries may be missing; no loss is an infinite one."""
    state = read_state({"step": 3, "best_loss": None}, 3, None)
    assert state == TrainState(step=3)
    with pytest.raises(CheckpointError, match="more than the 2 of the training"):
        read_state({"step": 3}, 3, 2)
