"""The table of the operators of torch that have a form in ONNX, which `arithmetic` and `shapes` fill."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from lmkit.onnx_export.emitter import Handler

HANDLERS: dict[str, Handler] = {}
"""By the name of torch's operator, such as "aten.add.Tensor"."""


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Register a handler for operators of torch."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


def type_of(node: fx.Node) -> torch.dtype:
    """The type of a node's result."""
    return node.meta["val"].dtype


def shape_of(node: Any) -> Sequence[Any]:
    """The shape of a node's result: whole numbers, and lengths that are known only when the model runs."""
    return node.meta["val"].shape
