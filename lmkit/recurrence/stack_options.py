"""The options of stacks of recurrent layers, which every model with a stack inherits."""

from dataclasses import dataclass

from lmkit.neural.sizes import DEFAULT_HIDDEN_SIZE, LARGEST_HIDDEN_SIZE, MOST_LAYERS
from lmkit.options import Chosen
from lmkit.specs import option


@dataclass(frozen=True)
class LayerOptions:
    """The cells of a stack, their sizes and how many there are: the arguments of `Recurrent`."""

    cell: Chosen | tuple[Chosen, ...] = option(
        "lstm", "the recurrent cell; or one for each layer, from the bottom", kind="cell"
    )
    hidden_size: int | tuple[int, ...] | None = option(
        None,
        f"units of a layer, or of each layer, from the bottom (default {DEFAULT_HIDDEN_SIZE})",
        min=1,
        max=LARGEST_HIDDEN_SIZE,
    )
    num_layers: int | None = option(
        None,
        "layers, each reading the one below (default: as many as are listed, else 1)",
        min=1,
        max=MOST_LAYERS,
    )


@dataclass(frozen=True)
class StackOptions:
    """What a stack does around its cells: `Recurrent(..., options=...)`.

    A model's options inherit both: `class MyOptions(StackOptions, LayerOptions)`. Dataclasses take the fields of the
    last base first, so that help and recipes list the cell before these.
    """

    projection_size: int | None = option(
        None,
        "project each layer's output to this width inside the recurrence (Sak et al., 2014)",
        min=1,
        max=LARGEST_HIDDEN_SIZE,
    )
    projection_clip: float | None = option(
        None, "bound of the projected output (the original ELMo's: 3)", min=0
    )
    cell_clip: float | None = option(None, "bound of the memory that a step hands to the next", min=0)
    residual: bool = option(
        False, "add each layer's input to its output, through a linear map if widths differ"
    )
    norm: str = option("none", "normalise the input of each layer", choices=("none", "layer", "rms"))
    dropout: float = option(
        0.1, "share of activations dropped on inputs, between layers and on outputs", min=0, max=0.99
    )
    weight_drop: float = option(
        0.0, "share of the recurrent weights dropped, once a window (Merity et al., 2018)", min=0, max=0.99
    )
    locked: bool = option(False, "dropout keeps its mask for a whole window (Gal and Ghahramani, 2016)")
    tier: str = option(
        "auto",
        "how the layers run: torch's kernel, compiled steps, a loop (docs/cells.md)",
        choices=("auto", "torch", "compiled", "loop", "plain"),
    )
