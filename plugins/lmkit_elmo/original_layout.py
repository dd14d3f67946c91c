"""Read the original ELMo's options.json: the network, and the datasets of its weights."""

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from lmkit import strict_json
from lmkit_elmo.characters import LENGTH, NUM_CHARACTERS

LARGEST_FILE = 1 << 20
"""Maximum bytes of an options.json, which normally has some hundreds."""
LARGEST_SIZE = 1 << 16
LARGEST_CHARACTER_SIZE = 4096
"""The maximum of `--character-size`."""
MOST_FILTERS = 64
MOST_LAYERS = 64
ACTIVATIONS = ("relu", "tanh")

CHARACTERS, CNN, PROJECTION, RNN = "char_embed", "CNN", "CNN_proj", "RNN"
GATES = ("carry", "transform")

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Layout:
    """A network of the original's kind; Peters et al., 2018, arXiv:1802.05365, and their bilm-tf.

    dim: units of each LSTM. width: of tokens, and of the projected outputs. Clips: None means no clipping.
    """

    dim: int
    width: int
    num_layers: int
    cell_clip: float | None
    projection_clip: float | None
    residual: bool
    character_size: int
    filters: tuple[tuple[int, int], ...]
    num_highways: int
    activation: str

    @property
    def total(self) -> int:
        """Features of all filters."""
        return sum(number for _, number in self.filters)

    @property
    def projects_filters(self) -> bool:
        return self.total != self.width

    @property
    def projects_outputs(self) -> bool:
        return self.dim != self.width

    def shapes(self) -> Shapes:
        """The shape of every dataset except `char_embed`, by its path."""
        shapes: Shapes = {}
        for i, (size, number) in enumerate(self.filters):
            shapes[f"{CNN}/W_cnn_{i}"] = (1, size, self.character_size, number)
            shapes[f"{CNN}/b_cnn_{i}"] = (number,)
        for i in range(self.num_highways):
            for gate in GATES:
                shapes[f"{highway(i)}/W_{gate}"] = (self.total, self.total)
                shapes[f"{highway(i)}/b_{gate}"] = (self.total,)
        if self.projects_filters:
            shapes[f"{PROJECTION}/W_proj"] = (self.total, self.width)
            shapes[f"{PROJECTION}/b_proj"] = (self.width,)
        for direction in range(2):
            for layer in range(self.num_layers):
                shapes[f"{lstm(direction, layer)}/W_0"] = (2 * self.width, 4 * self.dim)
                shapes[f"{lstm(direction, layer)}/B"] = (4 * self.dim,)
                if self.projects_outputs:
                    shapes[f"{lstm(direction, layer)}/W_P_0"] = (self.dim, self.width)
        return shapes


def highway(number: int) -> str:
    """The group of a highway layer."""
    return f"{CNN}_high_{number}"


def lstm(direction: int, layer: int) -> str:
    """The group of an LSTM; direction 0 is forward, 1 backward."""
    return f"{RNN}_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"


def read_layout(path: Path) -> Layout:
    """The network of an options.json; OSError or ValueError with the reason."""
    options = _Table(strict_json.read(path, LARGEST_FILE))
    stack, characters = options.table("lstm"), options.table("char_cnn")
    options.one_of("bidirectional", (True,), default=True)
    characters.one_of("max_characters_per_token", (LENGTH,), default=LENGTH)
    # bilm-tf trains with the smaller number; for encoding, its users replace it by the larger one, with the mask.
    characters.one_of("n_characters", (NUM_CHARACTERS - 1, NUM_CHARACTERS), default=NUM_CHARACTERS)
    layout = Layout(
        dim=stack.size("dim", LARGEST_SIZE),
        width=stack.size("projection_dim", LARGEST_SIZE),
        num_layers=stack.size("n_layers", MOST_LAYERS, default=1),
        cell_clip=stack.bound("cell_clip"),
        projection_clip=stack.bound("proj_clip"),
        residual=stack.one_of("use_skip_connections", (True, False), default=False),
        character_size=characters.table("embedding").size("dim", LARGEST_CHARACTER_SIZE),
        filters=characters.filters("filters"),
        num_highways=characters.size("n_highway", MOST_LAYERS, least=0, default=0),
        activation=characters.one_of("activation", ACTIVATIONS),
    )
    if layout.width > layout.dim:
        raise ValueError(f"lstm.projection_dim, {layout.width}, is more than lstm.dim, {layout.dim}")
    return layout


class _Table:
    """A JSON object whose values are checked on access; null counts as missing."""

    def __init__(self, value: Any, path: str = "") -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{path or 'it'} is not an object")
        self._values: dict[str, Any] = value
        self._path = f"{path}." if path else ""

    def table(self, key: str) -> "_Table":
        return _Table(self._values.get(key), self._path + key)

    def size(self, key: str, most: int, *, least: int = 1, default: int | None = None) -> int:
        """A whole number of `least` to `most`."""
        found = self._or(key, default)
        sound = _whole(found, least, most)
        return found if sound else self._refuse(key, f"a whole number of {least} to {most:,}")

    def bound(self, key: str) -> float | None:
        """A number above 0, or None."""
        found = self._or(key, None)
        if found is None:
            return None
        sound = type(found) in (int, float) and 0 < found < LARGEST_SIZE
        return float(found) if sound else self._refuse(key, "a number above 0, or null")

    def one_of(self, key: str, allowed: Sequence[Any], *, default: Any = None) -> Any:
        """One of the allowed values."""
        found = self._or(key, default)
        # 1 is not true.
        sound = any(type(value) is type(found) and value == found for value in allowed)
        return found if sound else self._refuse(key, " or ".join(map(strict_json.dumps, allowed)))

    def filters(self, key: str) -> tuple[tuple[int, int], ...]:
        """The width and the number of each convolution."""
        found = self._or(key, None)
        if (
            not isinstance(found, list)
            or not 0 < len(found) <= MOST_FILTERS
            or not all(map(_is_filter, found))
        ):
            self._refuse(key, f"a list of [width up to {LENGTH}, number]")
        return tuple((size, number) for size, number in found)

    def _or(self, key: str, default: Any) -> Any:
        found = self._values.get(key)
        return default if found is None else found

    def _refuse(self, key: str, wanted: str) -> NoReturn:
        found = reprlib.repr(self._values[key]) if key in self._values else "missing"
        raise ValueError(f"{self._path}{key} is {found}, wanted {wanted}")


def _whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_filter(value: Any) -> bool:
    pair = value if isinstance(value, list) and len(value) == 2 else (0, 0)
    return _whole(pair[0], 1, LENGTH) and _whole(pair[1], 1, LARGEST_SIZE)
