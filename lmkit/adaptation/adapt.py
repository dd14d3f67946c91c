"""Adaptation: the choice of how a loaded model adapts to the text that it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmkit.adaptation.options import CacheOptions, DynamicOptions
from lmkit.contracts import LanguageModel
from lmkit.errors import UsageError
from lmkit.kinds import is_cached, is_neural
from lmkit.options import resolve

if TYPE_CHECKING:
    from torch import Tensor

    from lmkit.neural.language_model import NeuralLanguageModel


@dataclass(frozen=True)
class Adaptation:
    """cache, dynamic: their options, or None. sizes: computes the gradient sizes of a network, for the RMS rule."""

    cache: CacheOptions | None = None
    dynamic: DynamicOptions | None = None
    sizes: Callable[[NeuralLanguageModel], Tensor] | None = None

    @classmethod
    def choose(
        cls, cache: int | Mapping[str, Any] | None = None, dynamic: bool | Mapping[str, Any] | None = None
    ) -> Adaptation:
        """cache: the number of tokens, or a table of `CacheOptions`. dynamic: True, or a table of `DynamicOptions`.

        Raises UsageError for invalid values.
        """
        table = {"size": cache} if isinstance(cache, int) else cache
        steps = ({} if dynamic else None) if isinstance(dynamic, bool) else dynamic
        options = None if steps is None else resolve(DynamicOptions, steps, "dynamic")
        return cls(None if table is None else resolve(CacheOptions, table, "cache"), options)

    def wrap(self, model: LanguageModel) -> LanguageModel:
        """The model that adapts; UsageError if this one cannot."""
        if self.dynamic is not None:
            model = self._learning(model, self.dynamic)
        if self.cache is None:
            return model
        if is_cached(model):
            raise UsageError("the model has a cache already; leave out the other")
        from lmkit.adaptation.cache import CachedModel

        return CachedModel(model, self.cache)

    def _learning(self, model: LanguageModel, options: DynamicOptions) -> LanguageModel:
        """The model with its neural parts learning."""
        learning = []

        def change(part: LanguageModel) -> LanguageModel:
            if not is_neural(part):
                return part
            from lmkit.adaptation.dynamic import DynamicModel

            learning.append(part)
            return DynamicModel(part, options, None if self.sizes is None else self.sizes(part))

        changed = model.with_parts(change)
        if not learning:
            raise UsageError(
                "dynamic evaluation needs a neural model, which this is not; leave out --dynamic"
            )
        return changed

    def reset_policy(self, policy: str) -> str:
        """The reset policy of a model that adapts, from that of the model itself: it does so over lines."""
        return "document" if policy == "line" and self != NO_ADAPTATION else policy

    def signature(self) -> dict[str, str]:
        """The fields for the signature of a score."""
        found = {}
        if self.dynamic is not None:
            rule = f"sgd/rate{self.dynamic.step:.4g}"
            if self.dynamic.stats is not None:
                pull = f"decay{self.dynamic.decay:.4g}/epsilon{self.dynamic.epsilon:.4g}"
                rule = f"rms/rate{self.dynamic.step:.4g}/{pull}"
            found["dynamic"] = f"{rule}/bptt{self.dynamic.bptt}"
        if self.cache is not None:
            found["cache"] = cache_settings(self.cache)
        return found


NO_ADAPTATION = Adaptation()


def cache_settings(options: CacheOptions) -> str:
    """The settings of a cache in a signature: "2000/theta0.3/weight0.1"."""
    return f"{options.size}/theta{options.theta:.4g}/weight{options.weight:.4g}"
