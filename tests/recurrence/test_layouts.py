"""Weights of other libraries in lmkit's cells give the outputs of those libraries' equations.

Each reference is one step, in numpy, as the library's documentation writes it, over arrays as the library stores them.
tests/pipelines/test_other_libraries.py compares with the libraries themselves.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lmkit.errors import UsageError
from lmkit.recurrence import Recurrent, from_layout

INPUTS, UNITS, BATCH, TIME = 5, 4, 3, 7
Step = Callable[[dict[str, Any], np.ndarray, list[np.ndarray]], list[np.ndarray]]
"""From the arrays, x and the state [h] or [h, c] to the next state."""


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def random(shapes: dict[str, Any]) -> dict[str, Any]:
    """Arrays of these shapes, nested as they are, all away from zero."""
    chance = np.random.default_rng(7)
    return {
        name: random(shape) if isinstance(shape, dict) else chance.normal(size=shape)
        for name, shape in shapes.items()
    }


def torch_rnn(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    (h,) = state
    return [np.tanh(x @ w["weight_ih_l0"].T + w["bias_ih_l0"] + h @ w["weight_hh_l0"].T + w["bias_hh_l0"])]


def torch_lstm(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    h, c = state
    both = x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]
    i, f, g, o = np.split(both, 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def torch_gru(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    (h,) = state
    x_r, x_z, x_n = np.split(x @ w["weight_ih"].T + w["bias_ih"], 3, -1)
    h_r, h_z, h_n = np.split(h @ w["weight_hh"].T + w["bias_hh"], 3, -1)
    z = sigmoid(x_z + h_z)
    return [(1 - z) * np.tanh(x_n + sigmoid(x_r + h_r) * h_n) + z * h]


def keras_rnn(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    return [np.tanh(x @ w["kernel"] + w["bias"] + state[0] @ w["recurrent_kernel"])]


def keras_lstm(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    h, c = state
    i, f, g, o = np.split(x @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"], 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def keras_gru(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    (h,) = state
    x_z, x_r, x_n = np.split(x @ w["kernel"] + w["bias"][0], 3, -1)
    h_z, h_r, h_n = np.split(h @ w["recurrent_kernel"] + w["bias"][1], 3, -1)
    z = sigmoid(x_z + h_z)
    return [z * h + (1 - z) * np.tanh(x_n + sigmoid(x_r + h_r) * h_n)]


def keras_gru_v3(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    (h,) = state
    x_z, x_r, x_n = np.split(x @ w["kernel"] + w["bias"], 3, -1)
    u_z, u_r, u_n = np.split(w["recurrent_kernel"], 3, -1)
    z = sigmoid(x_z + h @ u_z)
    return [z * h + (1 - z) * np.tanh(x_n + (sigmoid(x_r + h @ u_r) * h) @ u_n)]


def linen_rnn(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    return [np.tanh(x @ w["i"]["kernel"] + w["i"]["bias"] + state[0] @ w["h"]["kernel"])]


def linen_lstm(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    h, c = state
    i, f, g, o = (
        x @ (w.get(f"i{gate}") or w["if_"])["kernel"] + h @ w[f"h{gate}"]["kernel"] + w[f"h{gate}"]["bias"]
        for gate in "ifgo"
    )
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def linen_gru(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    (h,) = state
    r, z = (
        sigmoid(x @ w[f"i{gate}"]["kernel"] + w[f"i{gate}"]["bias"] + h @ w[f"h{gate}"]["kernel"])
        for gate in "rz"
    )
    recurrent = h @ w["hn"]["kernel"] + w["hn"]["bias"]
    return [(1 - z) * np.tanh(x @ w["in"]["kernel"] + w["in"]["bias"] + r * recurrent) + z * h]


def nnx_rnn(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    return [np.tanh(x @ w["dense_i"]["kernel"] + w["dense_i"]["bias"] + state[0] @ w["dense_h"]["kernel"])]


def nnx_lstm(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    h, c = state
    both = x @ w["dense_i"]["kernel"] + h @ w["dense_h"]["kernel"] + w["dense_h"]["bias"]
    i, f, g, o = np.split(both, 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def nnx_gru(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    (h,) = state
    x_r, x_z, x_n = np.split(x @ w["dense_i"]["kernel"] + w["dense_i"]["bias"], 3, -1)
    h_r, h_z, h_n = np.split(h @ w["dense_h"]["kernel"], 3, -1)
    z = sigmoid(x_z + h_z)
    return [(1 - z) * np.tanh(x_n + sigmoid(x_r + h_r) * h_n) + z * h]


def haiku_lstm(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    h, c = state
    i, g, f, o = np.split(np.concatenate([x, h], -1) @ w["w"] + w["b"], 4, -1)
    c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def haiku_gru(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    (h,) = state
    x_z, x_r, x_a = np.split(x @ w["w_i"] + w["b"], 3, -1)
    u_z, u_r, u_a = np.split(w["w_h"], 3, -1)
    z = sigmoid(x_z + h @ u_z)
    return [(1 - z) * h + z * np.tanh(x_a + (sigmoid(x_r + h @ u_r) * h) @ u_a)]


def equinox_lstm(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    h, c = state
    i, f, g, o = np.split(x @ w["weight_ih"].T + h @ w["weight_hh"].T + w["bias"], 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def equinox_gru(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    (h,) = state
    x_r, x_z, x_n = np.split(x @ w["weight_ih"].T + w["bias"], 3, -1)
    h_r, h_z, h_n = np.split(h @ w["weight_hh"].T, 3, -1)
    new = np.tanh(x_n + sigmoid(x_r + h_r) * (h_n + w["bias_n"]))
    return [new + sigmoid(x_z + h_z) * (h - new)]


def mlx_rnn(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    return [np.tanh(x @ w["Wxh"].T + state[0] @ w["Whh"].T + w["bias"])]


def mlx_lstm(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    return equinox_lstm({"weight_ih": w["Wx"], "weight_hh": w["Wh"], "bias": w["bias"]}, x, state)


def mlx_gru(w: dict[str, Any], x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    (h,) = state
    r, z = np.split(
        sigmoid(x @ w["Wx"][: 2 * UNITS].T + h @ w["Wh"][: 2 * UNITS].T + w["b"][: 2 * UNITS]), 2, -1
    )
    recurrent = h @ w["Wh"][2 * UNITS :].T + w["bhn"]
    return [(1 - z) * np.tanh(x @ w["Wx"][2 * UNITS :].T + w["b"][2 * UNITS :] + r * recurrent) + z * h]


def rows(gates: int, *names: str) -> dict[str, tuple[int, ...]]:
    """Two matrices whose rows are gates, and biases."""
    w, u, *biases = names
    n = gates * UNITS
    return {w: (n, INPUTS), u: (n, UNITS)} | dict.fromkeys(biases, (n,))


def columns(gates: int, *bias: int) -> dict[str, tuple[int, ...]]:
    """keras' matrices, whose columns are gates, and its bias."""
    n = gates * UNITS
    return {"kernel": (INPUTS, n), "recurrent_kernel": (UNITS, n), "bias": (*bias, n)}


def dense(inputs: int, units: int, *, bias: bool) -> dict[str, tuple[int, ...]]:
    """flax's linear layer."""
    return {"kernel": (inputs, units)} | ({"bias": (units,)} if bias else {})


def each(inputs: str, recurrent: str, *biased: str) -> dict[str, Any]:
    """flax's layers for each gate, by their names."""
    sizes = dict.fromkeys(inputs.split(), INPUTS) | dict.fromkeys(recurrent.split(), UNITS)
    return {name: dense(size, UNITS, bias=name in biased) for name, size in sizes.items()}


def two(gates: int, *, biased: str) -> dict[str, Any]:
    """The two linear layers of nnx."""
    sizes = {"dense_i": INPUTS, "dense_h": UNITS}
    return {name: dense(size, gates * UNITS, bias=name in biased) for name, size in sizes.items()}


TORCH = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
LSTM_GATES = ("hi", "hf", "hg", "ho")
CASES: list[tuple[str, str, Step, dict[str, Any]]] = [
    ("torch", "rnn", torch_rnn, rows(1, *(f"{name}_l0" for name in TORCH))),
    ("torch", "lstm", torch_lstm, rows(4, *TORCH)),
    ("torch", "gru", torch_gru, rows(3, *TORCH)),
    ("keras", "rnn", keras_rnn, columns(1)),
    ("keras", "lstm", keras_lstm, columns(4)),
    ("keras", "gru", keras_gru, columns(3, 2)),
    ("keras", "gru-v3", keras_gru_v3, columns(3)),
    ("flax", "rnn", linen_rnn, each("i", "h", "i")),
    ("flax", "lstm", linen_lstm, each("ii if ig io", "hi hf hg ho", *LSTM_GATES)),
    ("flax", "lstm", linen_lstm, each("ii if_ ig io", "hi hf hg ho", *LSTM_GATES)),
    ("flax", "gru", linen_gru, each("ir iz in", "hr hz hn", "ir", "iz", "in", "hn")),
    ("flax", "rnn", nnx_rnn, two(1, biased="dense_i")),
    ("flax", "lstm", nnx_lstm, two(4, biased="dense_h")),
    ("flax", "gru", nnx_gru, two(3, biased="dense_i")),
    ("haiku", "lstm", haiku_lstm, {"w": (INPUTS + UNITS, 4 * UNITS), "b": (4 * UNITS,)}),
    (
        "haiku",
        "gru-v3",
        haiku_gru,
        {"w_i": (INPUTS, 3 * UNITS), "w_h": (UNITS, 3 * UNITS), "b": (3 * UNITS,)},
    ),
    ("equinox", "lstm", equinox_lstm, rows(4, "weight_ih", "weight_hh", "bias")),
    ("equinox", "gru", equinox_gru, rows(3, "weight_ih", "weight_hh", "bias") | {"bias_n": (UNITS,)}),
    ("mlx", "rnn", mlx_rnn, rows(1, "Wxh", "Whh", "bias")),
    ("mlx", "lstm", mlx_lstm, rows(4, "Wx", "Wh", "bias")),
    ("mlx", "gru", mlx_gru, rows(3, "Wx", "Wh", "b") | {"bhn": (UNITS,)}),
]


def cell_named(name: str) -> Any:
    torch.manual_seed(0)
    return Recurrent(INPUTS, UNITS, cell=name).double().layers[0]


def outputs_of(cell: Any, xs: np.ndarray) -> np.ndarray:
    """The outputs (time, batch, units) and the last state, one after the other."""
    with torch.no_grad():
        ys, state = cell.sequence(torch.from_numpy(xs), cell.initial_state(xs.shape[1]))
    return torch.cat([ys, *(part[None] for part in state)]).numpy()


@pytest.mark.parametrize(("layout", "name", "step", "shapes"), CASES)
def test_the_weights_mean_what_the_library_means(
    layout: str, name: str, step: Step, shapes: dict[str, Any]
) -> None:
    """A cell with a library's weights gives the library's outputs and last state."""
    arrays = random(shapes)
    xs = np.random.default_rng(1).normal(size=(TIME, BATCH, INPUTS))
    state = [np.zeros((BATCH, UNITS))] * (2 if name == "lstm" else 1)
    ys = []
    for x in xs:
        state = step(arrays, x, state)
        ys.append(state[0])
    cell = from_layout(cell_named(name), layout, arrays)
    np.testing.assert_allclose(outputs_of(cell, xs), np.stack([*ys, *state]), atol=1e-12)


def test_the_ways_to_give_arrays() -> None:
    """keras' list, arrays under one name, float32, and torch's own tensors are the arrays by name."""
    arrays = random(columns(4))
    xs = np.random.default_rng(1).normal(size=(TIME, BATCH, INPUTS))
    wanted = outputs_of(from_layout(cell_named("lstm"), "keras", arrays), xs)
    ways: list[Any] = [
        list(arrays.values()),
        {"params": {"lstm": arrays}},
        {name: array.astype(np.float32) for name, array in arrays.items()},
        {name: torch.from_numpy(array) for name, array in arrays.items()},
    ]
    for way in ways:
        np.testing.assert_allclose(
            outputs_of(from_layout(cell_named("lstm"), "keras", way), xs), wanted, atol=1e-6
        )


@pytest.mark.parametrize(("layout", "name"), [("torch", "gru"), ("keras", "gru-v3"), ("mlx", "gru")])
def test_a_layer_without_bias_is_one_of_zeros(layout: str, name: str) -> None:
    """If the library's layer has no bias, the cell's biases are zero, whatever they were before."""
    shapes = next(case[3] for case in CASES if case[:2] == (layout, name))
    arrays = random({key: shape for key, shape in shapes.items() if not key.startswith("b")})
    cell = from_layout(cell_named(name), layout, {**arrays, "bias": None})
    biases = [bias for key, bias in cell.named_parameters() if key.startswith("bias")]
    assert biases
    assert not any(bool(bias.any()) for bias in biases)


KERAS = random(columns(4))
WRONG: list[tuple[str, str, Any, str]] = [
    ("kerass", "lstm", KERAS, "there is no layout 'kerass'; did you mean 'keras'?"),
    (
        "keras",
        "min-gru",
        KERAS,
        "MinGRUCell is no cell of other libraries; use one of rnn, lstm, gru, gru-v3",
    ),
    ("haiku", "gru", KERAS, "the layout haiku has no gru; it has lstm, gru-v3"),
    (
        "keras",
        "lstm",
        {"kernel": KERAS["kernel"], "recurent_kernel": KERAS["recurrent_kernel"]},
        "2 problems:\n"
        "  keras, lstm of 5 inputs and 4 units: 'recurrent_kernel' is missing\n"
        "  keras, lstm of 5 inputs and 4 units: 'recurent_kernel' is unknown; did you mean 'recurrent_kernel'?",
    ),
    (
        "keras",
        "lstm",
        KERAS | {"kernel": KERAS["kernel"].T},
        "keras, lstm of 5 inputs and 4 units: 'kernel' has the shape (16, 5), wanted (5, 16): transpose it",
    ),
    (
        "keras",
        "gru",
        random(columns(3)),
        "keras: a GRU whose bias has one row has reset_after=False: load it into gru-v3",
    ),
    (
        "keras",
        "gru-v3",
        random(columns(3, 2)),
        "keras: a GRU whose bias has two rows has reset_after=True: load it into gru",
    ),
    (
        "torch",
        "lstm",
        random(rows(4, *TORCH[:3])),
        "torch, lstm of 5 inputs and 4 units: 'bias_hh' is missing",
    ),
    (
        "torch",
        "lstm",
        random(rows(4, *(f"{name}_l{layer}" for layer in range(2) for name in TORCH[:2]))),
        "torch: 'weight_ih_l1' is of another layer; give the arrays of one layer",
    ),
    (
        "keras",
        "lstm",
        KERAS | {"bias": ["no"] * 16},
        "keras: 'bias' is not an array of real numbers; convert it to numpy",
    ),
    ("torch", "lstm", list(KERAS.values()), "torch: give the arrays by name, as a dictionary"),
    (
        "keras",
        "lstm",
        2 * list(KERAS.values()),
        "keras: 6 arrays are of several layers; give the arrays of one layer",
    ),
]


@pytest.mark.parametrize(("layout", "name", "arrays", "message"), WRONG)
def test_what_cannot_be_loaded(layout: str, name: str, arrays: Any, message: str) -> None:
    """An error says which array or name is wrong and what to do, and the cell keeps its weights."""
    cell = cell_named(name)
    before = [parameter.clone() for parameter in cell.parameters()]
    with pytest.raises(UsageError) as raised:
        from_layout(cell, layout, arrays)
    assert str(raised.value) == message
    torch.testing.assert_close(list(cell.parameters()), before)
