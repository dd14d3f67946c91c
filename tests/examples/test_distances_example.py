"""examples/distances: the answer's tokens, and no others, weigh more in the loss."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

import lmkit
from lmkit.corpus.distances import answers
from lmkit.neural.output import OutputLayer

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "distances" / "train.py"


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("distances_train", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "distances_train", module)
    spec.loader.exec_module(module)
    return module


def test_answers_are_found_in_both_directions(train: ModuleType) -> None:
    """Whole consequences only, read forward or backward, several of them, and streams shorter than one."""
    consequences = [[7, 8], [7, 9, 10]]
    targets = torch.tensor([1, 7, 8, 7, 2, 10, 9, 7, 3, 7, 9, 10])
    found = train.in_answers(targets, [*consequences, *(ids[::-1] for ids in consequences)])
    wanted = [False, True, True, True, False, True, True, True, False, True, True, True]
    assert found.tolist() == wanted
    assert not train.in_answers(torch.tensor([7]), consequences).any()


def test_weights_make_a_mean(train: ModuleType) -> None:
    """(sum of w times loss) / (sum of w); with a weight of 1, torch's own mean."""
    torch.manual_seed(0)
    logits, targets = torch.randn(5, 12), torch.tensor([1, 7, 8, 2, 3])
    losses = F.cross_entropy(logits, targets, reduction="none")
    by_hand = (losses[0] + 10 * losses[1] + 10 * losses[2] + losses[3] + losses[4]) / 23
    torch.testing.assert_close(train.weighed(logits, targets, [[7, 8]], 10.0), by_hand)
    torch.testing.assert_close(train.weighed(logits, targets, [[7, 8]], 1.0), losses.mean())


def test_answers_have_the_ids_of_the_run(
    train: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss looks for the ids that the vocabulary of the run gives the answers' words."""
    monkeypatch.setattr(OutputLayer, "loss", OutputLayer.loss)  # put back afterwards
    text, valid = "distances:en,count=300,seed=1", "distances:en,count=20,seed=2"
    train.weigh_answers(text, valid, "en", 10.0)
    sizes = {"hidden_size": 4, "max_steps": 1, "threads": 1}
    run = lmkit.train(text, valid=valid, tokenizer="word", model="gru", out=tmp_path / "run", **sizes)
    ids = [run.tokenizer.ids(answer).tolist() for answer in answers("en")]
    targets = torch.tensor([token for answer in ids for token in [0, *answer]])
    torch.manual_seed(0)
    logits = torch.randn(len(targets), run.tokenizer.vocabulary.size)
    layer = SimpleNamespace(logits=lambda features: features)
    found = OutputLayer.loss(layer, logits, targets)  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close(found, train.weighed(logits, targets, ids, 10.0))
    assert train.in_answers(targets, ids).sum() == sum(map(len, ids))
