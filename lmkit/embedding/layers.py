"""Which of a token's vectors are wanted, and one vector for a sentence: layers and pooling."""

from collections.abc import Callable

from torch import Tensor

from lmkit.contracts import Encoder
from lmkit.embedding.mix import ScalarMix
from lmkit.errors import UsageError, suggest

LAYERS = ("all", "top", "mix")
"""The layers that have names; others are called by number, from 0."""
POOLS = ("none", "mean", "max", "first", "last")
"""What may become of a sentence's tokens; "none" leaves them."""

Selection = Callable[[Tensor], Tensor]
"""From (layers, tokens, features) of a sentence to what is wanted of it."""


def selection(encoder: Encoder, layer: str | int = "all", pool: str = "none") -> Selection:
    """What takes a layer of a sentence's vectors and pools its tokens, for `encoder`.

    layer: "all", "top", "mix" or a number; "mix" is the encoder's own `mix`, if it has a `ScalarMix` of that
    name, else the mean of the layers, with which a `ScalarMix` begins.
    pool: "none", or "mean", "max", "first" or "last", which leave the dimension of the tokens out.
    Raises UsageError for a layer or a pooling that there is not.
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
    """The layer as "all", "mix" or an index; UsageError, with the range, where there is none such."""
    if isinstance(layer, str):
        if layer == "top":
            return num_layers - 1
        if layer in LAYERS:
            return layer
        if layer.isascii() and layer.isdigit():
            layer = int(layer)
    if isinstance(layer, int) and 0 <= layer < num_layers:
        return layer
    raise UsageError(f"there is no layer {layer!r}; there are: {', '.join(LAYERS)}, 0 to {num_layers - 1}")


def pooled(vectors: Tensor, how: str) -> Tensor:
    """One vector, (..., features), for the tokens of (..., tokens, features); zeros where there is no token."""
    if how == "none":
        return vectors
    if not vectors.shape[-2]:
        return vectors.new_zeros(vectors.shape[:-2] + vectors.shape[-1:])
    if how == "mean":
        return vectors.mean(-2)
    if how == "max":
        return vectors.amax(-2)
    return vectors[..., 0 if how == "first" else -1, :]
