"""Snapshots of a trainer: a second trainer that takes one goes on with the same bits."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lmkit_recurrent.model import RecurrentLanguageModel

from lmkit.contracts import Vocabulary
from lmkit.corpus.store import TokenStore
from lmkit.corpus.streams import Streams
from lmkit.errors import CheckpointError
from lmkit.neural.weights import named_weights
from lmkit.options import choose
from lmkit.states import leaves
from lmkit.training.checkpoint import Checkpoints, Snapshot
from lmkit.training.loop import Trainer
from lmkit.training.metrics import Metrics
from lmkit.training.options import TrainOptions
from lmkit.training.report import Silent
from lmkit.training.snapshot import restore, snapshot

VOCABULARY = Vocabulary(8, 0, 1, "test")


def trainer(folder: Path, *, hidden_size: int = 6, seed: int = 0, **options) -> Trainer:
    torch.manual_seed(seed)
    table = {"name": "recurrent", "cell": "gru", "hidden_size": hidden_size, "dropout": 0.3}
    model = RecurrentLanguageModel(choose("model", table, "model").options, VOCABULARY)
    lines = [torch.tensor([2, 3, 4, 5, 6, 7, 0]).numpy()] * 12
    settings = TrainOptions(batch_size=2, bptt=7, schedule="constant", **options)
    streams = Streams(TokenStore.from_lines(lines, VOCABULARY), 2, 7, "never", model.start_id)
    folder.mkdir(exist_ok=True)
    return Trainer(
        model,
        streams,
        settings,
        validation_tokens=7,
        validate=None,
        keep_best=lambda: None,
        metrics=Metrics(folder / "metrics.jsonl"),
        reporter=Silent(),
    )


def same(one: Snapshot, other: Snapshot) -> None:
    assert one.tensors.keys() == other.tensors.keys()
    for group, tensors in one.tensors.items():
        assert tensors.keys() == other.tensors[group].keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, other.tensors[group][name]), f"{group} {name}"


@pytest.mark.parametrize(
    "options", [{}, {"optimizer": "sgd", "momentum": 0.5, "learning_rate": 0.1}, {"average": 0.9}]
)
def test_a_round_trip_through_a_file(tmp_path: Path, options: dict) -> None:
    """Weights, moments, hidden state, random state and average of a trainer of other random weights become equal."""
    first = trainer(tmp_path / "first", max_steps=4, **options)
    first.run()
    taken = snapshot(first)
    Checkpoints(tmp_path, keep=1, every=1).save(taken)
    second = trainer(tmp_path / "second", seed=1, max_steps=4, **options)
    restore(second, Checkpoints(tmp_path, keep=1, every=1).newest())
    same(taken, snapshot(second))
    assert second.state.step == 4
    assert second.state.best_loss == first.state.best_loss


def test_what_is_in_a_snapshot(tmp_path: Path) -> None:
    """All weights by name, all leaves of the hidden state, and no infinity among the facts."""
    run = trainer(tmp_path / "run", max_steps=3)
    run.run()
    run.state = replace(run.state, best_loss=math.inf)
    taken = snapshot(run)
    assert taken.step == 3
    assert taken.tensors["model"].keys() == named_weights(run.model).keys()
    assert len(taken.tensors["hidden"]) == len(leaves(run.hidden))
    assert "average" not in taken.tensors
    assert taken.facts["state"]["best_loss"] is None
    assert taken.facts["metrics_size"] == run.metrics.size
    restore(run, taken)
    assert run.state.best_loss == math.inf


def test_another_model_is_refused(tmp_path: Path) -> None:
    """The differences of names and shapes are listed, and no weight of the trainer changes."""
    run = trainer(tmp_path / "run", max_steps=1)
    larger = snapshot(trainer(tmp_path / "larger", hidden_size=7, max_steps=1))
    before = {name: tensor.clone() for name, tensor in named_weights(run.model).items()}
    with pytest.raises(CheckpointError, match=r"has shape .*7.*, wanted .*6"):
        restore(run, larger)
    own = snapshot(run)
    del own.tensors["model"][next(iter(before))]
    own.tensors["model"]["extra"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"is missing\s+extra is unexpected"):
        restore(run, own)
    for name, tensor in named_weights(run.model).items():
        assert torch.equal(tensor, before[name])


def test_a_state_of_an_unknown_parameter_is_refused(tmp_path: Path) -> None:
    """The optimiser's state names its parameters, so that none is restored in the wrong place."""
    run = trainer(tmp_path / "run", max_steps=1)
    run.run()
    taken = snapshot(run)
    taken.tensors["optimiser"]["elsewhere|exp_avg"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match="'elsewhere', unknown to the model"):
        restore(run, taken)
