"""The options of the recurrent language model."""

from dataclasses import dataclass

from lmkit.options import Chosen
from lmkit.specs import option


@dataclass(frozen=True)
class RecurrentOptions:
    """The table `[model]` when its name is `recurrent`."""

    cell: Chosen = option("lstm", "the recurrent cell, with options of its own", kind="cell")
    hidden_size: int = option(256, "units of a layer", min=1, max=65536)
    num_layers: int = option(1, "layers, each reading the one below", min=1, max=256)
    embedding_size: int | None = option(
        None, "width of the embedding (default: hidden_size)", min=1, max=65536
    )
    dropout: float = option(
        0.1, "share of activations dropped on embeddings, between layers, on outputs", min=0, max=0.99
    )
    tied: bool = option(True, "the output layer shares the embedding's weights")
    reset: str = option(
        "document",
        "where the state starts anew, in training and in scoring",
        choices=("line", "document", "never"),
    )
