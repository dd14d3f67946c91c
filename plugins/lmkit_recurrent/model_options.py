"""The options of the recurrent language model."""

from dataclasses import dataclass

from lmkit import option
from lmkit.neural.sizes import DEFAULT_HIDDEN_SIZE, LARGEST_HIDDEN_SIZE, MOST_LAYERS
from lmkit.options import Chosen


@dataclass(frozen=True)
class RecurrentOptions:
    """The table `[model]` when its name is `recurrent`."""

    cell: Chosen | tuple[Chosen, ...] = option(
        "lstm",
        "the recurrent cell, with options of its own; or one for each layer, from the bottom",
        kind="cell",
    )
    hidden_size: int | tuple[int, ...] | None = option(
        None,
        f"units of a layer, or of each layer, from the bottom (default {DEFAULT_HIDDEN_SIZE}, or by --params)",
        min=1,
        max=LARGEST_HIDDEN_SIZE,
    )
    num_layers: int | None = option(
        None,
        "layers, each reading the one below (default: as many as are listed, else 1)",
        min=1,
        max=MOST_LAYERS,
    )
    params: str | None = option(
        None, "choose the hidden size so that the model has about so many parameters: 20M, 500k"
    )
    embedding_size: int | None = option(
        None, "width of the embedding (default: that of the output)", min=1, max=LARGEST_HIDDEN_SIZE
    )
    projection_size: int | None = option(
        None,
        "project each layer's output to this width inside the recurrence (Sak et al., 2014)",
        min=1,
        max=LARGEST_HIDDEN_SIZE,
    )
    projection_clip: float | None = option(None, "bound of the projected output", min=0)
    cell_clip: float | None = option(None, "bound of the memory that a step hands to the next", min=0)
    residual: bool = option(
        False, "add each layer's input to its output, through a linear map if widths differ"
    )
    norm: str = option("none", "normalise the input of each layer", choices=("none", "layer", "rms"))
    dropout: float = option(
        0.1, "share of activations dropped on embeddings, between layers, on outputs", min=0, max=0.99
    )
    input_dropout: float | None = option(
        None, "the same on embeddings alone (default: --dropout)", min=0, max=0.99
    )
    layer_dropout: float | None = option(
        None, "the same between layers alone (default: --dropout)", min=0, max=0.99
    )
    output_dropout: float | None = option(
        None, "the same on outputs alone (default: --dropout)", min=0, max=0.99
    )
    word_dropout: float = option(
        0.0, "share of the words whose embeddings are dropped whole", min=0, max=0.99
    )
    weight_drop: float = option(
        0.0, "share of the recurrent weights dropped, once a window (Merity et al., 2018)", min=0, max=0.99
    )
    locked: bool = option(False, "dropout keeps its mask for a whole window (Gal and Ghahramani, 2016)")
    tied: bool = option(True, "the output layer shares the embedding's weights")
    output: str = option(
        "softmax",
        "softmax, or adaptive: faster past 100,000 words, where ids fall in frequency (tokenizer word)",
        choices=("softmax", "adaptive"),
    )
    cutoffs: int | tuple[int, ...] | None = option(
        None, "adaptive: ids from which words are in narrower layers (default 1/16, 1/4 of the words)", min=1
    )
    reset: str = option(
        "document",
        "where the state starts anew, in training and in scoring",
        choices=("line", "document", "never"),
    )
    tier: str = option(
        "auto",
        "how the layers run: torch's kernel, compiled steps, a loop (docs/cells.md)",
        choices=("auto", "torch", "compiled", "loop", "plain"),
    )
