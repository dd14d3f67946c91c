"""Import the weights of the original ELMo (Peters et al., 2018, arXiv:1802.05365), in the format of bilm-tf."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from lmkit import hdf5, runs
from lmkit.contracts import Tokenizer
from lmkit.errors import ModelError, UsageError, reason_of
from lmkit.options import Chosen, choose
from lmkit.recurrence import GatedCell
from lmkit.recurrence.projection import ProjectedCell
from lmkit_elmo.char_cnn import CharacterEncoder, Highway
from lmkit_elmo.characters import NUM_CHARACTERS
from lmkit_elmo.inputs import CharacterInputs
from lmkit_elmo.model import BiLM
from lmkit_elmo.original_layout import (
    CHARACTERS,
    CNN,
    GATES,
    PROJECTION,
    RNN,
    Layout,
    highway,
    lstm,
    read_layout,
)
from lmkit_elmo.original_options import OriginalOptions

if TYPE_CHECKING:
    import h5py

FORGET_BIAS = 1.0
"""The number that bilm-tf, like TensorFlow's LSTMCell, adds to the forget gate."""

Weights = Callable[[str], Tensor]
"""Maps a dataset's path to its numbers."""


def read(out: Path, *, overwrite: bool = False, options: OriginalOptions) -> None:
    """Create a run from an options.json and its weights in HDF5. Its words are split at white space.

    Raises UsageError when `out` is taken or h5py is missing, ModelError when a file is damaged or the two do not
    match; then `out` is unchanged.
    """
    if options.options is None or options.weights is None:
        raise UsageError(
            "an original ELMo is two files: give --options options.json and --weights weights.hdf5"
        )
    runs.check_free(out, overwrite=overwrite)
    tokenizer_choice = choose("tokenizer", "lmkit:word", "import")
    tokenizer: Tokenizer = tokenizer_choice.load().fit([], tokenizer_choice.options)
    described, weights = Path(options.options), Path(options.weights)
    with _blamed(described, "give the published options.json of the model"):
        layout = read_layout(described)
    with (
        _blamed(weights, f"give the weights that belong to {described.name}"),
        hdf5.opened(weights) as file,
    ):
        datasets = _datasets(file, layout)
        chosen = _choice(layout)
        model: BiLM = chosen.load()(chosen.options, tokenizer.vocabulary)
        with torch.no_grad():
            _fill(model, layout, lambda name: _numbers(datasets[name], name))
    runs.make_run(
        out, model, tokenizer, model_choice=chosen, tokenizer_choice=tokenizer_choice,
        data={"description": f"imported from {weights.name}"}, overwrite=overwrite,
    )  # fmt: skip


@contextmanager
def _blamed(path: Path, remedy: str) -> Iterator[None]:
    """Turn a ValueError or OSError into a ModelError with the file and the remedy."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise ModelError(f"{path}: {reason_of(error)}; {remedy}") from error


def _choice(layout: Layout) -> Chosen:
    """The model elmo with the options of a layout."""
    table: dict[str, Any] = {
        "name": "lmkit:elmo",
        "cell": {"name": "lmkit:lstm", "clip": layout.cell_clip},
        "hidden_size": layout.dim,
        "num_layers": layout.num_layers,
        "residual": layout.residual,
        "inputs": "characters",
        "character_size": layout.character_size,
        "filters": ",".join(f"{size}x{number}" for size, number in layout.filters),
        "num_highways": layout.num_highways,
        "activation": layout.activation,
        "project_filters": layout.projects_filters,
        "softmax": False,
    }
    if layout.projects_outputs:
        table |= {"projection_size": layout.width, "projection_clip": layout.projection_clip}
    return choose("model", table, "import")


def _datasets(file: "h5py.File", layout: Layout) -> "dict[str, h5py.Dataset]":
    """The datasets of a layout, not read yet; ValueError unless they are exactly those in the file.

    Together they must not be larger than the file, since sizes in headers are not trusted.
    """
    found = {}
    for name, shape in layout.shapes().items():
        found[name] = hdf5.floats(file, name)
        if found[name].shape != shape:
            raise ValueError(f"'{name}' has the shape {list(found[name].shape)}, wanted {list(shape)}")
    found[CHARACTERS] = hdf5.floats(file, CHARACTERS)
    wanted = [(rows, layout.character_size) for rows in (NUM_CHARACTERS - 1, NUM_CHARACTERS)]
    if found[CHARACTERS].shape not in wanted:
        raise ValueError(
            f"'{CHARACTERS}' has the shape {list(found[CHARACTERS].shape)}, wanted {list(wanted[0])}"
        )
    _check_rest(file, found)
    numbers = sum(math.prod(dataset.shape) for dataset in found.values())
    if 4 * numbers > file.id.get_filesize():
        raise ValueError(f"it claims {numbers:,} numbers, more than its size allows")
    return found


def _check_rest(file: "h5py.File", known: "dict[str, h5py.Dataset]") -> None:
    """Raise ValueError for weights that the layout lacks, such as those of a third layer."""
    groups = {name[:at] for name in known for at, letter in enumerate(name) if letter == "/"}
    for group in ("", *sorted(groups)):
        for name in cast("h5py.Group", file[group]) if group else file:
            path = f"{group}/{name}".lstrip("/")
            if path not in groups and path not in known and path.startswith((CNN, RNN)):
                raise ValueError(f"it has '{path}', which is not in the options")


def _numbers(dataset: "h5py.Dataset", name: str) -> Tensor:
    """The numbers of a dataset; ValueError if any is NaN or infinite."""
    numbers = torch.from_numpy(dataset[()].astype("f4", copy=False))
    if not numbers.isfinite().all():
        raise ValueError(f"'{name}' contains NaN or an infinity")
    return numbers


def _fill(model: BiLM, layout: Layout, weights: Weights) -> None:
    """Copy the original's weights into a model of its layout."""
    _fill_characters(cast(CharacterInputs, model.inputs).encoder, layout, weights)
    for direction, stack in enumerate((model.forward_stack, model.backward_stack)):
        for layer, cell in enumerate(stack.layers):
            _fill_cell(cell, lstm(direction, layer), weights)


def _fill_characters(encoder: CharacterEncoder, layout: Layout, weights: Weights) -> None:
    # A 262nd row is for an unused id.
    encoder.embedding.copy_(weights(CHARACTERS)[: NUM_CHARACTERS - 1])
    for i in range(len(layout.filters)):
        encoder.filters[i].copy_(weights(f"{CNN}/W_cnn_{i}")[0])
        encoder.biases[i].copy_(weights(f"{CNN}/b_cnn_{i}"))
    for i, layer in enumerate(encoder.highways):
        linear = cast(Highway, layer).linear
        linear.weight.copy_(torch.cat([weights(f"{highway(i)}/W_{gate}").t() for gate in GATES]))
        linear.bias.copy_(torch.cat([weights(f"{highway(i)}/b_{gate}") for gate in GATES]))
    if layout.projects_filters:
        projection = cast(nn.Linear, encoder.projection)
        projection.weight.copy_(weights(f"{PROJECTION}/W_proj").t())
        projection.bias.copy_(weights(f"{PROJECTION}/b_proj"))


def _fill_cell(layer: nn.Module, group: str, weights: Weights) -> None:
    """An LSTM layer from its group; the original's gates are i, j, f, o in columns, torch's i, f, j, o in rows."""
    if isinstance(layer, ProjectedCell):
        cast(Tensor, layer.weight_p).copy_(weights(f"{group}/W_P_0").t())
    cell = cast(GatedCell, layer.cell if isinstance(layer, ProjectedCell) else layer)
    i, j, f, o = weights(f"{group}/W_0").t().chunk(4)
    columns = (cell.weight_ih.shape[1], cell.weight_hh.shape[1])
    for own, part in zip(
        (cell.weight_ih, cell.weight_hh), torch.cat([i, f, j, o]).split(columns, 1), strict=True
    ):
        own.copy_(part)
    i, j, f, o = weights(f"{group}/B").chunk(4)
    cell.bias_ih.copy_(torch.cat([i, f + FORGET_BIAS, j, o]))
    cell.bias_hh.zero_()
