"""The sampled softmax against its definition, and against the exact softmax that it estimates."""

import pytest
import torch
from torch import nn

from lmkit.neural.output import OutputLayer
from lmkit.neural.sampled import POWER, SampledOutputLayer

CLASSES, WIDTH, ROWS = 40, 5, 12


def layers(samples: int) -> tuple[SampledOutputLayer, OutputLayer]:
    """A sampled and an exact layer with the same weights, in float64."""
    torch.manual_seed(0)
    weight = nn.Parameter(0.5 * torch.randn(CLASSES, WIDTH, dtype=torch.float64))
    sampled, exact = SampledOutputLayer(weight, samples), OutputLayer(weight)
    nn.init.normal_(sampled.bias)
    exact.bias = sampled.bias
    sampled.sample_from(torch.arange(CLASSES) + 1)
    return sampled, exact


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(ROWS, WIDTH, dtype=torch.float64, requires_grad=True), torch.randint(CLASSES, (ROWS,))


def test_definition():
    """From each logit but the target's, log(1 - (1 - q)^samples (1 - f)^tokens) is subtracted."""
    layer, _ = layers(10)
    features, targets = batch()
    sample = layer.sample(targets)
    ids = sample.rows.ids.tolist()
    assert set(targets.tolist()) <= set(ids)
    f = torch.arange(CLASSES).double() + 1.1
    f /= f.sum()
    q = f**POWER / (f**POWER).sum()
    log_chance = torch.log(1 - (1 - q) ** 10 * (1 - f) ** ROWS)
    torch.testing.assert_close(sample.log_chances, log_chance[ids])
    losses = []
    for x, target in zip(features, targets.tolist(), strict=True):
        logits = [x @ layer.weight[i] + layer.bias[i] - (i != target) * log_chance[i] for i in ids]
        own = x @ layer.weight[target] + layer.bias[target]
        losses.append(torch.logsumexp(torch.stack(logits), 0) - own)
    wanted = torch.stack(losses).mean()
    found = layer.sampled_loss(features, targets, sample)
    torch.testing.assert_close(found, wanted)
    sources = (features, layer.weight, layer.bias)
    ours = torch.autograd.grad(found, sources)
    theirs = torch.autograd.grad(wanted, sources)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.to_dense(), other)


def test_becomes_the_softmax():
    """With enough draws to include every class, the loss and its gradients are the exact ones."""
    layer, exact = layers(200_000)
    features, targets = batch()
    found, wanted = (
        layer.sampled_loss(features, targets, layer.sample(targets)),
        exact.loss(features, targets),
    )
    torch.testing.assert_close(found, wanted)
    sources = (features, layer.weight, layer.bias)
    for one, other in zip(
        torch.autograd.grad(found, sources), torch.autograd.grad(wanted, sources), strict=True
    ):
        torch.testing.assert_close(one.to_dense(), other)


def test_estimates_the_softmax():
    """The mean of many sampled losses, whose targets follow the frequencies, is near the exact loss."""
    torch.manual_seed(2)
    weight = nn.Parameter(0.3 * torch.randn(500, WIDTH, dtype=torch.float64))
    layer, exact = SampledOutputLayer(weight, 400), OutputLayer(weight)
    counts = torch.arange(500) + 1
    layer.sample_from(counts)
    errors = []
    for _ in range(50):
        features = torch.randn(64, WIDTH, dtype=torch.float64)
        targets = torch.multinomial(counts.double(), 64, replacement=True)
        sampled = layer.sampled_loss(features, targets, layer.sample(targets))
        errors.append(float((sampled - exact.loss(features, targets)).detach()))
    assert sum(errors) / len(errors) == pytest.approx(0, abs=0.05)


def test_scores_are_exact():
    """Outside of training, loss, scores and distributions are those of the exact layer."""
    layer, exact = layers(3)
    features, targets = batch()
    assert torch.equal(layer.loss(features, targets), exact.loss(features, targets))
    assert torch.equal(layer(features), exact(features))
