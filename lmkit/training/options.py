"""The options of training: the table `[train]` of a recipe."""

from dataclasses import dataclass

from lmkit.errors import UsageError, listed
from lmkit.specs import MOST_IDS, option

LIMITS = ("max_epochs", "max_steps", "max_time", "max_cpu_time")
"""The options that limit the length of a training."""


@dataclass(frozen=True)
class TrainOptions:
    """The training of a neural model; counting models use only the seed and the device."""

    batch_size: int = option(16, "parallel streams of the text", min=1, max=65536)
    bptt: int = option(64, "tokens per window of truncated back-propagation", min=1, max=65536)
    vary_bptt: bool = option(False, "vary the length of windows around --bptt, and the rate with it")
    max_epochs: int | None = option(
        None, "maximum passes over the text (default 10 if there is no other limit)", min=1
    )
    max_steps: int | None = option(None, "maximum updates of the weights", min=1)
    max_time: float | None = option(None, "maximum seconds of training", min=0.1)
    max_cpu_time: float | None = option(
        None, "maximum seconds of processor time of training, without validations and checkpoints", min=0.1
    )
    optimizer: str = option("adamw", "optimizer", choices=("adamw", "sgd"))
    learning_rate: float | None = option(
        None, "peak learning rate (default 0.004 for adamw, 20 for sgd)", min=0
    )
    rates: str | tuple[str, ...] | None = option(
        None, "factors on the rate of groups of parameters, e.g. embedding=0.3,stack.layers.0=0.1"
    )
    freeze: str | tuple[str, ...] | None = option(
        None, "groups of parameters not to train, e.g. embedding,stack.layers.0"
    )
    weight_decay: float | None = option(
        None, "decay of weight matrices, multiplied by the rate (default 0.01 for adamw, 0 for sgd)", min=0
    )
    momentum: float = option(0.0, "momentum of sgd (one-cycle sets it, unless it is 0)", min=0, max=1)
    beta1: float = option(
        0.9, "adamw: decay of the mean of the gradients (one-cycle sets it)", min=0, max=0.999999
    )
    beta2: float = option(0.99, "adamw: decay of the mean of their squares", min=0, max=0.999999)
    schedule: str = option(
        "cosine",
        "learning-rate schedule after the warm-up",
        choices=("cosine", "linear", "constant", "plateau", "epochs", "one-cycle"),
    )
    warmup: float | None = option(
        None,
        "share of all steps during which the rate rises (default 0.25 for one-cycle, else 0.02, from zero)",
        min=0,
        max=1,
    )
    decay_factor: float = option(
        4.0, "divide the rate by this when validation stops improving (plateau) or by epochs", min=1
    )
    decay_after: int | None = option(
        None, "epochs: divide the rate at the start of every epoch after this many", min=1
    )
    decay_at: int | tuple[int, ...] | None = option(
        None, "epochs: divide the rate after each of these epochs, e.g. 25,35", min=1
    )
    output_bias: str = option(
        "unigram",
        "start of the output layer's bias: the logarithm of the words' relative frequencies, or zeros",
        choices=("unigram", "zero"),
    )
    clip_norm: float | None = option(
        None, "largest norm of the gradient (default 1 for adamw, 0.25 for sgd; 0: none)", min=0
    )
    clip_value: float | None = option(
        None, "largest absolute value of an element of the gradient, after --clip-norm", min=0
    )
    average: float | None = option(
        None,
        "validate and save a moving average of the weights with this decay, e.g. 0.999",
        min=0,
        max=0.999999,
    )
    asgd_trigger: int | None = option(
        None,
        "validate and save the mean of the weights of all steps after the first validation that is worse than the "
        "best of all but this many before it, e.g. 5",
        min=1,
    )
    valid_every: int | None = option(
        None,
        "steps between validations (default: an epoch; fewer, but at least 20, for short validation texts)",
        min=1,
    )
    patience: int | None = option(None, "stop after this many validations without improvement", min=1)
    save_every: int | None = option(
        None, "steps between checkpoints (default: about every five minutes)", min=1
    )
    keep: int = option(2, "number of checkpoints to keep", min=1, max=1000)
    log_every: int = option(20, "steps between lines in metrics.jsonl", min=1)
    log_to: str | tuple[str, ...] | None = option(
        None,
        "send the lines of metrics.jsonl to these loggers too, e.g. tensorboard,wandb (none: to no others)",
    )
    answer_weight: float = option(
        1.0,
        "how much each token of an answer counts in the loss, for texts of the distance task",
        min=0,
        max=1e6,
    )
    precision: str = option(
        "fp32",
        "of a training step: float32, TF32 (on GPUs that have it), or bfloat16 with weights and loss in float32; "
        "validation and scores are in float32",
        choices=("fp32", "tf32", "bf16"),
    )
    cuda_graph: bool = option(
        False, "on a GPU, record what a training step launches, and launch it again for the next windows"
    )
    seed: int = option(0, "random seed", min=0, max=2**63 - 1)
    device: str = option(
        "auto", "cpu, cuda, cuda:1 ... (auto: a GPU, if there is one, for networks of a million parameters)"
    )
    threads: int | None = option(None, "CPU threads (default: torch's choice)", min=1, max=1024)

    def __post_init__(self) -> None:
        """Raise UsageError for options that do not go together."""
        by_epochs = [name for name in ("decay_after", "decay_at") if getattr(self, name) is not None]
        problems = []
        if self.average is not None and self.asgd_trigger is not None:
            problems.append("average and asgd_trigger are two ways to average the weights; leave one out")
        if self.schedule == "epochs" and len(by_epochs) != 1:
            problems.append("the schedule epochs needs either decay_after or decay_at")
        if self.schedule != "epochs" and by_epochs:
            problems.append(f"{by_epochs[0]} is for the schedule epochs, not for {self.schedule}")
        if problems:
            raise UsageError(listed([f"train: {problem}" for problem in problems]))

    @property
    def is_limited(self) -> bool:
        """Whether an option limits the length of the training."""
        return any(getattr(self, name) is not None for name in LIMITS)


@dataclass(frozen=True)
class InitOptions:
    """The trained model that a training starts from: the table `[init]` of a recipe."""

    run: str | None = option(None, "directory of the run whose weights, tokenizer and model options are used")
    weights: str | None = option(None, "SHA-256 of its weights; training writes it")
    new_words: int = option(
        0, "give ids to at most this many words of the text that its vocabulary lacks", min=0, max=MOST_IDS
    )
