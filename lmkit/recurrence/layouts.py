"""Load the weights of other libraries' recurrent cells, given as plain arrays.

For each cell of a library, a function says under which names, in which shapes and in which order of gates the library
stores the weights. docs/cells.md has the same facts in a table.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch

from lmkit.errors import UsageError, listed, suggest
from lmkit.recurrence.cells import Cell, GatedCell

GATES = {"rnn": "h", "lstm": "ifgo", "gru": "rzn", "gru-v3": "rzn"}
"""By family, the gates in the order in which `GatedCell.load_weights` takes them, which is torch.nn's."""

CellT = TypeVar("CellT", bound=Cell)


@dataclass(frozen=True)
class Weights:
    """The weights of a library's cell.

    order: of the gates, in the letters of GATES. weight_ih (gates * units, inputs), weight_hh (gates * units, units),
    bias_ih and bias_hh (gates * units,). z_writes: whether h_t = z n + (1 - z) h_{t-1}, not (1 - z) n + z h_{t-1}.
    forget_bias: the number that the library's formula adds to the forget gate.
    """

    order: str
    weight_ih: np.ndarray
    weight_hh: np.ndarray
    bias_ih: np.ndarray
    bias_hh: np.ndarray | None = None
    z_writes: bool = False
    forget_bias: float = 0.0


class Arrays:
    """The given arrays by name. A function of a layout asks for each; what is wrong is collected for one error."""

    def __init__(self, arrays: Mapping[str, np.ndarray], inputs: int, units: int) -> None:
        self.arrays = arrays
        self.inputs = inputs
        self.units = units
        self.known: list[str] = []
        self.biases: list[str] = []
        self.misshapen: list[str] = []

    def __call__(self, name: str, *shape: int) -> np.ndarray:
        """The array of a name, which must have this shape."""
        self.known.append(name)
        array = self.arrays.get(name)
        if array is not None and array.shape == shape:
            return array
        if array is not None:
            hint = ": transpose it" if array.T.shape == shape else ""
            self.misshapen.append(f"'{name}' has the shape {array.shape}, wanted {shape}{hint}")
        return np.zeros(shape)

    def bias(self, name: str, *shape: int) -> np.ndarray:
        """The same for a bias: zeros if the cell has none at all."""
        self.biases.append(name)
        return self(name, *shape)

    def gates(self, name: str, order: str, *shape: int) -> np.ndarray:
        """The transposed arrays of all gates under each other; "{}" in the name stands for the gate."""
        return np.concatenate([self(name.format(gate), *shape).T for gate in order])

    def problems(self) -> Iterator[str]:
        """What is missing, unknown or misshapen."""
        has_bias = any(name in self.arrays for name in self.biases)
        optional = () if has_bias else self.biases
        missing = [name for name in self.known if name not in self.arrays and name not in optional]
        yield from (f"'{name}' is missing" for name in missing)
        for name in self.arrays:
            if name not in self.known:
                yield f"'{name}' is unknown; {suggest(name, missing or self.known)}"
        yield from self.misshapen


def torch_like(order: str) -> Callable[[Arrays], Weights]:
    """A layer of torch.nn."""

    def weights(take: Arrays) -> Weights:
        rows = len(order) * take.units
        matrices = take("weight_ih", rows, take.inputs), take("weight_hh", rows, take.units)
        return Weights(order, *matrices, take.bias("bias_ih", rows), take.bias("bias_hh", rows))

    return weights


def one_bias(order: str, w: str, u: str, b: str, *, transposed: bool = False) -> Callable[[Arrays], Weights]:
    """A cell with two matrices and one bias, by their names. transposed: gates are columns."""

    def weights(take: Arrays) -> Weights:
        rows = len(order) * take.units
        if transposed:
            matrices = take(w, take.inputs, rows).T, take(u, take.units, rows).T
        else:
            matrices = take(w, rows, take.inputs), take(u, rows, take.units)
        return Weights(order, *matrices, take.bias(b, rows))

    return weights


def separate_n(w: str, u: str, b: str, b_n: str) -> Callable[[Arrays], Weights]:
    """A GRU whose recurrent product has a bias in n alone."""

    def weights(take: Arrays) -> Weights:
        rows = 3 * take.units
        matrices = take(w, rows, take.inputs), take(u, rows, take.units)
        bias_hh = np.concatenate([np.zeros(2 * take.units), take.bias(b_n, take.units)])
        return Weights("rzn", *matrices, take.bias(b, rows), bias_hh)

    return weights


def keras_gru(take: Arrays) -> Weights:
    """`keras.layers.GRU`, reset_after=True, which has a bias for each product."""
    if "bias" in take.arrays and take.arrays["bias"].ndim == 1:
        raise UsageError("keras: a GRU whose bias has one row has reset_after=False: load it into gru-v3")
    columns = 3 * take.units
    w, u = take("kernel", take.inputs, columns).T, take("recurrent_kernel", take.units, columns).T
    bias_ih, bias_hh = take.bias("bias", 2, columns)
    return Weights("zrn", w, u, bias_ih, bias_hh)


def keras_gru_v3(take: Arrays) -> Weights:
    """`keras.layers.GRU`, reset_after=False."""
    if "bias" in take.arrays and take.arrays["bias"].ndim == 2:
        raise UsageError("keras: a GRU whose bias has two rows has reset_after=True: load it into gru")
    return one_bias("zrn", "kernel", "recurrent_kernel", "bias", transposed=True)(take)


def flax_rnn(take: Arrays) -> Weights:
    """`SimpleCell` of linen or, with other names, of nnx."""
    names = ("dense_i", "dense_h") if "dense_i/kernel" in take.arrays else ("i", "h")
    return one_bias("h", f"{names[0]}/kernel", f"{names[1]}/kernel", f"{names[0]}/bias", transposed=True)(
        take
    )


def flax_lstm(take: Arrays) -> Weights:
    """`LSTMCell` and `OptimizedLSTMCell` of linen and nnx; the last has one matrix for all gates."""
    if "dense_i/kernel" in take.arrays:
        return one_bias("ifgo", "dense_i/kernel", "dense_h/kernel", "dense_h/bias", transposed=True)(take)
    return Weights(
        "ifgo",
        take.gates("i{}/kernel", "ifgo", take.inputs, take.units),
        take.gates("h{}/kernel", "ifgo", take.units, take.units),
        take.gates("h{}/bias", "ifgo", take.units),
    )


def flax_gru(take: Arrays) -> Weights:
    """`GRUCell` of linen, or of nnx, whose recurrent product has no bias."""
    if "dense_i/kernel" in take.arrays:
        return one_bias("rzn", "dense_i/kernel", "dense_h/kernel", "dense_i/bias", transposed=True)(take)
    return Weights(
        "rzn",
        take.gates("i{}/kernel", "rzn", take.inputs, take.units),
        take.gates("h{}/kernel", "rzn", take.units, take.units),
        take.gates("i{}/bias", "rzn", take.units),
        np.concatenate([np.zeros(2 * take.units), take("hn/bias", take.units)]),
    )


def haiku_lstm(take: Arrays) -> Weights:
    """`haiku.LSTM`: one linear layer over [x; h], and 1 is added to f in the formula."""
    columns = 4 * take.units
    both = take("w", take.inputs + take.units, columns).T
    w, u = np.split(both, [take.inputs], axis=1)
    return Weights("igfo", w, u, take("b", columns), forget_bias=1.0)


def haiku_gru(take: Arrays) -> Weights:
    """`haiku.GRU`: the reset before the recurrent product, and z weighs n instead of h."""
    columns = 3 * take.units
    matrices = take("w_i", take.inputs, columns).T, take("w_h", take.units, columns).T
    return Weights("zrn", *matrices, take("b", columns), z_writes=True)


LAYOUTS: dict[str, dict[str, Callable[[Arrays], Weights]]] = {
    "torch": {family: torch_like(GATES[family]) for family in ("rnn", "lstm", "gru")},
    "keras": {
        "rnn": one_bias("h", "kernel", "recurrent_kernel", "bias", transposed=True),
        "lstm": one_bias("ifgo", "kernel", "recurrent_kernel", "bias", transposed=True),
        "gru": keras_gru,
        "gru-v3": keras_gru_v3,
    },
    "flax": {"rnn": flax_rnn, "lstm": flax_lstm, "gru": flax_gru},
    "haiku": {"lstm": haiku_lstm, "gru-v3": haiku_gru},
    "equinox": {
        "lstm": one_bias("ifgo", "weight_ih", "weight_hh", "bias"),
        "gru": separate_n("weight_ih", "weight_hh", "bias", "bias_n"),
    },
    "mlx": {
        "rnn": one_bias("h", "Wxh", "Whh", "bias"),
        "lstm": one_bias("ifgo", "Wx", "Wh", "bias"),
        "gru": separate_n("Wx", "Wh", "b", "bhn"),
    },
}
"""By library and family of cells, what reads the library's arrays."""

KERAS_WEIGHTS = ("kernel", "recurrent_kernel", "bias")
"""The order of `layer.get_weights()`."""


@torch.no_grad()
def from_layout(cell: CellT, layout: str, arrays: Mapping[str, Any] | Sequence[Any]) -> CellT:
    """Copy the weights of another library's recurrent layer into a cell, and return the cell.

    cell: an `rnn`, `lstm`, `gru` or `gru-v3`, such as a layer of `Recurrent`, or another one of that `family`.
    layout: "torch", "keras", "flax", "haiku", "equinox" or "mlx".
    arrays: numpy arrays, or what numpy.asarray takes, under the library's own names, nested as there; for keras also
    the list of `layer.get_weights()`. Without any bias, the biases become zero.
    Raises UsageError if the library has no such cell, or if arrays are missing, unknown or of another shape.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"there is no layout '{layout}'; {suggest(layout, LAYOUTS)}")
    family = getattr(cell, "family", None)
    if family is None:
        raise UsageError(
            f"{type(cell).__name__} is no cell of other libraries; use one of {', '.join(GATES)}"
        )
    if family not in LAYOUTS[layout]:
        raise UsageError(f"the layout {layout} has no {family}; it has {', '.join(LAYOUTS[layout])}")
    take = Arrays(dict(_named(layout, arrays)), cell.input_size, cell.hidden_size)
    weights = LAYOUTS[layout][family](take)
    if problems := list(take.problems()):
        sizes = f"{cell.input_size} inputs and {cell.hidden_size} units"
        raise UsageError(listed([f"{layout}, {family} of {sizes}: {problem}" for problem in problems]))
    tensors = [_in_order(weights, family, name) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    cast(GatedCell, cell).load_weights(*tensors)
    return cell


def _named(layout: str, arrays: Mapping[str, Any] | Sequence[Any]) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays by names, with "/" between the levels of nested ones."""
    if not isinstance(arrays, Mapping):
        if layout != "keras":
            raise UsageError(f"{layout}: give the arrays by name, as a dictionary")
        if len(arrays) > len(KERAS_WEIGHTS):
            raise UsageError(
                f"keras: {len(arrays)} arrays are of several layers; give the arrays of one layer"
            )
        arrays = dict(zip(KERAS_WEIGHTS, arrays, strict=False))
    while len(arrays) == 1 and isinstance(inner := next(iter(arrays.values())), Mapping):
        arrays = inner  # {"params": {...}}
    seen = set()
    for name, value in _flat(arrays):
        # torch.nn numbers its layers (weight_ih_l0); nnx writes if_ for a gate whose name is a keyword.
        short = re.sub(r"_l\d+$|_(?=/)", "", name)
        if short in seen:
            raise UsageError(f"{layout}: '{name}' is of another layer; give the arrays of one layer")
        seen.add(short)
        yield short, _array(layout, name, value)


def _flat(arrays: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in arrays.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif value is not None:  # equinox and MLX: a bias that the layer lacks
            yield f"{prefix}{name}", value


def _array(layout: str, name: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value).astype(np.float64, casting="same_kind")
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"{layout}: '{name}' is not an array of real numbers; convert it to numpy"
        ) from error


def _in_order(weights: Weights, family: str, name: str) -> torch.Tensor:
    """A matrix or bias with the gates in torch.nn's order, z keeping h, and nothing added in the formula."""
    array = getattr(weights, name)
    if array is None:
        array = np.zeros_like(weights.bias_ih)
    gates = dict(zip(weights.order, np.split(array, len(weights.order)), strict=True))
    if weights.z_writes:
        gates["z"] = -gates["z"]  # 1 - sigmoid(a) = sigmoid(-a)
    if weights.forget_bias and name == "bias_ih":
        gates["f"] = gates["f"] + weights.forget_bias
    return torch.from_numpy(np.concatenate([gates[gate] for gate in GATES[family]]))
