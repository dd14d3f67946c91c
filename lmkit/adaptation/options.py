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


RATE = 0.1
"""Default learning rate of plain gradient steps."""
RMS_RATE = 5e-5
"""Default learning rate of steps that are divided by the size of gradients (Krause et al., 2018)."""


@dataclass(frozen=True)
class DynamicOptions:
    """Dynamic evaluation: gradient steps on the text that is scored."""

    bptt: int = option(5, "tokens per gradient step", min=1, max=1_000_000)
    rate: float | None = option(None, f"learning rate (default {RATE}; with stats {RMS_RATE:g})", min=0)
    stats: str | None = option(
        None,
        "training text, for steps divided by the size of its gradients, and a decay to the trained weights",
    )
    decay: float = option(0.002, "with stats: decay to the trained weights", min=0, max=1)
    epsilon: float = option(0.00002, "with stats: added to the size of gradients", min=0)

    @property
    def step(self) -> float:
        """The learning rate, given or default."""
        default = RATE if self.stats is None else RMS_RATE
        return default if self.rate is None else self.rate
