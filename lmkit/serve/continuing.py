"""Continue the prompts of many requests together, a token a step, each as if it were the only one."""

import time
from collections import deque
from collections.abc import Generator

import torch
from torch import Tensor

from lmkit import states
from lmkit.contracts import LanguageModel, State
from lmkit.errors import ModelError
from lmkit.kinds import is_neural
from lmkit.serve.batches import Batch, Group, Row
from lmkit.serve.engine import Engine
from lmkit.serve.errors import as_api_error
from lmkit.serve.slots import Slots
from lmkit.serve.spelling import Piece, Speller, dropped_space
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

Reader = Generator[None, None, State | None]
"""Reads a prompt, a window each time; its result is the state after it."""


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
        self._batches: list[Batch] = []
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
            batch = Batch(self.model, whole_rows=self._whole_rows)
            self._batches.append(batch)
        batch.join(rows, state)

    # Steps

    def _guarded(self, batch: "Batch") -> None:
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

    def _go_on(self, batch: "Batch", log_probs: Tensor, tokens: list[int]) -> None:
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
