"""The continuous cache: words of the latest tokens are probable again, the more so in similar contexts."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from lmkit.adaptation.options import CacheOptions
from lmkit.adaptation.wrapper import Wrapper, carried_over_lines
from lmkit.contracts import LanguageModel
from lmkit.errors import UsageError
from lmkit.states import State

EMPTY = -1
"""The word of an empty place in the cache."""
QUERIES = 64
"""Number of positions compared with the cache at once: few enough that the products stay in the processor's cache."""


class CachedModel(Wrapper):
    """p = (1 - weight) * p_model + weight * p_cache (Grave, Joulin and Usunier, 2017, arXiv:1612.04426).

    p_cache(x) is proportional to the sum over the last `size` positions i of exp(theta * h_t . h_i) [x = x_{i+1}],
    where h_i are the features from which the model predicts x_{i+1} (`LanguageModel.key`). For a model without
    features, all positions count equally: a unigram cache (Kuhn and De Mori, 1990). With an empty cache, p = p_model.
    The cache is emptied at documents, or never if the model is never reset; lines do not empty it.

    The state is (state of the model, words (batch, size), keys (batch, size, width)), the oldest first, where empty
    places come first.
    """

    def __init__(self, model: LanguageModel, options: CacheOptions) -> None:
        if not model.normalized:
            raise UsageError("the model's scores do not sum to one, so it cannot have a cache; leave it out")
        super().__init__(carried_over_lines(model))
        self.model = model
        self.options = options

    def with_parts(self, change: Callable[[LanguageModel], LanguageModel]) -> LanguageModel:
        return CachedModel(self.model.with_parts(change), self.options)

    def initial_state(self, batch_size: int, *, start: bool = True) -> State:
        inner = self.inner.initial_state(batch_size, start=start)
        words = torch.full((batch_size, self.options.size), EMPTY, device=self.device)
        key = self._key(inner)
        return inner, words, key.new_zeros(batch_size, self.options.size, key.shape[1])

    def next_log_probs(self, state: State) -> Tensor:
        inner, words, keys = _split(state)
        own = self.inner.next_log_probs(inner)
        unknown = torch.zeros(len(own), 1, dtype=torch.long)  # the next token, which no query sees
        memory = Memory(words, keys, self._key(inner)[:, None], unknown)
        return self._mixed_rows(own[:, None], memory, slice(0, 1))[:, 0]

    def key(self, state: State) -> Tensor | None:
        return self.inner.key(_split(state)[0])

    def advance(self, ids: Tensor, state: State) -> State:
        inner, words, keys = _split(state)
        memory = Memory(words, keys, self._key(inner)[:, None], ids[:, None])
        return self.inner.advance(ids, inner), *memory.after()

    def keyed_log_probs(
        self, ids: Tensor, state: State, *, reset: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, State]:
        own, (cached,), keys, after = self.components(ids, state, [self.options.theta], reset=reset)
        return self._mixed(own, cached), keys, after

    def components(
        self, ids: Tensor, state: State, thetas: Sequence[float], *, reset: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor], Tensor | None, State]:
        """The logarithms of p_model and of p_cache with each theta, (batch, time), the keys, and the state after them.

        Where the cache is empty, p_cache is NaN.
        """
        inner, words, keys = _split(state)
        own, own_keys, after = self.inner.keyed_log_probs(ids, inner, reset=reset)
        memory = Memory(words, keys, self._keys(own_keys, ids), ids, reset)
        return own, memory.log_probs(thetas), own_keys, (after, *memory.after())

    def keyed_scan(
        self, ids: Tensor, state: State, *, reset: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor | None, State]]:
        inner, words, keys = _split(state)
        at = 0
        for rows, own_keys, after in self.inner.keyed_scan(ids, inner, reset=reset):
            chunk = slice(at, at + rows.shape[1])
            at = chunk.stop
            now, resets = ids[:, chunk], None if reset is None else reset[:, chunk]
            memory = Memory(words, keys, self._keys(own_keys, now), now, resets)
            mixed = [
                self._mixed_rows(rows[:, part], memory, part) for part in _slices(rows.shape[1], QUERIES)
            ]
            words, keys = memory.after()
            yield torch.cat(mixed, 1) if mixed else rows, own_keys, (after, words, keys)

    def _key(self, inner: State) -> Tensor:
        """(batch, width) features of a state of the model; of no width if it has none."""
        key = self.inner.key(inner)
        if key is not None:
            return key.to(self.device)
        return torch.zeros(_batch_size(inner), 0, device=self.device)

    def _keys(self, keys: Tensor | None, ids: Tensor) -> Tensor:
        return torch.zeros(*ids.shape, 0, device=self.device) if keys is None else keys.to(self.device)

    def _mixed(self, own: Tensor, cached: Tensor) -> Tensor:
        """The logarithm of the weighted mean; where the cache is empty, that of p_model."""
        cached = cached.to(own)
        mixed = torch.logaddexp(own + _log(1 - self.options.weight), cached + _log(self.options.weight))
        return torch.where(cached.isnan(), own, mixed)

    def _mixed_rows(self, own: Tensor, memory: "Memory", queries: slice) -> Tensor:
        """(batch, queries, vocabulary) log-probabilities, from those of the model."""
        found = memory.look_up(queries, [self.options.theta])
        (weights,) = found.weights
        probs = torch.zeros_like(own)
        words = found.words.clamp(min=0)[:, None].expand_as(weights)
        probs.scatter_add_(2, words, weights.to(probs))
        return self._mixed(own, (probs / found.totals(weights).to(probs)).log())


class Found(NamedTuple):
    """Places of the cache, as queries see them.

    words: (batch, places). weights: for each theta, (batch, queries, places): relative weights, 0 for places that a
    query does not see.
    """

    words: Tensor
    weights: list[Tensor]

    def totals(self, weights: Tensor) -> Tensor:
        """(batch, queries, 1) sums of weights; NaN where a query sees no place."""
        sums = weights.sum(-1, keepdim=True)
        return sums.masked_fill(sums == 0, math.nan)


class Memory:
    """The cache before a window of tokens, followed by the window itself.

    words, keys: of the cache, (batch, size) and (batch, size, width). queries: (batch, time, width), the keys of the
    window. ids, reset: (batch, time), of the window. Query t sees the `size` places before it, but none from before
    a reset.
    """

    def __init__(
        self, words: Tensor, keys: Tensor, queries: Tensor, ids: Tensor, reset: Tensor | None = None
    ) -> None:
        self.size = words.shape[1]
        self.ids = ids.to(words)
        self.queries = queries
        self.words = torch.cat([words, self.ids], 1)
        self.keys = torch.cat([keys, queries], 1)
        filled = (words != EMPTY).any(0).nonzero()
        self._first = int(filled[0]) if len(filled) else self.size
        self._begin = None if reset is None else _last_resets(reset.to(words.device), self.size)

    def look_up(self, queries: slice, thetas: Sequence[float]) -> Found:
        """What the queries of a slice of time see."""
        first, last = max(queries.start, self._first), self.size + queries.stop - 1
        words, keys = self.words[:, first:last], self.keys[:, first:last]
        products = self.queries[:, queries] @ keys.transpose(1, 2)
        seen = self._seen(queries, first, words)
        weights = []
        for theta in thetas:
            logits = (products * theta).masked_fill_(~seen, -math.inf)
            largest = logits.amax(-1, keepdim=True) if logits.shape[-1] else logits.new_zeros(1)
            # Where no place is seen, all weights are 0.
            weights.append(logits.sub_(largest.clamp(min=torch.finfo(logits.dtype).min)).exp_())
        return Found(words, weights)

    def log_probs(self, thetas: Sequence[float]) -> list[Tensor]:
        """(batch, time) logarithms of p_cache of the tokens of the window, for each theta; NaN for an empty cache."""
        columns: list[list[Tensor]] = [[self.queries.new_zeros(len(self.ids), 0)] for _ in thetas]
        for part in _slices(self.ids.shape[1], QUERIES):
            found = self.look_up(part, thetas)
            equal = found.words[:, None] == self.ids[:, part, None]
            for column, weights in zip(columns, found.weights, strict=True):
                totals = found.totals(weights)[..., 0]
                column.append((weights * equal).sum(-1).div(totals).log())
        return [torch.cat(column, 1) for column in columns]

    def after(self) -> tuple[Tensor, Tensor]:
        """The words and keys of the cache after the window."""
        words, keys = self.words[:, -self.size :], self.keys[:, -self.size :]
        time = self.ids.shape[1]
        if self._begin is not None and time:
            places = torch.arange(time, self.size + time, device=words.device)
            words = words.masked_fill(places < self._begin[:, -1:], EMPTY)
        return words, keys

    def _seen(self, queries: slice, first: int, words: Tensor) -> Tensor:
        """(batch, queries, places) whether a query sees a place, the first of which is `first`."""
        places = torch.arange(first, first + words.shape[1], device=words.device)
        times = torch.arange(queries.start, queries.stop, device=words.device)[:, None]
        seen = (places >= times) & (places < times + self.size) & (words != EMPTY)[:, None]
        return seen if self._begin is None else seen & (places >= self._begin[:, queries, None])


def _last_resets(reset: Tensor, size: int) -> Tensor:
    """(batch, time) the first place that each query may see: that of its row's last reset, or 0."""
    places = torch.arange(size, size + reset.shape[1], device=reset.device)
    return torch.where(reset, places, 0).cummax(1).values if reset.shape[1] else reset.long()


def _split(state: State) -> tuple[State, Tensor, Tensor]:
    inner, words, keys = state
    return inner, cast(Tensor, words), cast(Tensor, keys)


def _slices(length: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


def _batch_size(state: State) -> int:
    while not isinstance(state, Tensor):
        state = state[0]
    return len(state)


def _log(share: float) -> float:
    return math.log(share) if share > 0 else -math.inf
