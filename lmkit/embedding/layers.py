"""Choose layers of a token's vectors, and pool the vectors of a sentence."""

from collections.abc import Callable

from torch import Tensor

from lmkit.contracts import Encoder
from lmkit.embedding.mix import ScalarMix
from lmkit.errors import UsageError, suggest

LAYERS = ("all", "top", "mix")
"""The layers with names; others are numbered from 0."""
POOLS = ("none", "mean", "max", "first", "last")
"""The poolings of a sentence's tokens; "none" keeps them all."""

Selection = Callable[[Tensor], Tensor]
"""Maps the (layers, tokens, features) of a sentence to the chosen vectors."""


def selection(encoder: Encoder, layer: str | int = "all", pool: str = "none") -> Selection:
    """A function that chooses a layer of a sentence's vectors and pools its tokens, for `encoder`.

    layer: "all", "top", "mix" or a number; "mix" is the encoder's own `mix`, if it has a `ScalarMix` of that
    name, else the mean of the layers, with which a `ScalarMix` begins.
    pool: "none", or "mean", "max", "first" or "last", which remove the dimension of the tokens.
    Raises UsageError for an unknown layer or pooling.
    """
    wanted = check_layer(layer, encoder.num_layers)
    if pool not in POOLS:
        raise UsageError(f"there is no pooling '{pool}'; {suggest(pool, POOLS)}")
    own = getattr(encoder, "mix", None)
    mix = own if isinstance(own, ScalarMix) else ScalarMix(encoder.num_layers).to(encoder.device)

    def select(vectors: Tensor) -> Tensor:
        if wanted == "mix":
            vectors = mix(vectors)
        elif isinstance(wanted, int):
            vectors = vectors[wanted]
        return pooled(vectors, pool)

    return select


def check_layer(layer: str | int, num_layers: int) -> str | int:
    """The layer as "all", "mix" or an index; UsageError, with the range, for an unknown one."""
    if isinstance(layer, str):
        if layer == "top":
            return num_layers - 1
        if layer in LAYERS:
            return layer
        if layer.isascii() and layer.isdigit():
            layer = int(layer)
    if isinstance(layer, int) and 0 <= layer < num_layers:
        return layer
    raise UsageError(f"there is no layer {layer!r}; known: {', '.join(LAYERS)}, 0 to {num_layers - 1}")


def pooled(vectors: Tensor, how: str) -> Tensor:
    """One vector, (..., features), for the tokens of (..., tokens, features); zeros without tokens."""
    if how == "none":
        return vectors
    if not vectors.shape[-2]:
        return vectors.new_zeros(vectors.shape[:-2] + vectors.shape[-1:])
    if how == "mean":
        return vectors.mean(-2)
    if how == "max":
        return vectors.amax(-2)
    return vectors[..., 0 if how == "first" else -1, :]
