"""The options of the recurrent language model."""

from dataclasses import dataclass

from lmkit import option
from lmkit.neural.sizes import LARGEST_HIDDEN_SIZE
from lmkit.recurrence import LayerOptions, StackOptions


@dataclass(frozen=True)
class RecurrentOptions(StackOptions, LayerOptions):
    """The table `[model]` when its name is `recurrent`."""

    params: str | None = option(
        None, "choose the hidden size that gives the model about this many parameters: 20M, 500k"
    )
    embedding_size: int | None = option(
        None, "width of the embedding (default: that of the output layer)", min=1, max=LARGEST_HIDDEN_SIZE
    )
    input_dropout: float | None = option(None, "dropout on embeddings (default: --dropout)", min=0, max=0.99)
    layer_dropout: float | None = option(None, "dropout between layers (default: --dropout)", min=0, max=0.99)
    output_dropout: float | None = option(None, "dropout on outputs (default: --dropout)", min=0, max=0.99)
    word_dropout: float = option(
        0.0, "share of the words whose whole embeddings are dropped", min=0, max=0.99
    )
    activation_penalty: float = option(
        0.0, "times the mean square of the dropped outputs, added to the loss (Merity et al., 2018: 2)", min=0
    )
    temporal_penalty: float = option(
        0.0,
        "times the mean square of the outputs' changes, added to the loss (Merity et al., 2018: 1)",
        min=0,
    )
    init_range: float | None = option(
        None, "draw all weights uniformly from plus or minus this (default: by the kind of layer)", min=0
    )
    tied: bool = option(True, "the output layer shares the embedding's weights")
    output: str = option(
        "softmax",
        "softmax; sampled: trained on a sample of the words, scored on all; adaptive: faster past 100,000 words, for "
        "ids by frequency (tokenizer word); mixture: of several softmaxes (Yang et al., 2018)",
        choices=("softmax", "sampled", "adaptive", "mixture"),
    )
    samples: int = option(2000, "sampled: words drawn for each window", min=1, max=2**24)
    experts: int = option(10, "mixture: number of softmaxes", min=1, max=1000)
    cutoffs: int | tuple[int, ...] | None = option(
        None, "adaptive: first word id of each cluster (default 1/16, 1/4 of the words)", min=1
    )
    reset: str = option(
        "document",
        "where the state is reset, in training and in scoring",
        choices=("line", "document", "never"),
    )
