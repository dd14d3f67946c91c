"""The window model: a neural n-gram, a baseline for recurrence (Bengio et al., 2003, JMLR 3:1137-1155)."""

from dataclasses import replace
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from lmkit.contracts import Vocabulary
from lmkit.errors import UsageError
from lmkit.neural.output import OutputLayer
from lmkit.neural.sizes import DEFAULT_HIDDEN_SIZE, hidden_size_for
from lmkit.recurrence import NeuralLanguageModel
from lmkit.recurrence.dropout import drop
from lmkit.states import State
from lmkit_window.options import WindowOptions


class WindowLanguageModel(NeuralLanguageModel):
    """y = b + W x + U tanh(d + H x), x the embeddings of the last N - 1 tokens, nearest first.

    options.direct: whether there is W. More than one hidden layer, other activations, dropout and tying U to the
    embedding are additions. The state of the network is the ids of the window, (batch, N - 1), nearest first, so
    that embeddings get gradients across training windows too. Before a text, all places are `<s>`; without
    information, they are vectors of zeros.
    """

    def __init__(self, options: WindowOptions, vocabulary: Vocabulary) -> None:
        hidden_size = hidden_size_of(options, vocabulary)
        super().__init__(options, vocabulary)
        self.reset_policy = options.reset
        self.context = options.order - 1
        self.nothing_id = self.start_id + 1
        width = options.embedding_size or hidden_size
        self.embedding = nn.Embedding(vocabulary.size, width)
        # `<s>` has a separate vector, outside the vocabulary, so that the embedding can be tied to the output.
        self.start = nn.Parameter(torch.empty(width))
        sizes = [self.context * width] + [hidden_size] * options.num_layers
        self.layers = nn.ModuleList(nn.Linear(below, above) for below, above in pairwise(sizes))
        self.output = OutputLayer(self._output_weight(options, hidden_size))
        for weight in (self.embedding.weight, self.start, self.output.weight):
            nn.init.uniform_(weight, -0.1, 0.1)

    def _output_weight(self, options: WindowOptions, hidden_size: int) -> nn.Parameter:
        """U, concatenated with W if there is one."""
        width = self.embedding.embedding_dim
        if not options.tied:
            inputs = self.context * width if options.direct else 0
            return nn.Parameter(torch.empty(self.vocabulary.size, hidden_size + inputs))
        if options.direct:
            raise UsageError("direct connections cannot share the embedding's weights: also give --no-tied")
        if width != hidden_size:
            raise UsageError(
                "tied weights need an embedding as wide as the hidden layer: "
                f"--embedding-size {hidden_size}, not {width}; or give --no-tied"
            )
        return cast(nn.Parameter, self.embedding.weight)

    def blank_state(self, batch_size: int) -> State:
        return torch.full((batch_size, self.context), self.nothing_id, device=self.device)

    def features(self, ids: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, State]:
        assert isinstance(state, Tensor)
        windows = self.windows(ids, state, reset)
        x = self._drop(self.embed(windows).flatten(2))
        hidden = x
        for layer in self.layers:
            hidden = self._drop(getattr(torch, self.options.activation)(layer(hidden)))
        after = windows[:, -1] if ids.shape[1] else state
        return (torch.cat([hidden, x], -1) if self.options.direct else hidden), after

    def _drop(self, x: Tensor) -> Tensor:
        return drop(x, self.options.dropout) if self.training else x

    def windows(self, ids: Tensor, state: Tensor, reset: Tensor | None) -> Tensor:
        """The last N - 1 ids at each step, nearest first: (batch, time, N - 1)."""
        starts = ids == self.start_id
        anew = starts if reset is None else starts | reset
        # All places before `<s>` are `<s>`.
        filling = torch.where(starts, self.start_id, self.nothing_id)
        places = [ids]
        for place in range(self.context - 1):
            # The next place is the token here one step before, unless a text begins.
            shifted = torch.cat([state[:, place : place + 1], places[-1]], 1)[:, :-1]
            places.append(torch.where(anew, filling, shifted))
        return torch.stack(places, -1)

    def embed(self, ids: Tensor) -> Tensor:
        """(..., width) from ids, including `<s>` and "nothing"."""
        known = ids < self.vocabulary.size
        vectors = self.embedding(ids.masked_fill(~known, 0))
        special = torch.where((ids == self.start_id)[..., None], self.start, torch.zeros_like(self.start))
        return torch.where(known[..., None], vectors, special)


def hidden_size_of(options: WindowOptions, vocabulary: Vocabulary) -> int:
    """The units of a layer: as given, the default, or for `params`."""
    if options.params is None:
        return options.hidden_size or DEFAULT_HIDDEN_SIZE

    def sized(hidden_size: int) -> WindowLanguageModel:
        return WindowLanguageModel(replace(options, hidden_size=hidden_size, params=None), vocabulary)

    return hidden_size_for(options.params, options.hidden_size, sized)
