"""The linear interpolation of causal models over one vocabulary, as a plugin."""

from collections.abc import Iterable

from lmkit import ModelSpec, hookimpl


@hookimpl
def lmkit_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            "interpolated",
            "lmkit_interpolated.model:InterpolatedModel",
            "A weighted mean of the probabilities of other models (Jelinek and Mercer, 1980)",
        )
    ]
