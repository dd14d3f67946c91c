"""The options of models that adapt to the text they read."""

from dataclasses import dataclass

from lmkit.specs import option


@dataclass(frozen=True)
class CacheOptions:
    """A continuous cache: p = (1 - weight) * p_model + weight * p_cache."""

    size: int = option(2000, "number of latest tokens in the cache", min=1, max=10_000_000)
    theta: float = option(
        0.3, "how much more similar contexts count; 0: all equally (a unigram cache)", min=0
    )
    weight: float = option(0.1, "weight of the cache's probability", min=0, max=1)
