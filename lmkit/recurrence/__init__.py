"""Recurrent cells and what runs them over sequences: three classes of cells, the loop, stacks."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmkit.neural.language_model import NeuralLanguageModel
    from lmkit.neural.trainable import TrainableModel
    from lmkit.recurrence.bidirectional import BidirectionalEncoder
    from lmkit.recurrence.cell_options import ForgetGateOptions
    from lmkit.recurrence.cells import Cell, GatedCell, LinearCell, add_forget_bias
    from lmkit.recurrence.layouts import from_layout
    from lmkit.recurrence.stack import Recurrent
    from lmkit.recurrence.stack_options import LayerOptions, StackOptions

__all__ = [
    "BidirectionalEncoder",
    "Cell",
    "ForgetGateOptions",
    "GatedCell",
    "LayerOptions",
    "LinearCell",
    "NeuralLanguageModel",
    "Recurrent",
    "StackOptions",
    "TrainableModel",
    "add_forget_bias",
    "from_layout",
]

_HOME = {
    "BidirectionalEncoder": "lmkit.recurrence.bidirectional",
    "ForgetGateOptions": "lmkit.recurrence.cell_options",
    "LayerOptions": "lmkit.recurrence.stack_options",
    "NeuralLanguageModel": "lmkit.neural.language_model",
    "Recurrent": "lmkit.recurrence.stack",
    "StackOptions": "lmkit.recurrence.stack_options",
    "TrainableModel": "lmkit.neural.trainable",
    "from_layout": "lmkit.recurrence.layouts",
}


def __getattr__(name: str) -> Any:
    # Lazy, so that the description of a plugin does not import torch.
    if name in __all__:
        return getattr(importlib.import_module(_HOME.get(name, "lmkit.recurrence.cells")), name)
    raise AttributeError(f"module 'lmkit.recurrence' has no attribute {name!r}")
