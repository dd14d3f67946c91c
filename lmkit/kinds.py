"""Tell the kinds of models apart without importing torch, which models of counts do not need."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from typing_extensions import TypeIs

    from lmkit.adaptation.cache import CachedModel
    from lmkit.neural.language_model import NeuralLanguageModel
    from lmkit.neural.trainable import TrainableModel


def is_module(model: object) -> TypeIs[nn.Module]:
    """Whether it is a module of torch."""
    return isinstance(model, _imported("torch.nn", "Module"))


def is_neural(model: object) -> TypeIs[NeuralLanguageModel]:
    """Whether it is a causal model trained by gradient descent."""
    return isinstance(model, _imported("lmkit.neural.language_model", "NeuralLanguageModel"))


def is_cached(model: object) -> TypeIs[CachedModel]:
    """Whether it is a causal model with a continuous cache."""
    return isinstance(model, _imported("lmkit.adaptation.cache", "CachedModel"))


def is_trainable(model: object) -> TypeIs[TrainableModel]:
    """Whether it is trained by gradient descent."""
    return isinstance(model, _imported("lmkit.neural.trainable", "TrainableModel"))


def is_trainable_class(target: type[Any]) -> TypeIs[type[TrainableModel]]:
    """Whether its instances are trained by gradient descent."""
    return issubclass(target, _imported("lmkit.neural.trainable", "TrainableModel"))


def _imported(module: str, name: str) -> type | tuple[()]:
    """A class of a module; () if nobody has imported the module, so that no object can be of that class."""
    return getattr(sys.modules[module], name) if module in sys.modules else ()
