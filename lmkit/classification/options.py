"""The options of training a classifier of texts."""

from dataclasses import dataclass

from lmkit.specs import option

POOLS = ("last", "mean", "max", "concat")
FORWARD_ONLY, BOTH = "forward", "both"
GRADUAL, ALL, NEVER = "gradual", "all", "never"


@dataclass(frozen=True)
class ClassifyOptions:
    """The network above a model, and how both are trained."""

    pool: str | None = option(
        None,
        "reduce the states of a text to one vector: the last, their mean or maximum, or all three (concat; Howard "
        "and Ruder, 2018) (default: last, concat with --init-from)",
        choices=POOLS,
    )
    directions: str = option(
        FORWARD_ONLY, "read texts from their beginning, or also from their end", choices=(FORWARD_ONLY, BOTH)
    )
    head_dropout: float = option(
        0.5, "dropout between the pooled states and the linear layer", min=0, max=0.99
    )
    max_tokens: int = option(
        512, "tokens of a text that are read; the rest of a longer one is not", min=1, max=1 << 20
    )
    batch_size: int = option(32, "texts of similar length per update", min=1, max=65536)
    max_epochs: int = option(10, "passes over the texts", min=1, max=100_000)
    patience: int | None = option(None, "stop after this many epochs without improvement", min=1)
    learning_rate: float | None = option(
        None, "peak learning rate of AdamW (default 0.002; with --init-from 0.01, of the top layer)", min=0
    )
    weight_decay: float = option(0.01, "decay of weight matrices, multiplied by the rate", min=0)
    schedule: str = option(
        "linear",
        "learning-rate schedule after the warm-up (linear: the slanted triangle)",
        choices=("linear", "cosine", "constant"),
    )
    warmup: float = option(0.1, "share of all updates during which the rate rises from zero", min=0, max=1)
    clip_norm: float = option(1.0, "largest norm of the gradient (0: none)", min=0)
    unfreeze: str = option(
        GRADUAL,
        "with --init-from: train the layers of the model one more each epoch, from the top; all at once; or never",
        choices=(GRADUAL, ALL, NEVER),
    )
    layer_decay: float = option(
        2.6, "with --init-from: divide the learning rate by this for each layer further down", min=1
    )
    seed: int = option(0, "random seed", min=0, max=2**63 - 1)
    device: str = option(
        "auto", "cpu, cuda, cuda:1 ... (auto: a GPU, if there is one, for networks of a million parameters)"
    )
    threads: int | None = option(None, "CPU threads (default: torch's choice)", min=1, max=1024)
