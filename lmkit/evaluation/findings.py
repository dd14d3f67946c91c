"""The figures of `lmkit context` for one model."""

import math
from dataclasses import dataclass, field

from lmkit.evaluation.context import Curve, ShuffledCurve
from lmkit.evaluation.gradients import GradientCurves
from lmkit.perplexity import perplexity


@dataclass
class Findings:
    """The figures of a model in one direction. gradients: by "before" and "after" training."""

    vocabulary: str
    normalized: bool
    curve: Curve
    shuffled: ShuffledCurve | None = None
    gradients: dict[str, GradientCurves] = field(default_factory=dict)

    def perplexity(self, nats: float) -> float | None:
        """The perplexity of a loss; None for infinite losses and scores that do not sum to one."""
        value = perplexity(nats) if self.normalized and math.isfinite(nats) else math.inf
        return value if math.isfinite(value) else None

    @property
    def increase(self) -> list[float | None]:
        """The increase of the perplexity by shuffling, for each k."""
        assert self.shuffled is not None
        full = self.perplexity(self.shuffled.full)
        values = [self.perplexity(nats) for nats in (self.shuffled.full + self.shuffled.increase).tolist()]
        return [None if full is None or value is None else value - full for value in values]
