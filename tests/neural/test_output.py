"""The output layer: logits a few rows at a time change nothing but memory."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmkit.neural.output import ROWS, OutputLayer

WIDTH, VOCABULARY = 6, 11


@pytest.fixture
def layer() -> OutputLayer:
    torch.manual_seed(0)
    layer = OutputLayer(nn.Parameter(torch.randn(VOCABULARY, WIDTH, dtype=torch.float64)))
    nn.init.normal_(layer.bias)
    return layer


@pytest.mark.parametrize("rows", [1, 7, ROWS, 2 * ROWS + 3])
def test_loss_and_gradients_equal_cross_entropy(layer, rows):
    """The chunked loss is F.cross_entropy over all rows, in value and in every gradient, scaled or not."""
    features = torch.randn(rows, WIDTH, dtype=torch.float64)
    targets = torch.randint(0, VOCABULARY, (rows,))
    ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
    expected = F.cross_entropy(F.linear(theirs, layer.weight, layer.bias), targets)
    wanted = torch.autograd.grad(3 * expected, [theirs, layer.weight, layer.bias])
    loss = layer.loss(ours, targets)
    (3 * loss).backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    for found, gradient in zip((ours.grad, layer.weight.grad, layer.bias.grad), wanted, strict=True):
        torch.testing.assert_close(found, gradient, rtol=1e-11, atol=1e-13)


def test_target_log_probs_are_rows_of_the_distribution(layer):
    """Scores of targets are gathered from log-probabilities that sum to one, and have their gradient."""
    features = torch.randn(ROWS + 5, WIDTH, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, VOCABULARY, (ROWS + 5,))
    full = layer(features)
    scores = layer.target_log_probs(features, targets)
    torch.testing.assert_close(full.exp().sum(-1), torch.ones(ROWS + 5, dtype=torch.float64))
    torch.testing.assert_close(scores, full.gather(1, targets[:, None])[:, 0], rtol=1e-12, atol=1e-12)
    ours = torch.autograd.grad(scores.sum(), features, retain_graph=True)[0]
    theirs = torch.autograd.grad(full.gather(1, targets[:, None]).sum(), features)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-13)


def test_no_rows_is_legal(layer):
    """A window of length zero has a loss of zero and no scores."""
    nothing = torch.zeros(0, WIDTH, dtype=torch.float64)
    assert layer.loss(nothing, torch.zeros(0, dtype=torch.long)).item() == 0
    assert layer.target_log_probs(nothing, torch.zeros(0, dtype=torch.long)).shape == (0,)


def test_weights_of_rows(layer):
    """With weights the loss is the weighted mean of -log p, in value and in every gradient."""
    features = torch.randn(ROWS + 5, WIDTH, dtype=torch.float64)
    targets, weights = torch.randint(0, VOCABULARY, (ROWS + 5,)), torch.rand(ROWS + 5).double()
    ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
    losses = F.cross_entropy(F.linear(theirs, layer.weight, layer.bias), targets, reduction="none")
    expected = (losses * weights).sum() / weights.sum()
    wanted = torch.autograd.grad(expected, [theirs, layer.weight, layer.bias])
    loss = layer.loss(ours, targets, weights)
    loss.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    for found, gradient in zip((ours.grad, layer.weight.grad, layer.bias.grad), wanted, strict=True):
        torch.testing.assert_close(found, gradient, rtol=1e-11, atol=1e-13)


def test_a_target_of_no_probability_has_a_finite_loss(layer):
    """Where the softmax of a target underflows, its logarithm is still exact."""
    layer.bias.data[3] = -2000
    features = torch.zeros(2, WIDTH, dtype=torch.float64)
    expected = F.cross_entropy(layer.logits(features), torch.tensor([3, 0]))
    torch.testing.assert_close(layer.loss(features, torch.tensor([3, 0])), expected)


def test_start_at_gives_the_frequencies(layer):
    """Without features the layer predicts the relative frequencies, and a little for a token that does not occur."""
    counts = torch.arange(VOCABULARY)
    layer.start_at(counts)
    found = layer(torch.zeros(1, WIDTH, dtype=torch.float64)).exp()[0]
    torch.testing.assert_close(found, (counts + 0.1).double() / (counts + 0.1).sum())
