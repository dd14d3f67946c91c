"""The mixture of softmaxes against its definition in float64."""

import torch
from torch import nn

from lmkit.neural.mixture import MixtureOutputLayer

CLASSES, INNER, WIDTH, EXPERTS = 11, 4, 6, 3


def test_definition():
    """p = sum over k of pi_k softmax(W tanh(V_k h) + b); loss, scores and gradients follow, with weights too."""
    torch.manual_seed(0)
    layer = MixtureOutputLayer(nn.Parameter(torch.randn(CLASSES, INNER)), WIDTH, EXPERTS).double()
    nn.init.normal_(layer.bias)
    h, targets = torch.randn(5, WIDTH, dtype=torch.float64), torch.tensor([0, 10, 3, 3, 7])
    weights = torch.rand(5, dtype=torch.float64)
    priors = (h @ layer.priors.weight.t()).softmax(1)
    p = torch.zeros(5, CLASSES, dtype=torch.float64)
    for k in range(EXPERTS):
        part = slice(k * INNER, (k + 1) * INNER)
        latent = torch.tanh(h @ layer.latent.weight[part].t() + layer.latent.bias[part])
        p = p + priors[:, k, None] * (latent @ layer.weight.t() + layer.bias).softmax(1)
    torch.testing.assert_close(layer(h), p.log())
    picked = p.log()[range(5), targets]
    torch.testing.assert_close(layer.target_log_probs(h, targets), picked)
    sources = list(layer.parameters())
    for given, wanted in (
        (None, -picked.mean()),
        (weights, -(picked * weights).sum() / weights.sum()),
    ):
        found = layer.loss(h, targets, given)
        torch.testing.assert_close(found, wanted)
        ours = torch.autograd.grad(found, sources)
        theirs = torch.autograd.grad(wanted, sources, retain_graph=True)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other)
