"""NeuralLanguageModel: a language model from a network that turns ids into features, one vector per token."""

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from lmkit import states
from lmkit.contracts import LanguageModel
from lmkit.corpus.streams import Window
from lmkit.host_copies import derive
from lmkit.neural.output import ROWS, OutputLayer
from lmkit.neural.trainable import TrainableModel
from lmkit.states import State


class NeuralLanguageModel(TrainableModel, LanguageModel):
    """The base class of causal models trained by gradient descent.

    A subclass sets `self.output` (an OutputLayer) and implements `blank_state` and `features`. Besides the ids of
    the vocabulary, `features` must accept `start_id` for `<s>`.

    The state of the model is (last features, state of the network): with residuals or dropout the features are
    not a hidden state, and `next_log_probs` needs them.
    """

    output: OutputLayer
    int8 = False
    """Whether weights are in int8, which the signature of a score shows."""

    @abstractmethod
    def features(self, ids: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, State]:
        """(batch, time, width) features after each of `ids` (batch, time), and the state of the network.

        reset: (batch, time) bool; `reset[b, t]` puts row b at `blank_state` before it reads ids[b, t].
        """

    def layer_features(
        self, ids: Tensor, state: State, *, reset: Tensor | None = None
    ) -> tuple[list[Tensor], State]:
        """The outputs of all layers from the bottom, with that of `features` last; each (batch, time, its width).

        A model with several layers overrides it.
        """
        features, state = self.features(ids, state, reset=reset)
        return [features], state

    @property
    def device(self) -> torch.device:
        return self.output.bias.device

    def start_at(self, counts: Tensor) -> None:
        self.output.start_at(counts)

    def divide_unknown(self, old_size: int, unk_id: int, log_shares: Tensor) -> None:
        self.output.divide_unknown(old_size, unk_id, log_shares)

    def step_loss(self, window: Window, state: State) -> tuple[Tensor, State]:
        return self.window_loss(
            window.inputs, window.targets, state, reset=window.reset, weights=window.weights
        )

    def window_loss(
        self,
        inputs: Tensor,
        targets: Tensor,
        state: State,
        *,
        reset: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """The mean loss in nats of a training window, weighted by `weights`, and the network's state after it.

        inputs[b, t] is the token before targets[b, t] (`start_id` where a text begins): so every target has a
        gradient through the recurrence; with `log_probs` from a carried state, the first would have none.
        """
        features, state = self.features(inputs, state, reset=reset)
        flat = None if weights is None else weights.flatten()
        return self.output.loss(features.flatten(0, 1), derive(Tensor.flatten, targets), flat), state

    def initial_state(self, batch_size: int, *, start: bool = True) -> State:
        blank = self.blank_state(batch_size)
        if not start:
            return self.output.bias.new_zeros(batch_size, self.output.width), blank
        ids = torch.full((batch_size,), self.start_id, device=self.device)
        return self.advance(ids, (self.output.bias.new_zeros(0), blank))

    def next_log_probs(self, state: State) -> Tensor:
        return self.output(state[0])

    def advance(self, ids: Tensor, state: State) -> State:
        features, network = self.features(ids[:, None], state[1])
        return features[:, -1], network

    def key(self, state: State) -> Tensor | None:
        features = state[0]
        assert isinstance(features, Tensor)
        return features

    def log_probs(self, ids: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, State]:
        scores, _, state = self.keyed_log_probs(ids, state, reset=reset)
        return scores, state

    def keyed_log_probs(
        self, ids: Tensor, state: State, *, reset: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, State]:
        features, state = self._predictors(ids, state, reset)
        scores = self.output.target_log_probs(features.flatten(0, 1), ids.flatten())
        return scores.view(ids.shape), features, state

    def scan(
        self, ids: Tensor, state: State, *, reset: Tensor | None = None
    ) -> Iterator[tuple[Tensor, State]]:
        for rows, _, after in self.keyed_scan(ids, state, reset=reset):
            yield rows, after

    def keyed_scan(
        self, ids: Tensor, state: State, *, reset: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor | None, State]]:
        step = max(1, ROWS // max(1, len(ids)))
        for start in range(0, ids.shape[1], step):
            chunk = slice(start, start + step)
            features, state = self._predictors(
                ids[:, chunk], state, None if reset is None else reset[:, chunk]
            )
            yield self.output(features), features, state

    def _predictors(self, ids: Tensor, state: State, reset: Tensor | None) -> tuple[Tensor, State]:
        """The features that predict each of `ids`, and the state after the last."""
        if ids.shape[1] == 0:
            return state[0][:, None][:, :0], state  # pyright: ignore[reportReturnType, reportCallIssue, reportArgumentType]
        inputs, after = ids, None
        if reset is not None:
            if bool(reset[:, 0].any()):
                state = states.where(reset[:, 0], self.initial_state(len(ids)), state)
            # A reset before token t + 1 forgets token t, so `<s>` can be read in its place.
            after = reset.roll(-1, 1)
            after[:, -1] = False
            inputs = ids.masked_fill(after, self.start_id)
        features, network = self.features(inputs, state[1], reset=after)
        first = state[0]
        assert isinstance(first, Tensor)
        return torch.cat([first[:, None], features[:, :-1]], 1), (features[:, -1], network)
