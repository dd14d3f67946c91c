"""Measure the tokens of a text as one stream, without remainder, in memory bounded by the longest line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lmkit import states
from lmkit.contracts import LanguageModel
from lmkit.corpus.resets import is_reset
from lmkit.errors import UsageError
from lmkit.states import State
from lmkit.workers import Workers

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 16384
"""Tokens to collect before scoring; the line that fills a block is kept whole."""
WINDOW = 512
"""Maximum number of tokens of a row scored in one call."""


@dataclass(frozen=True)
class Sentence:
    """A line for scoring: ids with `</s>` at the end, and whether a document begins with it.

    inside, continues: it is a piece of a line, and continues the one before, or goes on in the next, without `</s>`.
    """

    ids: np.ndarray
    starts_document: bool
    inside: bool = False
    continues: bool = False

    def is_reset(self, policy: str) -> bool:
        """Whether the state is reset before it."""
        return not self.inside and is_reset(policy, self.starts_document)


class Measure:
    """The figure of every token: its log-probability. A subclass may use whole distributions.

    names: of the figures, in their order; the log-probability is the first.
    by_line: a model may compute them with its faster `line_log_probs`, whose last bits may differ.
    """

    names: tuple[str, ...] = ("log_prob",)
    by_line = False

    def __call__(self, model: LanguageModel, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, time, figures) for ids (batch, time), and the state after them."""
        log_probs, state = model.log_probs(ids, state)
        return log_probs[..., None], state


class _LogProb(Measure):
    by_line = True


LOG_PROB = _LogProb()


def takes_blocks(model: LanguageModel) -> bool:
    """Whether a model scores many lines at once, each by itself, by `line_log_probs`."""
    return model.reset_policy == "line" and model.line_log_probs(_NO_IDS) is not None


_NO_IDS = np.empty(0, np.int32)


def score_lines(
    model: LanguageModel,
    lines: Iterable[Sentence],
    *,
    batch_size: int = 32,
    window: int = WINDOW,
    block: int = BLOCK,
) -> Iterator[np.ndarray]:
    """The natural log-probability of every token of each line (float64), in the order of the lines."""
    figures = measure_lines(model, lines, LOG_PROB, batch_size=batch_size, window=window, block=block)
    return (table[:, 0] for table in figures)


def measure_lines(
    model: LanguageModel,
    lines: Iterable[Sentence],
    measure: Measure,
    *,
    extra: Measure | None = None,
    batch_size: int = 32,
    window: int = WINDOW,
    block: int = BLOCK,
    independent: bool = False,
    workers: Workers | None = None,
) -> Iterator[np.ndarray]:
    """(tokens, figures) float64 of each line: the figures of `measure` for every token, in the order of the lines.

    extra: computes more figures of the same tokens in a separate pass over each block, so that no bit of the others
    changes; its columns follow those of `measure`.

    The state is reset by `model.reset_policy` (independent: at every line, for any policy) and carried otherwise, as
    in one pass over the whole text: segments between resets are scored in parallel, `batch_size` at once, at most
    `window` tokens per call; these change results only by rounding. Memory holds a block of lines, with its last
    line whole.
    workers: have opened the same model, and measure the same blocks; as many of them in one go as a state is carried
    through, so memory holds the longest document. Raises UsageError if a state is never reset.
    """
    if workers is not None:
        settings = {
            "measure": measure,
            "extra": extra,
            "batch_size": batch_size,
            "window": window,
            "block": block,
            "independent": independent,
        }
        runs = _runs_of_blocks(lines, "line" if independent else model.reset_policy, block)
        for tables in workers.map(partial(_measure_run, settings=settings), runs):
            yield from tables
        return
    measures = [measure] if extra is None else [measure, extra]
    carried: list[State | None] = [None for _ in measures]
    policy = "line" if independent else model.reset_policy
    for group in _blocks(lines, block):
        tables = []
        for place, one in enumerate(measures):
            table = _measure_lines_alone(model, group, one)
            if table is None:
                segments = _segments(group, policy, fresh=carried[place] is None)
                table, carried[place] = _measure_block(
                    model, segments, one, carried[place], batch_size, window
                )
            tables.append(table)
        figures = tables[0] if extra is None else np.concatenate(tables, 1)
        first = 0
        for line in group:
            yield figures[first : first + len(line.ids)]
            first += len(line.ids)


def _measure_run(model: LanguageModel, lines: list[Sentence], settings: dict[str, Any]) -> list[np.ndarray]:
    """In a worker, the figures of lines that begin a block, with a state that is reset."""
    return list(measure_lines(model, lines, **settings))


def _runs_of_blocks(lines: Iterable[Sentence], policy: str, block: int) -> Iterator[list[Sentence]]:
    """The lines of successive blocks, cut where a block begins with a reset."""
    if policy == "never":
        raise UsageError(
            "--workers: this model reads the whole text as one stream (--reset never), which cannot be divided: "
            "leave it out, or give --independent to score each line by itself"
        )
    run: list[Sentence] = []
    for group in _blocks(lines, block):
        if run and group[0].is_reset(policy):
            yield run
            run = []
        run += group
    if run:
        yield run


@dataclass(frozen=True)
class _Segment:
    ids: np.ndarray
    first: int
    """The place of the segment in the block."""
    fresh: bool
    """Whether the state is reset before it."""


def _blocks(lines: Iterable[Sentence], block: int) -> Iterator[list[Sentence]]:
    group, size = [], 0
    for line in lines:
        group.append(line)
        size += len(line.ids)
        if size >= block:
            yield group
            group, size = [], 0
    if group:
        yield group


def _measure_lines_alone(model: LanguageModel, group: list[Sentence], measure: Measure) -> np.ndarray | None:
    """(tokens, 1) log-probabilities from the model's `line_log_probs`; None if it has none."""
    if not measure.by_line or not takes_blocks(model):
        return None
    if any(line.inside or line.continues for line in group):
        return None
    scores = model.line_log_probs(np.concatenate([line.ids for line in group]))
    assert scores is not None
    return scores[:, None]


def _segments(group: list[Sentence], policy: str, *, fresh: bool) -> list[_Segment]:
    """The block cut at resets."""
    segments: list[_Segment] = []
    pieces: list[np.ndarray] = []
    first = at = 0
    for line in group:
        if line.is_reset(policy):
            if pieces:
                segments.append(_Segment(np.concatenate(pieces), first, fresh))
            pieces, first, fresh = [], at, True
        pieces.append(line.ids)
        at += len(line.ids)
    segments.append(_Segment(np.concatenate(pieces), first, fresh))
    return segments


def _measure_block(
    model: LanguageModel,
    segments: list[_Segment],
    measure: Measure,
    state: State | None,
    batch_size: int,
    window: int,
) -> tuple[np.ndarray, State | None]:
    import torch

    figures = np.empty((sum(len(s.ids) for s in segments), len(measure.names)), np.float64)

    @torch.no_grad()
    def fill(batch: list[_Segment], begin: Callable[[int], State]) -> State:
        return _measure_batch(model, batch, measure, begin, window, figures)

    # The first may continue the last block and the last may continue in the next: each is a separate batch,
    # since of several rows only the longest one's state is known at the end.
    alone = {0, len(segments) - 1}
    inner = [s for i, s in enumerate(segments) if i not in alone]
    inner.sort(key=lambda s: len(s.ids), reverse=True)
    for start in range(0, len(inner), batch_size):
        fill(inner[start : start + batch_size], model.initial_state)
    for index in sorted(alone):
        carried = None if segments[index].fresh else state
        begin = model.initial_state if carried is None else lambda _, carried=carried: carried
        state = fill([segments[index]], begin)
    return figures, state


def _measure_batch(
    model: LanguageModel,
    segments: list[_Segment],
    measure: Measure,
    begin: Callable[[int], State],
    window: int,
    figures: np.ndarray,
) -> State:
    """Fill in the figures of parallel segments, the longest first; return the state after the longest."""
    import torch

    rows = segments
    state = begin(len(rows))
    start = 0
    while rows:
        # A call ends when half of its rows have ended, so at most half of its work is padding.
        stop = min(start + window, len(rows[len(rows) // 2].ids))
        ids = np.zeros((len(rows), stop - start), np.int64)
        for row, segment in zip(ids, rows, strict=True):
            part = segment.ids[start:stop]
            row[: len(part)] = part
        found, state = measure(model, torch.from_numpy(ids).to(model.device), state)
        for table, segment in zip(found.cpu().double().numpy(), rows, strict=True):
            last = min(stop, len(segment.ids))
            figures[segment.first + start : segment.first + last] = table[: last - start]
        start = stop
        rows = [s for s in rows if len(s.ids) > stop]
        if rows:
            state = states.take(state, slice(len(rows)))
    return state
