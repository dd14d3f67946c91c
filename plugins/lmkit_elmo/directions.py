"""One direction of the bidirectional encoder as a causal language model."""

from typing import TYPE_CHECKING

from torch import Tensor

from lmkit.recurrence import NeuralLanguageModel
from lmkit.states import State

if TYPE_CHECKING:
    from lmkit_elmo.model import BiLM


class DirectionLM(NeuralLanguageModel):
    """p(token | tokens before), or, backward, p(token | tokens after), which reads lines from their end.

    It shares the encoder's weights.
    """

    def __init__(self, encoder: "BiLM", *, backward: bool) -> None:
        super().__init__(encoder.options, encoder.vocabulary)
        self.encoder = encoder
        self.backward = backward
        self.output = encoder.scoring_output()
        self.train(encoder.training)

    def blank_state(self, batch_size: int) -> State:
        return self.encoder.stack(self.backward).initial_state(batch_size)

    def features(self, ids: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, State]:
        return self.encoder.features(ids, state, backward=self.backward, reset=reset)
