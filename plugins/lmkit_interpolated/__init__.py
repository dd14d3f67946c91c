"""The linear interpolation of causal models, by token, word or line, and models with a cache, as a plugin."""

from collections.abc import Iterable

from lmkit import ModelSpec, hookimpl
from lmkit.adaptation.options import CacheOptions


@hookimpl
def lmkit_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            "interpolated",
            "lmkit_interpolated.model:InterpolatedModel",
            "A weighted mean of the probabilities of other models (Jelinek and Mercer, 1980)",
        ),
        ModelSpec(
            "interpolated-strings",
            "lmkit_interpolated.strings:StringMixture",
            "A weighted mean of the probabilities of words, or lines, under models with any tokenizers",
        ),
        ModelSpec(
            "cached",
            "lmkit_interpolated.cached:CachedRun",
            "Another model with a continuous cache (Grave et al., 2017)",
            options=CacheOptions,
        ),
    ]
