"""The encoder itself: continuous bag of words (Mikolov et al., 2013, arXiv:1301.3781) with one word on each side."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit.contracts import Encoder, State, Vocabulary
from lmkit.corpus.streams import Window
from lmkit.recurrence import TrainableModel


class Neighbours(TrainableModel, Encoder):
    """Layer 0 is a token's own vector, layer 1 the mean of its neighbours'; with `<s>` at both ends.

    It is trained to tell a token from its neighbours, and is made of no causal models.
    """

    def __init__(self, options: Any, vocabulary: Vocabulary) -> None:
        super().__init__(options, vocabulary)
        self.embedding = nn.Embedding(vocabulary.size + 1, options.hidden_size)
        self.output = nn.Linear(options.hidden_size, vocabulary.size)

    @property
    def num_layers(self) -> int:
        return 2

    @property
    def width(self) -> int:
        return self.options.hidden_size

    def blank_state(self, batch_size: int) -> State:
        return torch.zeros(batch_size, 0, device=self.device)

    def step_loss(self, window: Window, state: State) -> tuple[Tensor, State]:
        after = F.pad(window.targets[:, 1:], (0, 1), value=self.start_id)
        scores = self.output((self.embedding(window.inputs) + self.embedding(after)) / 2)
        return F.cross_entropy(scores.flatten(0, 1), window.targets.flatten()), state

    def embed(self, sentences: Sequence[str] | Sequence[Sequence[str]]) -> list[Tensor]:
        return [self._tokens(s) if isinstance(s, str) else self._words(s) for s in sentences]

    def _tokens(self, text: str) -> Tensor:
        ids = torch.from_numpy(self.tokenizer.ids(text)).long().to(self.device)
        own = self.embedding(F.pad(ids, (1, 1), value=self.start_id))
        return torch.stack([own[1:-1], (own[:-2] + own[2:]) / 2])

    def _words(self, words: Sequence[str]) -> Tensor:
        """A word is the mean of its tokens; one that has none is zeros."""
        layers = self._tokens(" ".join(words))
        counts = [len(self.tokenizer.ids(word)) for word in words]
        if sum(counts) != layers.shape[1]:  # tokens for the spaces between
            layers = torch.cat([layers[:, :0], *map(self._tokens, words)], 1)
        parts = layers.split(counts, 1) if words else []
        means = [part.mean(1) if part.shape[1] else part.sum(1) for part in parts]
        return torch.stack(means, 1) if means else layers[:, :0]
