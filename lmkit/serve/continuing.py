"""Continue the prompts of many requests together, a token a step, each as if it were the only one."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lmkit import states
from lmkit.contracts import LanguageModel, State
from lmkit.errors import ModelError
from lmkit.kinds import is_neural
from lmkit.neural.batching import full_rows
from lmkit.serve.choosing import next_tokens, sampler
from lmkit.serve.engine import Engine
from lmkit.serve.errors import as_api_error
from lmkit.serve.slots import Slots
from lmkit.serve.spelling import Piece, Reading, Speller, dropped_space
from lmkit.serve.texts import Chunk, Entry, Table, Writer

WINDOW = 512
"""Tokens of a prompt to read in one call."""
MOST_SCORES = 1 << 24
"""Log-probabilities of whole distributions to compute in one call, about."""
READING = 0.02
"""Seconds of reading prompts between two steps."""
MOST_ROWS = 256
"""Continuations of one batch; others wait."""
NOT_A_NUMBER = "the model gives NaN or infinite log-probabilities; train it again with a lower learning rate"

Tell = Callable[[int, Chunk | Exception], None]
"""Called with the number of a choice and its next chunk, or an error that ends it."""


Reader = Generator[None, None, State | None]
"""Reads a prompt, a window each time; its result is the state after it."""


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


class Continuations:
    """The continuations of one model, as steps of the engine.

    Rows of a neural model are computed in multiples of a fixed number, so that their last bits do not depend on the
    others (`lmkit.neural.batching`).
    """

    def __init__(self, engine: Engine, model: LanguageModel, speller: Speller) -> None:
        self._engine = engine
        self.model = model
        self.speller = speller
        self.slots = Slots()
        self.by_line = model.reset_policy == "line"
        self._whole_rows = _has_network(model)
        self._arrived: deque[Group] = deque()
        self._reading: tuple[Group, Reader] | None = None
        self._batches: list[_Batch] = []
        size = model.vocabulary.size
        self._window = max(1, min(WINDOW, MOST_SCORES // size))
        self._most_rows = max(8, min(MOST_ROWS, 2 * MOST_SCORES // size))

    def submit(self, group: Group) -> None:
        """Continue a prompt; from any thread."""
        self._arrived.append(group)
        self._engine.wake()

    def state_after(self, ids: list[int], *, start: bool = True) -> tuple[State, int]:
        """The state after ids, and how many of them it depends on; in the engine's thread.

        start: whether they begin a text; else nothing is known of what was before, and the state is not kept.
        """
        read = self._after_last_line(ids)
        if start or len(read) < len(ids):
            reader = self._continued(read, *self.slots.find(read))
            while True:
                try:
                    next(reader)
                except StopIteration as done:
                    return done.value, len(read)
        state = self.model.initial_state(1, start=False)
        if read:
            _, state = self.model.log_probs(self._row_of(read), state)
        return state, len(read)

    def step(self) -> bool:
        """Read prompts for a while, then choose a token for each continuation."""
        self._read_some()
        for batch in self._batches:
            self._guarded(batch)
        self._batches = [batch for batch in self._batches if batch.rows]
        return bool(self._batches or self._reading or self._arrived)

    def deliver(self) -> None:
        """Send what is new to clients who read along."""
        for batch in self._batches:
            for row in batch.rows:
                if row.group.settings.live and row.ids:
                    self._tell(row, row.writer.take(None))

    def stop(self, error: Exception) -> None:
        """End all continuations with an error."""
        groups = [row.group for batch in self._batches for row in batch.rows]
        groups += [*self._arrived, *([self._reading[0]] if self._reading else [])]
        self._arrived.clear()
        self._reading, self._batches = None, []
        for group in dict.fromkeys(groups):
            self._fail(group, error)

    def _fail(self, group: Group, error: Exception) -> None:
        group.cancelled = True
        self._engine.tell(group.loop, group.tell, 0, as_api_error(error))

    def _tell(self, row: Row, chunk: Chunk) -> None:
        if not row.started and row.group.settings.echo:
            chunk = self._with_prompt(row.group, chunk)
        elif not (chunk.text or chunk.tokens or chunk.finish_reason):
            return
        row.started = True
        self._engine.tell(row.group.loop, row.group.tell, row.number, chunk)

    def _with_prompt(self, group: Group, chunk: Chunk) -> Chunk:
        """The first chunk of a continuation, after its prompt."""
        logprobs = chunk.logprobs
        if logprobs is not None:
            table = Table()
            pieces = group.reading.pieces
            if group.marker is not None:
                pieces = [Piece(group.marker, "", "", 0, True), *pieces]
            for piece, entry in zip(pieces, group.entries, strict=True):
                table.add(self.speller, piece, entry)
            before = table.to_json()
            logprobs = {name: [*before[name], *values] for name, values in logprobs.items()}
        return Chunk(group.reading.text + chunk.text, logprobs, chunk.finish_reason, chunk.tokens)

    # Prompts

    def _read_some(self) -> None:
        begun = time.monotonic()
        while time.monotonic() - begun < READING:
            if self._reading is None:
                rows = sum(len(batch.rows) for batch in self._batches)
                if not self._arrived or (rows and rows + self._arrived[0].settings.n > self._most_rows):
                    return
                group = self._arrived.popleft()
                self._reading = group, self._read(group)
            group, reader = self._reading
            try:
                if not group.cancelled:
                    next(reader)
                    continue
            except StopIteration as done:
                self._begin(group, done.value)
            except Exception as error:
                self._fail(group, error)
            self._reading = None

    def _read(self, group: Group) -> Reader:
        """Read a prompt, a window each time; the result is the state after it."""
        ids, settings = group.reading.ids, group.settings
        if settings.echo and settings.logprobs is not None:
            return self._measured(group, ids, settings.logprobs)
        return self._state_after(group, ids) if settings.max_tokens else _nothing()

    def _after_last_line(self, ids: list[int]) -> list[int]:
        """The ids that a state depends on."""
        eos = self.speller.eos
        return ids[len(ids) - ids[::-1].index(eos) :] if self.by_line and eos in ids else ids

    def _state_after(self, group: Group, ids: list[int]) -> Reader:
        group.read = self._after_last_line(ids)
        group.cached, state = self.slots.find(group.read)
        return self._continued(group.read, group.cached, state)

    def _continued(self, read: list[int], known: int, state: State | None) -> Reader:
        """The state after ids, given the one after their first ones."""
        state = self.model.initial_state(1) if state is None else state
        for first in range(known, len(read), WINDOW):
            _, state = self.model.log_probs(self._row_of(read[first : first + WINDOW]), state)
            yield
        self.slots.keep(read, state)
        return state

    def _measured(self, group: Group, ids: list[int], k: int) -> Reader:
        """The same, and the entries of all tokens."""
        group.read = self._after_last_line(ids)
        entries = [] if group.marker is None else [Entry(group.marker, None)]
        group.entries = entries
        state = self.model.initial_state(1)
        ends = [self.by_line and token == self.speller.eos for token in ids]
        for first in range(0, len(ids), self._window):
            last = min(len(ids), first + self._window)
            resets = torch.tensor([[place > 0 and ends[place - 1] for place in range(first, last)]])
            at = first
            window = self._row_of(ids[first:last])
            for rows, after in self.model.scan(window, state, reset=resets.to(self.model.device)):
                state = after
                entries += _entries(rows[0], ids[at : at + rows.shape[1]], k)
                at += rows.shape[1]
            yield
        if ends and ends[-1]:
            state = self.model.initial_state(1)
        self.slots.keep(group.read, state)
        return state

    def _row_of(self, ids: list[int]) -> Tensor:
        return torch.tensor([ids], dtype=torch.long, device=self.model.device)

    def _begin(self, group: Group, state: State | None) -> None:
        settings, reading = group.settings, group.reading
        ids = reading.ids
        line = ids[len(ids) - ids[::-1].index(self.speller.eos) :] if self.speller.eos in ids else ids
        skip = dropped_space(self.speller.tokenizer, reading.text, line)
        if settings.seed is None:
            group.generator.seed()
        else:
            group.generator.manual_seed(settings.seed)
        rows = [
            Row(
                group,
                number,
                Writer(
                    self.speller, line, at=len(reading.text) if settings.echo else 0, skip=skip,
                    logprobs=settings.logprobs is not None, stops=settings.stops,
                ),
            )
            for number in range(settings.n)
        ]  # fmt: skip
        if not settings.max_tokens:
            for row in rows:
                self._tell(row, row.writer.take("length"))
            return
        assert state is not None
        batch = next((one for one in self._batches if one.takes(state)), None)
        if batch is None:
            batch = _Batch(self.model, whole_rows=self._whole_rows)
            self._batches.append(batch)
        batch.join(rows, state)

    # Steps

    def _guarded(self, batch: "_Batch") -> None:
        """A step of a batch; if it fails, each of its groups goes on alone, or fails alone."""
        batch.drop([row for row in batch.rows if row.group.cancelled])
        if not batch.rows:
            return
        try:
            log_probs = self.model.next_log_probs(batch.state)[: len(batch.rows)].cpu()
            tokens = batch.choose(log_probs, self.speller.eos if self.by_line else None)
        except Exception as error:
            parts = batch.parts()
            if len(parts) == 1:
                self._fail(batch.rows[0].group, error)
                batch.drop(batch.rows)
                return
            batch.drop(batch.rows)
            self._batches += parts
            return
        self._go_on(batch, log_probs, tokens)

    def _go_on(self, batch: "_Batch", log_probs: Tensor, tokens: list[int]) -> None:
        """Add the chosen tokens to their continuations."""
        for row, entry in zip(batch.rows, batch.entries(log_probs, tokens), strict=True):
            self._add(row, entry)
        ended = [place for place, row in enumerate(batch.rows) if row.finish_reason is not None]
        for place in ended:
            row = batch.rows[place]
            self.slots.keep(
                [*row.group.read, *row.ids[:-1]], states.take(batch.state, slice(place, place + 1))
            )
            self._tell(row, row.writer.take(row.finish_reason))
        batch.advance(tokens)

    def _add(self, row: Row, entry: Entry) -> None:
        row.ids.append(entry.id)
        if entry.id == self.speller.eos and self.by_line:
            row.writer.end(entry)
            row.finish_reason = "stop"
        elif row.writer.add(entry):
            row.finish_reason = "stop"
        elif len(row.ids) >= row.group.settings.max_tokens:
            row.finish_reason = "length"


class _Batch:
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
        self._take(whole, index)

    def drop(self, rows: Sequence[Row]) -> None:
        """Remove rows."""
        gone = set(map(id, rows))
        index = [place for place, row in enumerate(self.rows) if id(row) not in gone]
        if len(index) == len(self.rows):
            return
        self.rows = [self.rows[place] for place in index]
        if index:
            self._take(self.state, index)

    def parts(self) -> list["_Batch"]:
        """A batch for each group."""
        found = []
        for group in dict.fromkeys(row.group for row in self.rows):
            part = _Batch(self._model, whole_rows=self._whole_rows)
            index = [place for place, row in enumerate(self.rows) if row.group is group]
            part.rows = [self.rows[place] for place in index]
            part._take(self.state, index)
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
            found = next_tokens(
                sampler(temperature, top_p),
                self._model.vocabulary,
                log_probs if index == list(range(len(self.rows))) else log_probs[torch.tensor(index)],
                [group.generator for group in groups],
                frozenset([end] if ignore_eos and end is not None else []),
            )
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
            self._take(self.state, index)
        filled = tokens + tokens[:1] * (len(states.leaves(self.state)[0]) - len(tokens))
        self.state = self._model.advance(torch.tensor(filled, device=self._model.device), self.state)

    def _take(self, state: State, index: list[int]) -> None:
        rows = full_rows(len(index)) if self._whole_rows else len(index)
        filled = index + index[:1] * (rows - len(index))
        self.state = states.take(state, torch.tensor(filled, device=self._model.device))


def _entries(rows: Tensor, ids: list[int], k: int) -> list[Entry]:
    """The entries of tokens, given (tokens, vocabulary) log-probabilities."""
    if bool(rows.isnan().any()):
        raise ModelError(NOT_A_NUMBER)
    own = rows.gather(1, torch.tensor(ids, device=rows.device)[:, None])[:, 0].tolist()
    if not k:
        return [Entry(*one) for one in zip(ids, own, strict=True)]
    values, found = rows.topk(min(k, rows.shape[1]))
    tops = (list(zip(*pair, strict=True)) for pair in zip(found.tolist(), values.tolist(), strict=True))
    return [Entry(*one) for one in zip(ids, own, tops, strict=True)]


def _has_network(model: LanguageModel) -> bool:
    """Whether a model, or a part of a mixture, is a network."""
    parts: list[LanguageModel] = []

    def see(part: LanguageModel) -> LanguageModel:
        parts.append(part)
        return part

    model.with_parts(see)
    return any(map(is_neural, parts))


def _nothing() -> Reader:
    """Reads nothing."""
    yield from ()
    return None


def _shapes(state: State) -> list[tuple[tuple[int, ...], torch.dtype]]:
    return [(tuple(leaf.shape[1:]), leaf.dtype) for leaf in states.leaves(state)]
