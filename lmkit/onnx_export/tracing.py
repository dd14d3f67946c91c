"""The operations of a module as a graph of torch's core operators."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from lmkit.errors import first_line, with_kind

WHOLE = ("linear", "layer_norm")
"""Operators that ONNX has too, and that are not decomposed."""


class NotExportableError(Exception):
    """Why a module has no ONNX file."""


def trace(module: nn.Module, arguments: Sequence[Any], free: Sequence[Sequence[int]]) -> ExportedProgram:
    """The operations of a module for these arguments, tensors and lists of tensors.

    free: for each argument the axes of any length. Raises NotExportableError.
    """
    axes = tuple(
        [dict.fromkeys(free_axes, Dim.DYNAMIC) for _ in argument]
        if isinstance(argument, (list, tuple))
        else dict.fromkeys(free_axes, Dim.DYNAMIC)
        for argument, free_axes in zip(arguments, free, strict=True)
    )
    # With gradients switched off, models call operators of oneDNN, which are torch's alone.
    with _quiet(), torch.enable_grad():
        try:
            program = torch.export.export(module, tuple(arguments), dynamic_shapes=axes, strict=False)
            program = program.run_decompositions(_decompositions())
        except Exception as error:  # anything may be raised from inside somebody's module
            if "specialized it to be a constant" in str(error):
                raise NotExportableError(
                    "it takes the number of rows or steps for a constant (x.shape[0] is free, len(x) is not)"
                ) from error
            raise NotExportableError(f"it cannot be traced ({with_kind(error, first_line)})") from error
    _drop_checks(program.graph)
    return program


def _drop_checks(graph: fx.Graph) -> None:
    """Remove torch's own checks of lengths, and what only they read."""
    for node in list(graph.nodes):
        if "assert" in str(node.target) or "sym_constrain" in str(node.target):
            graph.erase_node(node)
    graph.eliminate_dead_code()


def _decompositions() -> dict[Any, Any]:
    table = torch.export.default_decompositions()
    for name in WHOLE:
        table.pop(getattr(torch.ops.aten, name).default, None)
    return table


@contextmanager
def _quiet() -> Iterator[None]:
    """torch warns and logs about its own parts while it traces."""
    log = logging.getLogger("torch")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def constants_of(program: ExportedProgram) -> dict[str, Tensor]:
    """The parameters, buffers and other constants of a program by the names of its placeholders."""
    signature = program.graph_signature
    named = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    known = {**program.state_dict, **program.constants}
    return {name: known[target] for name, target in named.items()}
