"""Cells to sequences: three classes of cells, the loop, stacks, the output layer, the recurrent language model."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmkit.recurrence.cells import Cell, GatedCell, LinearCell
    from lmkit.recurrence.neural import NeuralLanguageModel
    from lmkit.recurrence.stack import Recurrent
    from lmkit.recurrence.trainable import TrainableModel

__all__ = ["Cell", "GatedCell", "LinearCell", "NeuralLanguageModel", "Recurrent", "TrainableModel"]

_HOME = {"NeuralLanguageModel": "neural", "Recurrent": "stack", "TrainableModel": "trainable"}


def __getattr__(name: str) -> Any:
    # Lazy, so that `lmkit.recurrence.options`, which the plugin's description needs, does not import torch.
    if name in __all__:
        return getattr(importlib.import_module(f"lmkit.recurrence.{_HOME.get(name, 'cells')}"), name)
    raise AttributeError(f"module 'lmkit.recurrence' has no attribute {name!r}")
