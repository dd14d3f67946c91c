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
            command="lmkit interpolate RUN RUN TEXT --out DIR",
        ),
        ModelSpec(
            "interpolated-strings",
            "lmkit_interpolated.strings:StringMixture",
            "A weighted mean of the probabilities of words, or lines, under models with any tokenizers",
            command="lmkit interpolate RUN RUN TEXT --by word --out DIR",
        ),
        ModelSpec(
            "cached",
            "lmkit_interpolated.cached:CachedRun",
            "Another model with a continuous cache (Grave et al., 2017)",
            options=CacheOptions,
            command="lmkit interpolate RUN TEXT --cache 2000 --out DIR",
        ),
    ]
