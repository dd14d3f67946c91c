"""Models as ONNX graphs: the numbers of torch from both forms, and the forms as documented."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lmkit import states
from lmkit.errors import ModelError
from lmkit.neural.output import OutputLayer
from lmkit.plugins import registry
from lmkit.recurrence import Cell, GatedCell, NeuralLanguageModel, Recurrent

pytestmark = [pytest.mark.pipelines, pytest.mark.usefixtures("onnx")]

CELLS = [part.display_name for part in registry().parts("cell") if part.plugin.builtin]
MODELS: dict[str, dict[str, Any]] = {
    "everything around layers": {
        "cell": "lstm,layer-norm-lstm", "hidden_size": (6, 8), "embedding_size": 5, "projection_size": 4,
        "projection_clip": 0.3, "cell_clip": 0.2, "residual": True, "norm": "layer", "tied": False,
    },
    "rms norm": {"cell": "min-gru,gru", "norm": "rms", "residual": True},
    "a clipped LSTM": {"cell": {"name": "lstm", "clip": 0.2}},
    "a relu RNN": {"cell": {"name": "rnn", "activation": "relu"}},
    "exponential forget gates": {"cell": {"name": "xlstm-slstm", "forget_gate": "exponential"}},
    "adaptive": {"output": "adaptive", "tied": False, "cutoffs": (4, 8)},
    "mixture": {"output": "mixture", "experts": 3},
    "sampled": {"output": "sampled"},
    "window": {"model": "window", "order": 4, "num_layers": 2, "activation": "relu"},
    "bigram": {"model": "window", "order": 2},
    "direct": {"model": "window", "order": 3, "direct": True, "tied": False},
}  # fmt: skip


def forms(model: NeuralLanguageModel, in_int8: bool = False) -> dict[str, Any]:
    """The graphs of both forms, or of a step in int8."""
    from lmkit.onnx_export.forms import leaves_of, write_form

    names = ("step",) if in_int8 else ("step", "window")
    weights = [model.output.weight] if in_int8 else []
    return {name: write_form(model, name, leaves_of(model), weights) for name in names}


def check(model: NeuralLanguageModel, made: dict[str, Any]) -> None:
    """All checks of an export."""
    from lmkit.onnx_export.checks import Reference, check_declared, check_steps, check_window
    from lmkit.onnx_export.forms import leaves_of
    from lmkit.onnx_export.sessions import Session

    leaves = leaves_of(model)
    for name, proto in made.items():
        check_declared(proto, name)
    sessions = {name: Session(proto.SerializeToString(), leaves) for name, proto in made.items()}
    check_steps(Reference(model, leaves), sessions["step"])
    check_window(Reference(model, leaves), sessions["window"], sessions["step"])


def kinds(graph: Any) -> Counter[str]:
    """The number of nodes of each operator."""
    return Counter(node.op_type for node in graph.node)


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell(make: Any, cell: str) -> None:
    """A step and a window of each built-in cell give torch's logits and states; a window is one Scan."""
    model = make(cell=cell)
    made = forms(model)
    check(model, made)
    assert kinds(made["window"].graph)["Scan"] == 1
    assert not {"Scan", "Loop", "LSTM", "GRU", "RNN"} & kinds(made["step"].graph).keys()


@pytest.mark.parametrize("name", MODELS)
def test_models(make: Any, name: str) -> None:
    """What stands around the layers, other output layers and window models give torch's numbers too."""
    model = make(**MODELS[name])
    check(model, forms(model))


def test_a_cell_of_a_plugin(make: Any) -> None:
    """A third-party cell is traced from its gates."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "thirdparty" / "lmkit-demo-cell"))
    try:
        from lmkit_demo_cell.cell import MyCell  # pyright: ignore[reportMissingImports]
    finally:
        sys.path.pop(0)

    model = make(cell="gru")
    options = type("Options", (), {"forget_bias": 1.0})()
    model.stack = Recurrent(8, 8, 2, lambda inputs, size: MyCell(inputs, size, options))
    check(model, forms(model))


def test_the_form_of_a_window(make: Any) -> None:
    """The product of the inputs is outside the Scan, whose body has the recurrent product alone."""
    made = forms(make(cell="gru", num_layers=2))["window"].graph
    scans = [node for node in made.node if node.op_type == "Scan"]
    bodies = [attribute.g for scan in scans for attribute in scan.attribute if attribute.name == "body"]
    assert [kinds(body)["MatMul"] for body in bodies] == [1, 1]
    assert kinds(made)["MatMul"] == 3  # two layers and the output


def test_names(make: Any) -> None:
    """A leaf of the state is called by its cell's name for it and its layer; its output is next_."""
    made = forms(make(cell="lstm,gru"))["step"].graph
    assert [one.name for one in made.input] == ["ids", "h_0", "c_0", "h_1"]
    assert [one.name for one in made.output] == ["logits", "next_h_0", "next_c_0", "next_h_1"]
    projected = forms(make(cell="lstm", projection_size=4, tied=False))["step"].graph
    assert [one.name for one in projected.input] == ["ids", "r_0", "h_0", "c_0"]


def test_tied_weights_are_there_once(make: Any) -> None:
    """The embedding and an output layer that shares its weight are one constant."""
    made = forms(make(cell="gru"))["step"].graph
    shapes = [tuple(one.dims) for one in made.initializer]
    assert (shapes.count((11, 8)), shapes.count((8, 11))) == (1, 0)
    apart = forms(make(cell="gru", tied=False))["step"].graph
    shapes = [tuple(one.dims) for one in apart.initializer]
    assert (shapes.count((11, 8)), shapes.count((8, 11))) == (1, 1)


def test_the_model_stays_as_it_is(make: Any) -> None:
    """After an export, and after one that fails, the model has its own cells and gives the same numbers."""
    from lmkit.onnx_export.layers import opaque_layers

    model = make(cell="gru")
    cells, before = list(model.stack.layers), model.next_log_probs(model.initial_state(2))
    forms(model)
    with pytest.raises(RuntimeError), opaque_layers(model):
        raise RuntimeError
    assert list(model.stack.layers) == cells
    torch.testing.assert_close(model.next_log_probs(model.initial_state(2)), before, rtol=0, atol=0)


def test_a_wrong_file_is_refused(make: Any) -> None:
    """A file with other numbers than the model does not pass, nor one with an axis of a fixed length."""
    from lmkit.onnx_export.checks import check_declared

    model = make(cell="gru")
    made = forms(model)
    for constant in made["step"].graph.initializer:
        if list(constant.dims) == [24]:
            values = np.frombuffer(constant.raw_data, np.float32) + 1e-3
            constant.raw_data = values.astype(np.float32).tobytes()
    with pytest.raises(ModelError, match="not the same model: a step differ"):
        check(model, made)
    made["window"].graph.input[0].type.tensor_type.shape.dim[0].dim_value = 5
    with pytest.raises(ModelError, match=r"axes of ids|onnx refuses it"):
        check_declared(made["window"], "window")


class Mixing(GatedCell):
    """A cell whose rows depend on one another, which no check of one row would notice."""

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        return torch.tanh(x + h - 0.1 * (x + h).mean(0, keepdim=True))


class Counting(Cell):
    """A cell that remembers the number of steps outside its state."""

    steps = 0

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, self.hidden_size)

    def forward(self, x: Tensor, state: states.State) -> tuple[Tensor, states.State]:
        assert isinstance(state, Tensor)
        self.steps += 1
        h = torch.tanh(x + state / self.steps)
        return h, h


@pytest.mark.parametrize("cell", [Mixing, Counting])
def test_cells_that_break_their_contract(make: Any, cell: type[Cell]) -> None:
    """A cell whose rows mix, or whose numbers depend on more than its arguments, has no file."""
    model = make(cell="gru")
    model.stack = Recurrent(8, 8, 1, cell)
    with pytest.raises(ModelError, match="not the same model"):
        check(model, forms(model))


def test_int8_is_the_output_layer(make: Any) -> None:
    """One product is in eight bits, that of the output layer; rows are equal alone and in a batch."""
    from lmkit.onnx_export.checks import Reference, check_steps
    from lmkit.onnx_export.forms import leaves_of
    from lmkit.onnx_export.sessions import Session

    model = make(cell="gru", hidden_size=64)
    (proto,) = forms(model, in_int8=True).values()
    assert kinds(proto.graph)["MatMulNBits"] == 1
    (node,) = (node for node in proto.graph.node if node.op_type == "MatMulNBits")
    assert {one.name: one.i for one in node.attribute} == {
        "K": 64, "N": 11, "bits": 8, "block_size": 32, "accuracy_level": 4,
    }  # fmt: skip
    leaves = leaves_of(model)
    session = Session(proto.SerializeToString(), leaves)
    check_steps(Reference(model, leaves), session, exact=False)
    with pytest.raises(ModelError, match="a step differ"):
        check_steps(Reference(model, leaves), session)


def test_int8_of_odd_widths(make: Any) -> None:
    """A width that is no whole number of blocks is padded with zeros."""
    from lmkit.onnx_export.checks import Reference, check_steps
    from lmkit.onnx_export.forms import leaves_of
    from lmkit.onnx_export.sessions import Session

    model = make(cell="gru", hidden_size=41)
    assert isinstance(model.output, OutputLayer)
    (proto,) = forms(model, in_int8=True).values()
    leaves = leaves_of(model)
    check_steps(Reference(model, leaves), Session(proto.SerializeToString(), leaves), exact=False)
