"""Adaptation: the choice of how a loaded model adapts to the text that it reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmkit.adaptation.cache import CachedModel
from lmkit.adaptation.options import CacheOptions
from lmkit.contracts import LanguageModel
from lmkit.errors import UsageError
from lmkit.options import resolve


@dataclass(frozen=True)
class Adaptation:
    """cache: its options, or None for no cache."""

    cache: CacheOptions | None = None

    @classmethod
    def choose(cls, cache: int | Mapping[str, Any] | None = None) -> "Adaptation":
        """cache: the number of tokens, or a table of `CacheOptions`. Raises UsageError for invalid values."""
        table = {"size": cache} if isinstance(cache, int) else cache
        return cls(None if table is None else resolve(CacheOptions, table, "cache"))

    def wrap(self, model: LanguageModel) -> LanguageModel:
        """The model that adapts; UsageError if this one cannot."""
        if self.cache is None:
            return model
        if isinstance(model, CachedModel):
            raise UsageError("the model has a cache already; leave out the other")
        return CachedModel(model, self.cache)

    def reset_policy(self, policy: str) -> str:
        """The reset policy of a model that adapts, from that of the model itself: it does so over lines."""
        return "document" if policy == "line" and self != NO_ADAPTATION else policy

    def signature(self) -> dict[str, str]:
        """The fields for the signature of a score."""
        return {} if self.cache is None else {"cache": cache_settings(self.cache)}


NO_ADAPTATION = Adaptation()


def cache_settings(options: CacheOptions) -> str:
    """The settings of a cache in a signature: "2000/theta0.3/weight0.1"."""
    return f"{options.size}/theta{options.theta:.4g}/weight{options.weight:.4g}"
