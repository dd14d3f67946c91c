"""The recurrent language model: an embedding, a stack of any registered cells, and a softmax."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit.contracts import Vocabulary
from lmkit.corpus.streams import Window
from lmkit.errors import UsageError
from lmkit.host_copies import on_host
from lmkit.neural.adaptive import AdaptiveOutputLayer
from lmkit.neural.mixture import MixtureOutputLayer
from lmkit.neural.output import OutputLayer
from lmkit.neural.rows import TokenRows
from lmkit.neural.sampled import SampledOutputLayer
from lmkit.neural.sizes import DEFAULT_HIDDEN_SIZE, hidden_size_for, per_layer
from lmkit.neural.stream_slice import whole_window
from lmkit.options import Chosen
from lmkit.recurrence import NeuralLanguageModel, Recurrent
from lmkit.recurrence.dropout import drop, drop_words
from lmkit.states import State
from lmkit_recurrent.model_options import RecurrentOptions


class RecurrentLanguageModel(NeuralLanguageModel):
    """p(token | tokens before) from the output of the last layer (Mikolov et al., 2010).

    Its `options` are the given ones with missing sizes filled in.
    """

    def __init__(self, options: RecurrentOptions, vocabulary: Vocabulary) -> None:
        options = with_sizes(options, vocabulary)
        super().__init__(options, vocabulary)
        self.options: RecurrentOptions = options
        self.reset_policy = options.reset
        width = options.embedding_size or options.projection_size or _last(options.hidden_size)
        self.embedding = nn.Embedding(vocabulary.size, width)
        # `<s>` has a separate vector, outside the vocabulary, so that the embedding can be tied to the output.
        self.start = nn.Parameter(torch.empty(width))
        self.stack = make_stack(options, width)
        self.output = self._output_layer()
        self.samples_loss = options.output == "sampled"
        if isinstance(self.output, AdaptiveOutputLayer):
            # Stored, since the default depends on the vocabulary, which may get new words.
            self.options = replace(options, cutoffs=self.output.cutoffs)
        for weight in (self.embedding.weight, self.start):
            nn.init.uniform_(weight, -0.1, 0.1)
        if not options.tied and options.output != "adaptive":
            nn.init.uniform_(self.output.weight, -0.1, 0.1)
        if options.init_range is not None:
            for weight in self.parameters():
                nn.init.uniform_(weight, -options.init_range, options.init_range)

    def _output_layer(self) -> OutputLayer:
        options, width, size = self.options, self.stack.output_size, self.vocabulary.size
        if options.output == "adaptive":
            if options.tied:
                raise UsageError(
                    "an adaptive output layer cannot share the embedding's weights: give --no-tied"
                )
            cutoffs = (options.cutoffs,) if isinstance(options.cutoffs, int) else options.cutoffs
            return AdaptiveOutputLayer(width, size, cutoffs)
        if options.cutoffs is not None:
            raise UsageError("--cutoffs need an adaptive output layer: also give --output adaptive")
        if options.output == "mixture":
            inner = self.embedding.embedding_dim
            return MixtureOutputLayer(self._output_weight(inner), width, options.experts)
        weight = self._output_weight(width)
        return (
            SampledOutputLayer(weight, options.samples)
            if options.output == "sampled"
            else OutputLayer(weight)
        )

    def _output_weight(self, width: int) -> nn.Parameter:
        """(vocabulary, width): the embedding's, or new memory."""
        if not self.options.tied:
            return nn.Parameter(torch.empty(self.vocabulary.size, width))
        if self.embedding.embedding_dim != width:
            raise UsageError(
                f"tied weights need an embedding as wide as the output: --embedding-size {width}, "
                f"not {self.embedding.embedding_dim}; or give --no-tied"
            )
        return cast(nn.Parameter, self.embedding.weight)

    def sample_from(self, counts: Tensor) -> None:
        if isinstance(self.output, SampledOutputLayer):
            self.output.sample_from(counts)

    def blank_state(self, batch_size: int) -> State:
        return self.stack.initial_state(batch_size)

    def features(self, ids: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, State]:
        return self._features(ids, state, reset, None)

    def layer_features(
        self, ids: Tensor, state: State, *, reset: Tensor | None = None
    ) -> tuple[list[Tensor], State]:
        """The embedding and the outputs of every layer, from the bottom."""
        vectors = self._vectors(ids, None)
        outputs, state = self.stack.layer_outputs(vectors, state, reset=reset)
        return [vectors, *outputs[:-1], self._dropped(outputs[-1])], state

    def step_loss(self, window: Window, state: State) -> tuple[Tensor, State]:
        if not isinstance(self.output, SampledOutputLayer):
            return super().step_loss(window, state)
        # Inputs are the targets one step before, except the first of each stream.
        whole = whole_window(window)
        first = on_host(whole.inputs)[:, 0]
        words = torch.cat([on_host(whole.targets).flatten(), first[first != self.start_id]])
        sample = self.output.sample(words)
        targets = window.targets.flatten()
        features, state = self._features(window.inputs, state, window.reset, sample.rows)
        weights = None if window.weights is None else window.weights.flatten()
        return self.output.sampled_loss(features.flatten(0, 1), targets, sample, weights), state

    def _features(
        self, ids: Tensor, state: State, reset: Tensor | None, rows: TokenRows | None
    ) -> tuple[Tensor, State]:
        """`features`; rows: the only rows of the embedding that get a gradient, None for all."""
        ys, state = self.stack(self._vectors(ids, rows), state, reset=reset)
        return self._dropped(ys), state

    def _vectors(self, ids: Tensor, rows: TokenRows | None) -> Tensor:
        """(batch, time, width): the input of the lowest layer."""
        vectors = self._embedded(ids, rows)
        return self._drop_inputs(vectors, ids) if self.training else vectors

    def _dropped(self, raw: Tensor) -> Tensor:
        """The features from the output of the last layer; in training it sets `penalty`."""
        if not self.training:
            return raw
        rate = share(self.options.output_dropout, self.options)
        dropped = drop(raw, rate, locked_dim=1 if self.options.locked else None)
        self.penalty = self._penalty(raw, dropped)
        return dropped

    def _embedded(self, ids: Tensor, rows: TokenRows | None) -> Tensor:
        """(batch, time, width) the vectors of ids, including `start_id`."""
        starts = ids == self.start_id
        known, weight = ids.masked_fill(starts, 0), cast(nn.Parameter, self.embedding.weight)
        vectors = (
            F.embedding(known, weight) if rows is None else F.embedding(rows.places(known), rows.of(weight))
        )
        return torch.where(starts[..., None], self.start, vectors)

    def _penalty(self, raw: Tensor, dropped: Tensor) -> Tensor | None:
        """alpha mean(dropped^2) + beta mean((raw_t - raw_t-1)^2) (Merity et al., 2018, arXiv:1708.02182)."""
        alpha, beta = self.options.activation_penalty, self.options.temporal_penalty
        if not alpha and not beta:
            return None
        changes = raw[:, 1:] - raw[:, :-1]
        return alpha * dropped.square().mean() + beta * changes.square().sum() / max(1, changes.numel())

    def _drop_inputs(self, vectors: Tensor, ids: Tensor) -> Tensor:
        options = self.options
        # `<s>` is a word here: the one after the last.
        vectors = drop_words(vectors, ids, self.vocabulary.size + 1, options.word_dropout)
        rate = share(options.input_dropout, options)
        return drop(vectors, rate, locked_dim=1 if options.locked else None)


def make_stack(options: RecurrentOptions, input_size: int) -> Recurrent:
    """The layers of options with sizes."""
    assert options.hidden_size is not None
    return Recurrent(
        input_size,
        options.hidden_size,
        options.num_layers,
        options.cell,
        options=options,
        dropout=share(options.layer_dropout, options),
    )


def share(own: float | None, options: RecurrentOptions) -> float:
    """The dropout rate at one place: its own, or the common one."""
    return options.dropout if own is None else own


def with_sizes(options: RecurrentOptions, vocabulary: Vocabulary) -> RecurrentOptions:
    """The options with all sizes: the number of layers, and the hidden size for `params`."""
    if options.params is not None:
        options = _solved(options, options.params, vocabulary)
    hidden_size = DEFAULT_HIDDEN_SIZE if options.hidden_size is None else options.hidden_size
    cells = (options.cell,) if isinstance(options.cell, Chosen) else options.cell
    sizes, _ = per_layer(options.num_layers, hidden_size, cells)
    return replace(options, hidden_size=hidden_size, num_layers=len(sizes))


def _solved(options: RecurrentOptions, params: str, vocabulary: Vocabulary) -> RecurrentOptions:
    def sized(hidden_size: int) -> RecurrentOptions:
        return replace(options, hidden_size=hidden_size, params=None)

    return sized(
        hidden_size_for(
            params, options.hidden_size, lambda size: RecurrentLanguageModel(sized(size), vocabulary)
        )
    )


def _last(sizes: int | Sequence[int] | None) -> int:
    assert sizes is not None
    return sizes if isinstance(sizes, int) else sizes[-1]
