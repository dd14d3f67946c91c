"""Dynamic evaluation: a neural model learns from the text while it scores it."""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

import torch
from torch import Tensor

from lmkit import states
from lmkit.adaptation.options import DynamicOptions
from lmkit.adaptation.wrapper import Wrapper
from lmkit.errors import UsageError
from lmkit.neural.language_model import NeuralLanguageModel
from lmkit.states import State

NONE = -1
"""An empty place among the inputs of a segment."""
CHUNK = 64
"""Tokens of a row whose whole distributions are computed at once."""

Scores = Callable[[Tensor, Tensor], Tensor]
"""Figures of (tokens, width) features and (tokens,) targets."""


class Row(NamedTuple):
    """The state of one text: that of the network before `inputs`, the tokens read since, and the weights.

    A segment has at most `bptt` targets: those after each of its inputs. There are no inputs if nothing is known.
    """

    network: State
    inputs: Tensor
    weights: Tensor


class DynamicModel(Wrapper):
    """A network whose weights follow the text (Krause et al., 2018, arXiv:1709.07432).

    After each segment of `bptt` tokens the weights take a gradient step on the mean loss of the segment, which was
    scored before. Without `rms`, w <- w - rate * g. With it, the root mean squares of gradients on the training text,
    w <- w - rate * g / (rms + epsilon) + min(1, decay * rms / mean(rms)) * (trained - w).
    A segment ends where the network is reset. The weights return to the trained ones at documents, or never if the
    model is never reset.

    The weights are a part of the state, (state of the network, inputs (batch, bptt), weights (batch, parameters)):
    the loaded model has its own again after each call, and every row of a batch learns by itself.
    """

    def __init__(
        self, model: NeuralLanguageModel, options: DynamicOptions, rms: Tensor | None = None
    ) -> None:
        if model.int8:
            raise UsageError("weights in int8 cannot learn: leave out --int8 or --dynamic")
        super().__init__(model)
        self.network = model
        self.options = options
        self.reset_policy = "never" if model.reset_policy == "never" else "document"
        self.parameters = list(model.parameters())
        self.trained = torch.cat([p.detach().flatten() for p in self.parameters])
        self.rms = rms
        self.pull = None if rms is None else (options.decay * rms / rms.mean()).clamp(max=1)

    def initial_state(self, batch_size: int, *, start: bool = True) -> State:
        inputs = torch.full((batch_size, self.options.bptt), NONE, device=self.device)
        if start:
            inputs[:, 0] = self.network.start_id
        weights = self.trained.expand(batch_size, -1)
        return self.network.blank_state(batch_size), inputs, weights

    def next_log_probs(self, state: State) -> Tensor:
        found = []
        for row in self._rows(state):
            with self._loaded(row.weights):
                features, _ = self._features(row.network, row.inputs)
                found.append(self.network.output(features[-1:]))
        return torch.cat(found).detach()

    def key(self, state: State) -> Tensor | None:
        found = []
        for row in self._rows(state):
            with self._loaded(row.weights):
                found.append(self._features(row.network, row.inputs)[0][-1:])
        return torch.cat(found).detach()

    def advance(self, ids: Tensor, state: State) -> State:
        return self.log_probs(ids[:, None], state)[1]

    def keyed_log_probs(
        self, ids: Tensor, state: State, *, reset: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, State]:
        return self._read(ids, state, reset, self.network.output.target_log_probs)

    def keyed_scan(
        self, ids: Tensor, state: State, *, reset: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor | None, State]]:
        for start in range(0, ids.shape[1], CHUNK):
            chunk = slice(start, start + CHUNK)
            rows, keys, state = self._read(
                ids[:, chunk],
                state,
                None if reset is None else reset[:, chunk],
                lambda features, _: self.network.output(features),
            )
            yield rows, keys, state

    def _read(
        self, ids: Tensor, state: State, reset: Tensor | None, scores: Scores
    ) -> tuple[Tensor, Tensor, State]:
        """The figures and the features of each token, and the state after them."""
        if ids.shape[1] == 0:
            zeros = self.trained.new_zeros(*ids.shape)
            return zeros, zeros[..., None].expand(-1, -1, self.network.output.width), state
        found, keys, after = [], [], []
        for place, row in enumerate(self._rows(state)):
            figures, features, last = self._read_row(
                ids[place], row, None if reset is None else reset[place], scores
            )
            found.append(figures)
            keys.append(features)
            after.append((last.network, self._padded(last.inputs), last.weights[None]))
        return torch.stack(found), torch.stack(keys), states.cat(after)

    def _read_row(
        self, ids: Tensor, row: Row, reset: Tensor | None, scores: Scores
    ) -> tuple[Tensor, Tensor, Row]:
        figures, keys = [], []
        stops = set() if reset is None else set(reset.nonzero()[:, 0].tolist())
        with self._loaded(row.weights):
            at = 0
            while at < len(ids):
                if at in stops:
                    self._load(self.trained)
                    row = self._begun(row.weights)
                end = min([len(ids), at + self._missing(row), *(stop for stop in stops if stop > at)])
                targets = ids[at:end]
                if line_end := self._line_end(targets):
                    targets = targets[:line_end]
                found, features, row = self._step(row, targets, scores)
                figures.append(found)
                keys.append(features)
                at += len(targets)
            weights = torch.cat([p.detach().flatten() for p in self.parameters])
        return torch.cat(figures), torch.cat(keys), row._replace(weights=weights)

    def _missing(self, row: Row) -> int:
        """How many targets the segment still lacks; without inputs, the first token is not learned from."""
        return 1 if not len(row.inputs) else self.options.bptt + 1 - len(row.inputs)

    def _line_end(self, targets: Tensor) -> int:
        """The number of targets up to the first line end, if the network is reset there."""
        if self.network.reset_policy != "line":
            return 0
        ends = (targets == self.vocabulary.eos_id).nonzero()
        return int(ends[0, 0]) + 1 if len(ends) else 0

    def _step(self, row: Row, targets: Tensor, scores: Scores) -> tuple[Tensor, Tensor, Row]:
        """Score the next targets of a segment, and learn from the segment if it ends with them."""
        tokens = torch.cat([row.inputs, targets])
        line_ended = self.network.reset_policy == "line" and int(tokens[-1]) == self.vocabulary.eos_id
        complete = len(tokens) > self.options.bptt or line_ended
        with torch.set_grad_enabled(complete and len(row.inputs) > 0):
            features, after = self._features(row.network, tokens[:-1])
            loss = None
            if torch.is_grad_enabled():
                loss = -self.network.output.target_log_probs(features, tokens[1:]).mean()
        fresh = features.detach()[-len(targets) :]
        with torch.no_grad():
            found = scores(fresh, targets)
        if loss is not None:
            self._learn(torch.autograd.grad(loss, self.parameters, allow_unused=True))
        if line_ended:
            return found, fresh, self._begun(row.weights)
        if complete:
            return found, fresh, Row(states.detach(after), tokens[-1:], row.weights)
        return found, fresh, row._replace(inputs=tokens)

    def _begun(self, weights: Tensor) -> Row:
        """A row where a text begins."""
        start = torch.full((1,), self.network.start_id, device=self.device)
        return Row(self.network.blank_state(1), start, weights)

    def _features(self, network: State, inputs: Tensor) -> tuple[Tensor, State]:
        """(inputs, width) features after each input; a row of zeros without any."""
        if not len(inputs):
            return self.trained.new_zeros(1, self.network.output.width), network
        features, after = self.network.features(inputs[None], network)
        return features[0], after

    @torch.no_grad()
    def _learn(self, gradients: tuple[Tensor | None, ...]) -> None:
        """One step of the rule."""
        at = 0
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            part = slice(at, at + parameter.numel())
            at = part.stop
            if self.rms is not None and self.pull is not None:
                back = (self.trained[part].view_as(parameter) - parameter) * self.pull[part].view_as(
                    parameter
                )
                if gradient is not None:
                    scale = self.rms[part].view_as(parameter) + self.options.epsilon
                    parameter.sub_(self.options.step * gradient / scale)
                parameter.add_(back)
            elif gradient is not None:
                parameter.sub_(gradient, alpha=self.options.step)

    @contextlib.contextmanager
    def _loaded(self, weights: Tensor) -> Iterator[None]:
        """Inside the block the network has these weights; afterwards the trained ones again."""
        try:
            self._load(weights)
            yield
        finally:
            self._load(self.trained)

    @torch.no_grad()
    def _load(self, weights: Tensor) -> None:
        for parameter, part in zip(
            self.parameters, weights.split([p.numel() for p in self.parameters]), strict=True
        ):
            parameter.copy_(part.view_as(parameter))

    def _rows(self, state: State) -> Iterator[Row]:
        network, inputs, weights = state
        for place in range(len(cast(Tensor, inputs))):
            row = cast(Tensor, inputs)[place]
            yield Row(
                states.take(network, slice(place, place + 1)),
                row[row != NONE],
                cast(Tensor, weights)[place],
            )

    def _padded(self, inputs: Tensor) -> Tensor:
        return torch.nn.functional.pad(inputs, (0, self.options.bptt - len(inputs)), value=NONE)[None]
