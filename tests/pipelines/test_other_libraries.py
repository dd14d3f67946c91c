"""Weights of keras, flax, haiku, equinox and MLX in lmkit's cells give those libraries' own outputs."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from lmkit.recurrence import Recurrent, from_layout

pytestmark = pytest.mark.pipelines

INPUTS, UNITS, BATCH, TIME = 5, 4, 3, 7
Returned = tuple[Any, np.ndarray, Sequence[np.ndarray]]
"""The library's weights, its outputs (batch, time, units), and its last state: [h] or [h, c]."""


@pytest.fixture
def xs() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(BATCH, TIME, INPUTS)).astype(np.float32)


def check(layout: str, name: str, xs: np.ndarray, returned: Returned) -> None:
    """A cell with the library's weights gives its outputs and its last state."""
    weights, ys, state = returned
    torch.manual_seed(0)
    layers = Recurrent(INPUTS, UNITS, cell=name)
    from_layout(layers.layers[0], layout, weights)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        ours, ((*after,),) = layers(torch.from_numpy(xs))
    assert float(np.abs(ys).max()) > 0.1
    np.testing.assert_allclose(ours.numpy(), ys, atol=2e-6)
    for part, wanted in zip(after, state, strict=True):
        np.testing.assert_allclose(part.numpy(), wanted, atol=2e-6)


def noise(shape: Sequence[int]) -> np.ndarray:
    """Weights of this shape: biases too are off zero."""
    return np.random.default_rng(sum(shape)).normal(size=tuple(shape), scale=0.7).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "layer", "settings"),
    [
        ("rnn", "SimpleRNN", {}),
        ("lstm", "LSTM", {}),
        ("gru", "GRU", {}),
        ("gru-v3", "GRU", {"reset_after": False}),
        ("gru", "GRU", {"use_bias": False}),
        ("gru-v3", "GRU", {"reset_after": False, "use_bias": False}),
    ],
)
def test_keras(name: str, layer: str, settings: dict[str, Any], xs: np.ndarray) -> None:
    """`layer.get_weights()` of each of keras' recurrent layers, with and without biases."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    theirs = getattr(keras.layers, layer)(UNITS, return_sequences=True, return_state=True, **settings)
    theirs.build(xs.shape)
    theirs.set_weights([noise(weight.shape) for weight in theirs.get_weights()])
    ys, *state = (keras.ops.convert_to_numpy(found) for found in theirs(xs))
    check("keras", name, xs, (theirs.get_weights(), ys, state))


def jax_scan(step: Callable[[Any, Any], tuple[Any, Any]], state: Any, xs: np.ndarray) -> tuple[Any, Any]:
    """The state after a loop of jax over (batch, time, ...), and the outputs."""
    import jax  # pyright: ignore[reportMissingImports]

    state, ys = jax.lax.scan(step, state, xs.swapaxes(0, 1))
    return state, np.asarray(ys).swapaxes(0, 1)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("rnn", "SimpleCell"), ("lstm", "LSTMCell"), ("lstm", "OptimizedLSTMCell"), ("gru", "GRUCell")],
)
def test_flax_linen(name: str, kind: str, xs: np.ndarray) -> None:
    """The variables of linen's cells, whose carry is (c, h)."""
    linen = pytest.importorskip("flax.linen")
    import jax  # pyright: ignore[reportMissingImports]

    key = jax.random.key(0)
    theirs = getattr(linen, kind)(UNITS)
    carry = theirs.initialize_carry(key, xs[:, 0].shape)
    shapes = theirs.init(key, carry, xs[:, 0])
    variables = jax.tree.map(lambda array: noise(array.shape), shapes)
    carry, ys = jax_scan(lambda carry, x: theirs.apply(variables, carry, x), carry, xs)
    check("flax", name, xs, (variables, ys, carry[::-1] if name == "lstm" else [carry]))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("rnn", "SimpleCell"), ("lstm", "LSTMCell"), ("lstm", "OptimizedLSTMCell"), ("gru", "GRUCell")],
)
def test_flax_nnx(name: str, kind: str, xs: np.ndarray) -> None:
    """The parameters of nnx's cells as a plain dictionary."""
    nnx = pytest.importorskip("flax.nnx")
    import jax  # pyright: ignore[reportMissingImports]

    theirs = getattr(nnx, kind)(INPUTS, UNITS, rngs=nnx.Rngs(0))
    nnx.update(theirs, jax.tree.map(lambda array: noise(array.shape), nnx.state(theirs, nnx.Param)))
    arrays = nnx.to_pure_dict(nnx.state(theirs, nnx.Param))
    carry, ys = theirs.initialize_carry(xs[:, 0].shape, nnx.Rngs(0)), []
    for x in xs.swapaxes(0, 1):
        carry, y = theirs(carry, x)
        ys.append(y)
    check("flax", name, xs, (arrays, np.stack(ys, 1), carry[::-1] if name == "lstm" else [carry]))


@pytest.mark.parametrize(("name", "kind"), [("lstm", "LSTM"), ("gru-v3", "GRU")])
def test_haiku(name: str, kind: str, xs: np.ndarray) -> None:
    """The parameters of haiku's cores; its LSTM adds 1 to f, its GRU weighs n with z."""
    haiku = pytest.importorskip("haiku")
    import jax  # pyright: ignore[reportMissingImports]

    def forward(xs: Any) -> Any:
        core = getattr(haiku, kind)(UNITS)
        return haiku.dynamic_unroll(core, xs, core.initial_state(BATCH), time_major=False)

    network = haiku.without_apply_rng(haiku.transform(forward))
    weights = jax.tree.map(lambda array: noise(array.shape), network.init(jax.random.key(0), xs))
    ys, state = network.apply(weights, xs)
    check("haiku", name, xs, (weights, np.asarray(ys), state if name == "lstm" else [state]))


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(("name", "kind"), [("lstm", "LSTMCell"), ("gru", "GRUCell")])
def test_equinox(name: str, kind: str, use_bias: bool, xs: np.ndarray) -> None:
    """The arrays of equinox's cells by attribute, None for a bias that the cell lacks."""
    equinox = pytest.importorskip("equinox")
    import jax  # pyright: ignore[reportMissingImports]

    theirs = getattr(equinox.nn, kind)(INPUTS, UNITS, use_bias=use_bias, key=jax.random.key(0))
    names = ("weight_ih", "weight_hh", "bias", *(("bias_n",) if name == "gru" else ()))
    zeros = np.zeros((BATCH, UNITS), np.float32)

    def step(state: Any, x: Any) -> tuple[Any, Any]:
        state = jax.vmap(theirs)(x, state)
        return state, state[0] if name == "lstm" else state

    state, ys = jax_scan(step, (zeros, zeros) if name == "lstm" else zeros, xs)
    arrays = {attribute: getattr(theirs, attribute) for attribute in names}
    check("equinox", name, xs, (arrays, ys, state if name == "lstm" else [state]))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("name", "kind"), [("rnn", "RNN"), ("lstm", "LSTM"), ("gru", "GRU")])
def test_mlx(name: str, kind: str, bias: bool, xs: np.ndarray) -> None:
    """The parameters of MLX's layers, which return every state."""
    nn = pytest.importorskip("mlx.nn")
    import mlx.core  # pyright: ignore[reportMissingImports]

    theirs = getattr(nn, kind)(INPUTS, UNITS, bias=bias)
    found = theirs(mlx.core.array(xs))
    states = [np.asarray(part) for part in (found if name == "lstm" else [found])]
    check("mlx", name, xs, (theirs.parameters(), states[0], [part[:, -1] for part in states]))
