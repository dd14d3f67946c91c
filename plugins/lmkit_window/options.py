"""The options of the window model."""

from dataclasses import dataclass

from lmkit import option
from lmkit.neural.sizes import DEFAULT_HIDDEN_SIZE, LARGEST_HIDDEN_SIZE


@dataclass(frozen=True)
class WindowOptions:
    """The table `[model]` when its name is `window`."""

    order: int = option(5, "N: predict each token from the N - 1 before it", min=2, max=256)
    hidden_size: int | None = option(
        None,
        f"units per layer (default {DEFAULT_HIDDEN_SIZE}, or by --params)",
        min=1,
        max=LARGEST_HIDDEN_SIZE,
    )
    num_layers: int = option(1, "hidden layers", min=1, max=256)
    params: str | None = option(
        None, "choose the hidden size that gives the model about this many parameters: 20M, 500k"
    )
    embedding_size: int | None = option(
        None, "width of the embedding (default: the layers' width)", min=1, max=LARGEST_HIDDEN_SIZE
    )
    activation: str = option("tanh", "activation of the hidden layers", choices=("tanh", "relu", "sigmoid"))
    direct: bool = option(False, "connect the embeddings to the output layer (untied only)")
    dropout: float = option(0.1, "dropout rate on embeddings and layers", min=0, max=0.99)
    tied: bool = option(True, "the output layer shares the embedding's weights")
    reset: str = option(
        "document",
        "where the window is reset, in training and in scoring",
        choices=("line", "document", "never"),
    )
