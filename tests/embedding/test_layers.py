"""Choosing layers, mixing and pooling them."""

import pytest
import torch

from lmkit.embedding.layers import check_layer, pooled
from lmkit.embedding.mix import ScalarMix
from lmkit.errors import UsageError

TOKENS = torch.tensor([[1.0, 8.0], [5.0, 2.0]])


@pytest.mark.parametrize(
    ("how", "wanted"), [("mean", [3, 5]), ("max", [5, 8]), ("first", [1, 8]), ("last", [5, 2])]
)
def test_pooling(how: str, wanted: list[float]) -> None:
    """A sentence's vector is the mean, maximum, first or last of its tokens'; without tokens it is zeros."""
    assert pooled(TOKENS, how).tolist() == wanted
    assert pooled(torch.stack([TOKENS, -TOKENS]), how).shape == (2, 2)
    assert pooled(TOKENS[:0], how).tolist() == [0, 0]
    assert pooled(torch.zeros(3, 0, 2), how).shape == (3, 2)


def test_layers_have_names_and_numbers() -> None:
    """Names and numbers from 0, also as the command line has them; all else is an error with the range."""
    assert [check_layer(name, 3) for name in ("all", "mix", "top", "0", 2)] == ["all", "mix", 2, 0, 2]
    for wrong in (3, -1, "3", "-1", "bottom", "²", ""):
        with pytest.raises(UsageError, match="all, top, mix, 0 to 2"):
            check_layer(wrong, 3)


def test_mix_begins_as_the_mean() -> None:
    """gamma 1 and equal weights; then gamma * sum softmax(w)_k L_k."""
    layers = torch.randn(3, 4, 5)
    mix = ScalarMix(3)
    assert torch.allclose(mix(layers), layers.mean(0), atol=1e-6)
    with torch.no_grad():
        mix.weights.copy_(torch.tensor([0.1, -0.2, 0.7]))
        mix.gamma.fill_(2.5)
    shares = torch.tensor([0.1, -0.2, 0.7]).exp()
    wanted = 2.5 * sum(share / shares.sum() * layer for share, layer in zip(shares, layers, strict=True))
    assert torch.allclose(mix(layers), wanted, atol=1e-6)


@torch.no_grad()
def test_mix_with_layer_norm() -> None:
    """As in the original, one mean and one variance over all vectors that are no padding."""
    layers = torch.randn(2, 3, 4, 5) * 3 + 1
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]]).bool()
    found = ScalarMix(2, layer_norm=True)(layers, mask)
    normed = []
    for layer in layers:
        counted = layer[mask]
        normed.append((layer - counted.mean()) / counted.std(unbiased=False))
    assert torch.allclose(found[mask], ((normed[0] + normed[1]) / 2)[mask], atol=1e-5)
    one = ScalarMix(2, layer_norm=True)(layers[:, 0])
    assert one.shape == (4, 5)
    assert abs(float(one.mean())) < 1e-5
