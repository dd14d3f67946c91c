"""TrainableModel: the base class of models trained by gradient descent, causal or bidirectional."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from lmkit.contracts import Vocabulary
from lmkit.corpus.store import TokenStore
from lmkit.corpus.streams import Streams, Window
from lmkit.errors import UsageError
from lmkit.neural.weights import load_weights, save_weights
from lmkit.states import State

WEIGHTS = "model.safetensors"


class TrainableModel(nn.Module, ABC):
    """A network, created with its options and a vocabulary, and trained on windows of parallel streams.

    `options` may be the given ones with missing values filled in; a run stores them.
    """

    reset_policy: str = "line"
    samples_loss: bool = False
    """Whether `step_loss` estimates the loss from a sample of the vocabulary in training."""
    penalty: Tensor | None = None
    """A regularisation term of the last window, set by `step_loss`: the trainer adds it to the loss, but does not
    report it."""

    def __init__(self, options: Any, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.options = options
        self.vocabulary = vocabulary
        self.start_id = vocabulary.size
        """The id for `<s>`, which is outside the vocabulary."""

    @abstractmethod
    def blank_state(self, batch_size: int) -> State:
        """The state of the network before any input."""

    def start_at(self, counts: Tensor) -> None:
        """Start the output layer at the relative frequencies of the training text; by default, do nothing.

        counts: (vocabulary,).
        """

    def divide_unknown(self, old_size: int, unk_id: int, log_shares: Tensor) -> None:
        """Divide the unknown token's probability among it and new tokens (`OutputLayer.divide_unknown`).

        By default, raise UsageError.
        """
        raise UsageError(
            f"--new-words: the model {type(self).__module__}:{type(self).__qualname__} cannot get new words; "
            "leave it out"
        )

    def sample_from(self, counts: Tensor) -> None:
        """Draw the samples of a sampled loss by these counts (vocabulary,); by default, do nothing."""

    @abstractmethod
    def step_loss(self, window: Window, state: State) -> tuple[Tensor, State]:
        """The loss of a training window, in nats per token, and the network's state after it."""

    def streams(self, store: TokenStore, batch_size: int, bptt: int) -> Streams:
        """The windows for `step_loss`."""
        return Streams(store, batch_size, bptt, self.reset_policy, self.start_id)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def save(self, directory: Path) -> None:
        save_weights(self, directory / WEIGHTS)

    @classmethod
    def load(cls, directory: Path, options: Any, vocabulary: Vocabulary) -> Self:
        with torch.device("meta"):
            plan = cls(options, vocabulary)
        return load_weights(directory / WEIGHTS, plan, lambda: cls(options, vocabulary))
