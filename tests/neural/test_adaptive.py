"""The adaptive softmax: one distribution, whose loss and scores agree with it."""

from typing import cast

import pytest
import torch
import torch.nn.functional as F
from lmkit_recurrent.model import RecurrentLanguageModel
from torch import Tensor, nn

from lmkit.contracts import Vocabulary
from lmkit.errors import UsageError
from lmkit.neural.adaptive import AdaptiveOutputLayer
from lmkit.options import choose

WIDTH, SIZE, CUTOFFS = 16, 50, (5, 20)


@pytest.fixture
def layer() -> AdaptiveOutputLayer:
    torch.manual_seed(0)
    return AdaptiveOutputLayer(WIDTH, SIZE, CUTOFFS).double()


def test_probabilities_sum_to_one(layer):
    """The head and the clusters make one normalised distribution."""
    rows = layer(torch.randn(3, 4, WIDTH, dtype=torch.float64))
    assert rows.shape == (3, 4, SIZE)
    torch.testing.assert_close(rows.exp().sum(-1), torch.ones(3, 4, dtype=torch.float64))


@pytest.mark.parametrize("targets", [range(SIZE), range(5), range(20, 50)], ids=["all", "head", "last"])
def test_loss_and_scores_are_those_of_the_distribution(layer, targets):
    """Loss and scores, whichever clusters the targets fall into, and their gradients, are read off the rows."""
    ids = torch.tensor(list(targets))
    features = torch.randn(len(ids), WIDTH, dtype=torch.float64, requires_grad=True)
    wanted = layer(features).gather(1, ids[:, None])[:, 0]
    scores, loss = layer.target_log_probs(features, ids), layer.loss(features, ids)
    torch.testing.assert_close(scores, wanted)
    torch.testing.assert_close(loss, -wanted.mean())
    inputs = [features, layer.head.weight, layer.head.bias]
    gradients = torch.autograd.grad(-wanted.mean(), inputs)
    for found in (torch.autograd.grad(-scores.mean(), inputs), torch.autograd.grad(loss, inputs)):
        for one, other in zip(found, gradients, strict=True):
            torch.testing.assert_close(one, other)


def test_it_is_torch_nn(layer):
    """The same weights in nn.AdaptiveLogSoftmaxWithLoss give the same log-probabilities."""
    reference = nn.AdaptiveLogSoftmaxWithLoss(WIDTH, SIZE, list(CUTOFFS), head_bias=True).double()
    with torch.no_grad():
        reference.head.weight.copy_(layer.head.weight)
        reference.head.bias.copy_(layer.head.bias)
        for tail, projection, cluster in zip(reference.tail, layer.projections, layer.clusters, strict=True):
            narrow, wide = cast(list[nn.Linear], list(tail.children()))
            narrow.weight.copy_(projection)
            wide.weight.copy_(cast(Tensor, cluster.weight))
            cast(Tensor, cluster.bias).zero_()  # torch's clusters have none
    features = torch.randn(6, WIDTH, dtype=torch.float64)
    torch.testing.assert_close(layer(features), reference.log_prob(features))


def test_no_rows_is_legal(layer):
    """A window of length zero has no scores."""
    nothing = torch.zeros(0, WIDTH, dtype=torch.float64)
    assert layer.target_log_probs(nothing, torch.zeros(0, dtype=torch.long)).shape == (0,)


def make(size: int = 64, **table) -> RecurrentLanguageModel:
    torch.manual_seed(0)
    table = {"name": "recurrent", "hidden_size": 8, "output": "adaptive", "tied": False, **table}
    return RecurrentLanguageModel(choose("model", table, "model").options, Vocabulary(size, 0, 1, "test"))


def test_a_model_scores_and_loads(tmp_path):
    """scan, log_probs and a loaded copy agree."""
    model = make().eval()
    ids = torch.randint(0, 64, (2, 9))
    scores, _ = model.log_probs(ids, model.initial_state(2))
    rows = torch.cat([chunk for chunk, _ in model.scan(ids, model.initial_state(2))], 1)
    torch.testing.assert_close(rows.gather(2, ids[..., None])[..., 0], scores)
    assert F.softmax(rows, -1).shape == (2, 9, 64)
    model.save(tmp_path)
    loaded = RecurrentLanguageModel.load(tmp_path, model.options, model.vocabulary).eval()
    torch.testing.assert_close(loaded.log_probs(ids, loaded.initial_state(2))[0], scores)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"tied": True}, "give --no-tied"),
        ({"cutoffs": [9, 4]}, "must be ascending"),
        ({"cutoffs": 64}, "must be ascending, between 0 and the vocabulary's size, 64"),
        ({"size": 9}, "must be ascending"),
        ({"output": "softmax", "cutoffs": 9}, "also give --output adaptive"),
    ],
)
def test_what_cannot_be_is_refused(table, message):
    """Ties, cutoffs out of order or past the vocabulary, cutoffs without clusters."""
    with pytest.raises(UsageError, match=message):
        make(**table)


def test_start_at_gives_the_frequencies(layer):
    """Without features, the layer predicts about the relative frequencies, and they sum to one."""
    counts = torch.arange(SIZE) * 10 + 10
    layer.start_at(counts)
    found = layer(torch.zeros(1, WIDTH, dtype=torch.float64)).exp()[0]
    torch.testing.assert_close(found.sum(), torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(found, (counts / counts.sum()).double(), rtol=1e-2, atol=0)


def test_weights_of_rows(layer):
    """With weights the loss is the weighted mean of -log p of the rows."""
    torch.manual_seed(3)
    features, targets = torch.randn(20, WIDTH, dtype=torch.float64), torch.randint(SIZE, (20,))
    weights = torch.rand(20, dtype=torch.float64)
    wanted = -(layer.target_log_probs(features, targets) * weights).sum() / weights.sum()
    torch.testing.assert_close(layer.loss(features, targets, weights), wanted)
