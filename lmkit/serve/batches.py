"""Rows of continuations that a model computes together, and what each request asks of its own."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lmkit import states
from lmkit.contracts import LanguageModel, State
from lmkit.errors import UsageError
from lmkit.neural.batching import full_rows
from lmkit.serve.choosing import next_tokens, sampler
from lmkit.serve.errors import invalid
from lmkit.serve.spelling import Reading
from lmkit.serve.texts import Chunk, Entry, Writer

Tell = Callable[[int, Chunk | Exception], None]
"""Called with the number of a choice and its next chunk, or an error that ends it."""
ONLY_END = "the model gives every token but the end of the text probability zero here; leave it out"


@dataclass(frozen=True)
class Settings:
    """What a request asks of each of its prompts.

    logprobs: None for none. live: whether chunks are sent as they come.
    """

    max_tokens: int = 16
    n: int = 1
    seed: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    logprobs: int | None = None
    echo: bool = False
    ignore_eos: bool = False
    stops: tuple[str, ...] = ()
    live: bool = False


@dataclass(eq=False)
class Group:
    """A prompt and its `n` continuations.

    marker: the id with which the prompt began, if it means "at the start"; `reading` lacks it. tell: called in `loop`.
    """

    reading: Reading
    settings: Settings
    tell: Tell
    loop: asyncio.AbstractEventLoop
    marker: int | None = None
    cancelled: bool = False
    cached: int = 0
    """The tokens of the prompt that were not read again."""
    entries: list[Entry] = field(default_factory=list)
    """Those of the prompt, if they are told."""
    read: list[int] = field(default_factory=list)
    """The ids behind the state: those of the last line, for a model that is reset at each."""
    generator: torch.Generator = field(default_factory=torch.Generator)


@dataclass(eq=False)
class Row:
    """One continuation."""

    group: Group
    number: int
    writer: Writer
    ids: list[int] = field(default_factory=list)
    started: bool = False
    finish_reason: str | None = None


class Batch:
    """Rows that are computed together, and their states in the same order, filled up with copies of the first."""

    def __init__(self, model: LanguageModel, *, whole_rows: bool) -> None:
        self._model = model
        self._whole_rows = whole_rows
        self.rows: list[Row] = []
        self.state: State = ()

    def takes(self, state: State) -> bool:
        """Whether a state has the shapes of this batch."""
        return _shapes(state) == _shapes(self.state)

    def join(self, rows: list[Row], state: State) -> None:
        """Add rows that begin with one state (1, ...)."""
        whole = states.cat([self.state, state]) if self.rows else state
        first = len(states.leaves(whole)[0]) - 1
        index = [*range(len(self.rows)), *[first] * len(rows)]
        self.rows = [*self.rows, *rows]
        self.take(whole, index)

    def drop(self, rows: Sequence[Row]) -> None:
        """Remove rows."""
        gone = set(map(id, rows))
        index = [place for place, row in enumerate(self.rows) if id(row) not in gone]
        if len(index) == len(self.rows):
            return
        self.rows = [self.rows[place] for place in index]
        if index:
            self.take(self.state, index)

    def parts(self) -> list["Batch"]:
        """A batch for each group."""
        found = []
        for group in dict.fromkeys(row.group for row in self.rows):
            part = Batch(self._model, whole_rows=self._whole_rows)
            index = [place for place, row in enumerate(self.rows) if row.group is group]
            part.rows = [self.rows[place] for place in index]
            part.take(self.state, index)
            found.append(part)
        return found

    def choose(self, log_probs: Tensor, end: int | None) -> list[int]:
        """The next token of each row; end: the token that `ignore_eos` forbids.

        Rows with the same options are chosen at once. A group has as many draws as it had rows at first, so that a
        continuation does not depend on when the others end; those that ended repeat another.
        """
        kinds: dict[tuple[float, float, int, bool], list[Group]] = {}
        places: dict[Group, dict[int, int]] = {}
        for place, row in enumerate(self.rows):
            if row.group not in places:
                asked = row.group.settings
                kind = (asked.temperature, asked.top_p, asked.n, asked.ignore_eos)
                kinds.setdefault(kind, []).append(row.group)
            places.setdefault(row.group, {})[row.number] = place
        tokens = [0] * len(self.rows)
        for (temperature, top_p, n, ignore_eos), groups in kinds.items():
            draws = [(places[group], number) for group in groups for number in range(n)]
            index = [own.get(number, next(iter(own.values()))) for own, number in draws]
            try:
                found = next_tokens(
                    sampler(temperature, top_p),
                    self._model.vocabulary,
                    log_probs if index == list(range(len(self.rows))) else log_probs[torch.tensor(index)],
                    [group.generator for group in groups],
                    frozenset([end] if ignore_eos and end is not None else []),
                )
            except UsageError:
                if ignore_eos:
                    raise invalid("ignore_eos", ONLY_END) from None
                raise
            for (own, number), token in zip(draws, found, strict=True):
                if number in own:
                    tokens[own[number]] = token
        return tokens

    def entries(self, log_probs: Tensor, tokens: list[int]) -> list[Entry]:
        """The log-probabilities of the chosen tokens, and of the likeliest ones where they are asked for."""
        own = log_probs.gather(1, torch.tensor(tokens)[:, None])[:, 0].tolist()
        asked = [row.group.settings.logprobs or 0 for row in self.rows]
        top: list[list[tuple[int, float]]] = [[] for _ in self.rows]
        if most := min(max(asked), log_probs.shape[1]):
            values, ids = log_probs.topk(most)
            for place, k in enumerate(asked):
                top[place] = list(zip(ids[place, :k].tolist(), values[place, :k].tolist(), strict=True))
        return [Entry(*one) for one in zip(tokens, own, top, strict=True)]

    def advance(self, tokens: list[int]) -> None:
        """Read the chosen tokens, and remove the rows that have ended."""
        index = [place for place, row in enumerate(self.rows) if row.finish_reason is None]
        if len(index) < len(self.rows):
            self.rows = [self.rows[place] for place in index]
            tokens = [tokens[place] for place in index]
            if not index:
                return
            self.take(self.state, index)
        filled = tokens + tokens[:1] * (len(states.leaves(self.state)[0]) - len(tokens))
        self.state = self._model.advance(torch.tensor(filled, device=self._model.device), self.state)

    def take(self, state: State, index: list[int]) -> None:
        """Set the state to rows of another one."""
        rows = full_rows(len(index)) if self._whole_rows else len(index)
        filled = index + index[:1] * (rows - len(index))
        self.state = states.take(state, torch.tensor(filled, device=self._model.device))


def _shapes(state: State) -> list[tuple[tuple[int, ...], torch.dtype]]:
    return [(tuple(leaf.shape[1:]), leaf.dtype) for leaf in states.leaves(state)]
