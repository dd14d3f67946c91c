"""An encoder of two stacks as an ONNX graph: a batch of sentences of any lengths to the layers of every token."""

from typing import Any

import torch
from torch import Tensor, nn

from lmkit import states
from lmkit.embedding.layers import selection
from lmkit.onnx_export.emitter import Emitter, View
from lmkit.onnx_export.forms import IDS, model_of
from lmkit.onnx_export.graph import BATCH, TIME, Graph, tensor
from lmkit.onnx_export.layers import EXAMPLE_ROWS, EXAMPLE_STEPS, LAYER, LayerWriter, opaque_layers
from lmkit.onnx_export.operators import HANDLERS
from lmkit.onnx_export.tracing import trace
from lmkit.recurrence import BidirectionalEncoder, Recurrent
from lmkit.states import State

CHARACTERS = "characters"
"""The input of the tokens where each is a row of numbers, instead of `ids`."""
LENGTHS = "lengths"
LAYERS, MIX = "layers", "mix"


def code_shape(model: BidirectionalEncoder) -> tuple[int, ...]:
    """The shape of what is read of a token: () or (characters,)."""
    return tuple(model.token_codes([], []).shape[1:])


def code_name(model: BidirectionalEncoder) -> str:
    """The name of the input of the tokens."""
    return CHARACTERS if code_shape(model) else IDS


class _EncoderForm(nn.Module):
    """Codes (batch, time, ...) and lengths (batch,) to the layers (batch, layers, time, width) and their mix.

    No row depends on what stands after its length: each is reversed within its own length for the backward stack, so
    that both stacks meet the padding after the sentence.
    """

    def __init__(self, model: BidirectionalEncoder) -> None:
        super().__init__()
        self.model = model
        self.mix = selection(model, MIX)
        # What is the same in every call is computed before tracing, by whatever the model computes it with.
        with torch.no_grad():
            first, last = model.boundaries().clone()
            stacks = (model.forward_stack, model.backward_stack)
            self.starts = [
                (stack, one, stack.initial_state(1)) for stack, one in zip(stacks, (first, last), strict=True)
            ]

    def forward(self, codes: Tensor, lengths: Tensor) -> list[Tensor]:
        rows, steps = codes.shape[:2]
        vectors = self.model.code_vectors(codes.flatten(0, 1)).reshape(rows, steps, -1)
        places = torch.arange(steps)
        before = lengths[:, None] - 1 - places
        inside = before >= 0
        # For each place of a sentence the one as far from its end, so that it turns both ways.
        reverse = before.clamp(min=0)[:, :, None]
        forward, backward = self.starts
        ahead = _outputs(*forward, vectors)
        behind = _outputs(*backward, _taken(vectors, reverse))
        layers = [torch.cat([vectors, vectors], 2)]
        layers += [
            torch.cat([one, _taken(other, reverse)], 2) for one, other in zip(ahead, behind, strict=True)
        ]
        found = torch.stack(layers).masked_fill(~inside[None, :, :, None], 0.0)
        return [found.transpose(0, 1), self.mix(found)]


def _taken(vectors: Tensor, places: Tensor) -> Tensor:
    """The vectors (batch, time, width) at places (batch, time, 1) of their row."""
    return vectors.gather(1, places.expand(-1, -1, vectors.shape[2]))


def _outputs(stack: Recurrent, boundary: Tensor, blank: State, vectors: Tensor) -> list[Tensor]:
    """The outputs of every layer after each token, (batch, time, width) each, of rows that begin with a boundary."""
    rows = vectors.shape[0]
    state = states.apply(lambda leaf: leaf.expand(rows, *leaf.shape[1:]), blank)
    whole = torch.cat([boundary.expand(rows, 1, -1), vectors], 1)
    return [layer[:, 1:] for layer in stack.layer_outputs(whole, state)[0]]


def write_encoder(model: BidirectionalEncoder) -> Any:
    """The ONNX model of an encoder, without facts about the run, on the CPU in evaluation mode.

    Raises NotExportableError.
    """
    graph, name, shape = Graph(), code_name(model), code_shape(model)
    with opaque_layers(model) as cells:  # pyright: ignore[reportArgumentType]
        codes = torch.zeros(EXAMPLE_ROWS, EXAMPLE_STEPS, *shape, dtype=torch.int64)
        lengths = torch.full((EXAMPLE_ROWS,), EXAMPLE_STEPS)
        program = trace(_EncoderForm(model), [codes, lengths], [[0, 1], [0]])
        emitter = Emitter(graph, {**HANDLERS, LAYER: LayerWriter(cells, window=True)})
        inputs = [View.whole(name, torch.int64, codes.dim()), View.whole(LENGTHS, torch.int64, 1)]
        values = emitter.run(program, inputs)
    for output, value in zip((LAYERS, MIX), values, strict=True):
        graph.name_as(emitter.name(value), output)
    proto = graph.proto(
        "encoder",
        [tensor(name, torch.int64, [BATCH, TIME, *shape]), tensor(LENGTHS, torch.int64, [BATCH])],
        [
            tensor(LAYERS, torch.float32, [BATCH, model.num_layers, TIME, model.width]),
            tensor(MIX, torch.float32, [BATCH, TIME, model.width]),
        ],
    )
    return model_of(proto)
