"""The forms of a causal model as ONNX graphs: one step, and a window of any number of steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

import lmkit
from lmkit import states
from lmkit.onnx_export.emitter import Emitter, View
from lmkit.onnx_export.graph import BATCH, IR_VERSION, MICROSOFT, OPSET, TIME, Graph, onnx, tensor
from lmkit.onnx_export.layers import EXAMPLE_ROWS, EXAMPLE_STEPS, LAYER, LayerWriter, opaque_layers, packed
from lmkit.onnx_export.operators import HANDLERS
from lmkit.onnx_export.options import WINDOW
from lmkit.onnx_export.tracing import trace
from lmkit.recurrence import NeuralLanguageModel, Recurrent
from lmkit.recurrence.cells import Cell, GatedCell
from lmkit.states import State

IDS, LOGITS = "ids", "logits"
NEXT = "next_"
"""Before the name of a state: the output that is the input of the next call."""


@dataclass(frozen=True)
class Leaf:
    """A tensor of the state: its name, and its value for one row before anything is read, (1, ...)."""

    name: str
    blank: Tensor

    @property
    def axes(self) -> list[int | str]:
        """Its shape, with the free axis of rows."""
        return [BATCH, *self.blank.shape[1:]]


class _Form(nn.Module):
    """Ids and the leaves of the state to logits and the new leaves.

    One step: ids (batch,) and logits (batch, vocabulary). A window: both with the axis of time first.
    """

    def __init__(self, model: NeuralLanguageModel, *, window: bool) -> None:
        super().__init__()
        self.model = model
        self.window = window
        self.like = model.blank_state(1)

    def forward(self, ids: Tensor, leaves: list[Tensor]) -> list[Tensor]:
        rows = ids.t() if self.window else ids[:, None]
        features, state = self.model.features(rows, packed(self.like, leaves))
        read = features.transpose(0, 1) if self.window else features[:, 0]
        return [self.model.output.logits(read), *states.leaves(state)]


def leaves_of(model: NeuralLanguageModel) -> list[Leaf]:
    """The state of a model, each tensor with the name that its cell gives it and the number of its layer."""
    with torch.no_grad():
        state = model.blank_state(1)
    blanks = states.leaves(state)
    names = _names(model, state) or [f"state_{index}" for index in range(len(blanks))]
    return [Leaf(name, blank.detach().cpu()) for name, blank in zip(names, blanks, strict=True)]


def _names(model: NeuralLanguageModel, state: State) -> list[str] | None:
    """The names of the leaves, if the state is that of one stack of layers."""
    stacks = [part for part in model.modules() if isinstance(part, Recurrent)]
    if len(stacks) != 1 or not isinstance(state, tuple) or len(state) != len(stacks[0].layers):
        return None
    names = []
    for number, (cell, part) in enumerate(zip(stacks[0].layers, state, strict=True)):
        count = len(states.leaves(part))
        names += [f"{name}_{number}" for name in _cell_names(cast(Cell, cell), count)]
    return names if len(names) == len(states.leaves(state)) else None


def _cell_names(cell: Cell, count: int) -> Sequence[str]:
    own = ()
    inner = getattr(cell, "cell", cell)  # that of a projection
    if isinstance(inner, GatedCell):
        own = inner.state_names if len(inner.state_names) == count else ("r", *inner.state_names)
    if len(own) == count:
        return own
    return ["h", *(f"s{index}" for index in range(1, count))]


def write_form(
    model: NeuralLanguageModel, form: str, leaves: Sequence[Leaf], in_int8: Sequence[Tensor] = ()
) -> Any:
    """The ONNX model of a form, without facts about the run, of a model on the CPU in evaluation mode.

    Raises NotExportableError.
    """
    window = form == WINDOW
    graph = Graph(in_int8=in_int8)
    with opaque_layers(model) as cells:
        module = _Form(model, window=window)
        axes = (EXAMPLE_STEPS, EXAMPLE_ROWS) if window else (EXAMPLE_ROWS,)
        # Separate tensors, since the tracer knows an argument by its identity.
        examples = [leaf.blank.expand(EXAMPLE_ROWS, *leaf.blank.shape[1:]).clone() for leaf in leaves]
        arguments = [torch.zeros(axes, dtype=torch.int64), examples]
        program = trace(module, arguments, [list(range(len(axes))), [0]])
        emitter = Emitter(graph, {**HANDLERS, LAYER: LayerWriter(cells, window=window)})
        inputs = [View.whole(IDS, torch.int64, len(axes))]
        inputs += [View.whole(leaf.name, leaf.blank.dtype, leaf.blank.dim()) for leaf in leaves]
        values = emitter.run(program, inputs)
    names = [LOGITS, *(NEXT + leaf.name for leaf in leaves)]
    for name, value in zip(names, values, strict=True):
        graph.name_as(emitter.name(value), name)
    free = [TIME, BATCH] if window else [BATCH]
    declared = [tensor(leaf.name, leaf.blank.dtype, leaf.axes) for leaf in leaves]
    after = [tensor(NEXT + leaf.name, leaf.blank.dtype, leaf.axes) for leaf in leaves]
    proto = graph.proto(
        form,
        [tensor(IDS, torch.int64, free), *declared],
        [tensor(LOGITS, torch.float32, [*free, model.vocabulary.size]), *after],
    )
    return model_of(proto, microsoft=bool(in_int8))


def model_of(graph: Any, *, microsoft: bool = False) -> Any:
    """An ONNX model of a graph; microsoft: with onnxruntime's own operators."""
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    if microsoft:
        opsets.append(onnx.helper.make_opsetid(MICROSOFT, 1))
    return onnx.helper.make_model(
        graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="lmkit", producer_version=lmkit.__version__,
    )  # fmt: skip
