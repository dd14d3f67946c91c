"""Compute the surprisal of words, tokens, characters, lines and spans, in one stream over a text."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from lmkit.contracts import Encoding, LanguageModel, Tokenizer
from lmkit.corpus.readers import Line
from lmkit.corpus.writing_systems import ScriptCounter
from lmkit.errors import DataError, ModelError, UsageError, suggest
from lmkit.evaluation.parts import cut_after_prefix, cut_regions, distribute, owners_of
from lmkit.evaluation.records import OOV, LineRecords, column_names
from lmkit.evaluation.units import CHARACTERWISE, Cut, SpanCut, Units, WordCut, cores_of, make_cut
from lmkit.evaluation.word_numbers import WordNumbers
from lmkit.scoring.line_code import LineCoder
from lmkit.scoring.measured_lines import NO_LINES, RawLine, measured_lines
from lmkit.scoring.stimuli import StreamWatch
from lmkit.scoring.stream import LOG_PROB, Measure
from lmkit.scoring.unknown import warn_of_unknown
from lmkit.workers import Workers

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

Figures = dict[str, np.ndarray]
"""(tokens + 1,) figures of a line's tokens and `</s>`, by name."""


def surprisals(
    model: LanguageModel,
    tokenizer: Tokenizer,
    text: Iterable[Line],
    by: str = "word",
    *,
    spans: Iterable[tuple[int, int, int]] | None = None,
    of_spans: Mapping[str, Sequence[object]] | None = None,
    entropy: bool = False,
    rank: bool = False,
    oov: str = "model",
    batch_size: int = 32,
    independent: bool = False,
    keep: Sequence[str] = (),
    add: Sequence[str] = (),
    prefixed: bool = False,
    workers: Workers | None = None,
) -> Iterator[LineRecords]:
    """The records of each line, in the order of the text; lines are read as they are scored.

    by: "word", "token", "char", "line", "span" or "region". spans: (line from 1, start, end) for "span"; of_spans:
    columns of their records, with a value for each span. independent: score each line by itself, from the initial
    state, whatever the model's reset policy. A line's records add up to its score; the last is its `</s>`, which a
    record by line includes.
    By line, a row of a table has one record, even if its text has line ends. By region, each row of a sentence in
    several rows has one (`row_layout.RowLayout` makes such lines). Places are characters of the row.
    keep: names of `Line.kept`. add: "word" and "entropy_reduction", columns of `records.ADDED`. prefixed: lines may
    have prefixes. workers: see `measure_lines`.
    Surprisal is in bits, for the tokenizer's segmentation. With a tokenizer that marks the beginnings of words, a
    word has p = prod p(pieces) * M(after) / M(before), with M the mass of the pieces that end the previous word,
    including `</s>` (Pimentel and Meister, 2024; Oh and Schuler, 2024).
    oov: "model" uses the probability of the unknown token, whatever its spelling; "spelled" gives every unit its
    share of the code of the raw line, so that the records of all words, tokens, characters or lines add up to the
    bits of bits per byte (`line_code.LineCoder`).
    Raises ModelError for a model whose scores are not probabilities, UsageError for units that the tokenizer or
    the text lacks, DataError for spans that do not fit the text.
    """
    if not model.normalized:
        raise ModelError(
            "the model's scores are not probabilities (they do not sum to one), so they give no surprisal; "
            "use a normalised model"
        )
    if model.units is not None and by not in model.units:
        raise UsageError(
            f"this model has no probabilities by {by}; give --by {' or '.join(model.units)} (in Python, by=...)"
        )
    if oov not in OOV:
        raise UsageError(f"oov is '{oov}'; {suggest(oov, OOV)}")
    by_words = by in ("word", "region") or (by == "line" and prefixed)
    starts = tokenizer.word_starts() if by_words else None
    eos_id = tokenizer.vocabulary.eos_id
    # Surprisals do not depend on entropy and rank: other ways to a log-probability round differently.
    measure = LOG_PROB if starts is None else _whole_rows(starts, eos_id)
    reduces = "entropy_reduction" in add
    extra = None
    if entropy or rank or reduces:
        extra = _whole_rows(None, eos_id, entropy=entropy or reduces, rank=rank)
    reader = _Reader(
        tokenizer,
        by,
        make_cut(by, tokenizer, spans),
        has_prefixes=prefixed,
        of_spans=of_spans or {},
        coder=LineCoder(tokenizer) if oov == "spelled" else None,
        figures=(*measure.names, *(() if extra is None else extra.names)),
        columns=column_names(entropy=entropy, rank=rank, more=add),
        keep=keep,
        # Such a tokenizer's own tokens are the words, whatever the script.
        scripts=_Scripts(tokenizer) if by == "word" and tokenizer.unit != "token" else None,
        watch=StreamWatch("line" if independent else model.reset_policy),
    )
    measured = measured_lines(
        model, tokenizer, reader.watched(text),
        measure=measure, extra=extra, spans=by != "line" or prefixed, batch_size=batch_size,
        independent=independent, workers=workers,
    )  # fmt: skip
    found = reader.records(measured, has_spans=by != "line" or prefixed)
    return _then(_by_row(found) if by == "line" else (records for _, records in found), reader.report)


def _whole_rows(word_starts: Tensor | None, eos_id: int, **figures: bool) -> Measure:
    from lmkit.scoring.whole_rows import WholeRows

    return WholeRows(word_starts, eos_id, **figures)


class _Reader:
    """Makes records of measured lines, and warns in the end of what is odd about them.

    figures: the names of the measured figures. columns: those of the records.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        by: str,
        cut: Cut | SpanCut,
        *,
        has_prefixes: bool,
        of_spans: Mapping[str, Sequence[object]],
        coder: LineCoder | None,
        figures: tuple[str, ...],
        columns: tuple[str, ...],
        keep: Sequence[str],
        scripts: _Scripts | None,
        watch: StreamWatch,
    ) -> None:
        self._unk_id = tokenizer.vocabulary.unk_id
        self._by, self._cut, self._coder = by, cut, coder
        self._words = WordCut(tokenizer) if by == "line" and has_prefixes else None
        self._numbers = WordNumbers() if "word" in columns else None
        self._of_spans = of_spans
        self._names, self._columns, self._keep = figures, columns, keep
        self._scripts, self._watch, self._unknown = scripts, watch, _UnknownTokens()

    def watched(self, text: Iterable[Line]) -> Iterable[Line]:
        """The text, whose scripts are counted where words are wanted."""
        return text if self._scripts is None else self._scripts.watch(text)

    def records(
        self, measured: Iterable[tuple[RawLine, Encoding, np.ndarray]], *, has_spans: bool
    ) -> Iterator[tuple[RawLine, LineRecords]]:
        """Each line and its records."""
        for line, encoding, table in measured:
            if self._scripts is not None and not self._unknown.lines:
                self._scripts.check_first()
            self._watch.add(line)
            figures = dict(zip(self._names, table.T, strict=True))
            figures["unknown"] = self._unknown.add(encoding.ids == self._unk_id, inside=line.inside)
            units, owners = self._units(line, encoding)
            if self._coder is not None:
                spans = encoding.spans if has_spans else None
                code = self._coder.code(line, encoding.ids, figures["log_prob"], spans)
                figures["log_prob"] = code.tokens * -math.log(2)
                units = replace(units, corrected=None) if code.escaped else units
            at = line.at if owners is None else 0
            records = self._records(line, units, figures, at)
            if owners is None:
                yield line, records
                continue
            for found in distribute(records, line, owners, regions=self._by == "region"):
                yield line, found

    def _units(self, line: RawLine, encoding: Encoding) -> tuple[Units, np.ndarray | None]:
        """The units of a line; and the part of each (`owners_of`), or None if the line has no prefix and one row."""
        number = self._unknown.lines
        if isinstance(self._cut, SpanCut):
            return self._cut(number, line.text, encoding, line.at, line.continues), None
        if self._by == "line" and line.prefix:
            assert self._words is not None
            return cut_after_prefix(line, self._words(number, line.text, encoding), encoding), None
        units = self._cut(number, line.text, encoding)
        if self._by == "line":
            return units, None
        if self._by == "region":
            if not line.parts:
                raise UsageError("lines have no regions; give lines of a RowLayout with `sentence`")
            return cut_regions(line, units, encoding)
        if line.continues and self._coder is None:
            # The line does not end here, so that no record says so; with a coder, it has the bits of white space.
            units = units.taken(units.first < len(encoding.ids))
        return units, owners_of(line, units, encoding) if line.prefix or line.parts else None

    def _records(self, line: RawLine, units: Units, figures: Figures, at: int) -> LineRecords:
        """The records of a line; at: the offset of the line in their places."""
        text = line.text
        start, end = units.start.tolist(), units.end.tolist()
        texts = [text[a:b] for a, b in zip(start, end, strict=True)]
        if at:
            start, end = (units.start + at).tolist(), (units.end + at).tolist()
        unknown = figures["unknown"]
        columns: dict[str, list[Any]] = {
            "start": start,
            "end": end,
            "text": texts,
            "surprisal": _bits(units, figures).tolist(),
            "oov": (unknown if units.by_token else _sums(units, unknown.astype(np.float64)) > 0).tolist(),
        }
        if "entropy" in self._columns:
            columns["entropy"] = (figures["entropy"][units.first] / math.log(2)).tolist()
        if "rank" in self._columns:
            columns["rank"] = figures["rank"][units.first].astype(np.int64).tolist()
        if self._numbers is not None:
            places = cores_of(text, np.stack([units.start, units.end], 1))[:, 0]
            numbers = self._numbers.of(line, places).tolist()
            columns["word"] = [number if own else None for number, own in zip(numbers, texts, strict=True)]
        if "entropy_reduction" in self._columns:
            columns["entropy_reduction"] = _reductions(units, figures["entropy"], continues=line.continues)
        if units.given is not None:
            for name, values in self._of_spans.items():
                columns[name] = [values[place] for place in units.given.tolist()]
        kept = dict(zip(self._keep, line.kept, strict=True))
        return LineRecords(self._unknown.lines, columns, row=line.row, kept=kept)

    def report(self) -> None:
        """Warn of unknown tokens, separate items and other scripts; DataError for spans of lines that are not there."""
        self._unknown.report(spelled=self._coder is not None)
        self._watch.report()
        if self._scripts is not None:
            self._scripts.check_all()
        if isinstance(self._cut, SpanCut):
            self._cut.check_all_used(self._unknown.lines)


def _then(records: Iterator[LineRecords], report: Callable[[], None]) -> Iterator[LineRecords]:
    """The records, then a call of `report` after the last one; DataError if there are none."""
    first = next(records, None)
    if first is None:
        raise DataError(NO_LINES)
    yield first
    yield from records
    report()


def _reductions(units: Units, entropy: np.ndarray, *, continues: bool) -> list[float | None]:
    """(units,) the entropy before each unit minus that after it, in bits; None where the line ends."""
    known = len(entropy) - continues  # the last figure of a piece is not one of the line
    after = np.append(entropy[:known], [math.nan] * (len(entropy) + 1 - known))[units.last]
    found = (entropy[units.first] - after) / math.log(2)
    return [None if last >= known else value for last, value in zip(units.last, found.tolist(), strict=True)]


def _by_row(lines: Iterator[tuple[RawLine, LineRecords]]) -> Iterator[LineRecords]:
    """One record per row, from those of its lines: their sum; for entropy and rank, the first."""
    for _, group in groupby(lines, key=lambda pair: pair[0].row):
        pairs = list(group)
        first = pairs[0][1]
        if len(pairs) > 1 or pairs[0][0].ending:
            text = "".join(line.text[line.prefix :] + line.ending for line, _ in pairs)
            bits = math.fsum(records.columns["surprisal"][0] for _, records in pairs)
            oov = any(records.columns["oov"][0] for _, records in pairs)
            sums = {"end": [len(text)], "text": [text], "surprisal": [bits], "oov": [oov]}
            first = replace(first, columns={**first.columns, **sums})
        yield first


def _bits(units: Units, figures: Figures) -> np.ndarray:
    """(units,) surprisals."""
    nats = -_sums(units, figures["log_prob"])
    if units.corrected is not None:
        log_mass = np.where(units.corrected, figures["log_mass"][units.first], 0.0)
        # If pieces are impossible, the mass in the denominator may be 0 too; the word is impossible in any case.
        with np.errstate(invalid="ignore"):
            nats = np.where(nats == math.inf, nats, nats + log_mass - np.append(log_mass[1:], 0.0))
    return nats / math.log(2) + 0.0  # no -0.0


def _sums(units: Units, values: np.ndarray) -> np.ndarray:
    """(units,) float64 sums of the values of each unit's tokens."""
    if units.by_token:
        return values
    # reduceat sums from each bound to the next: every second sum is a unit's; the zero is the last bound's.
    bounds = np.stack([units.first, units.last], 1).ravel()
    return np.add.reduceat(np.append(values, 0.0), bounds)[::2] if len(bounds) else np.zeros(0)


class _UnknownTokens:
    """Count the unknown tokens of lines, and warn of them."""

    def __init__(self) -> None:
        self.lines = self.tokens = self.unknown = 0

    def add(self, unknown: np.ndarray, *, inside: bool) -> np.ndarray:
        """Count a line, or a piece inside one, given which tokens are unknown; the same with its `</s>`."""
        self.lines += not inside
        self.tokens += len(unknown)
        self.unknown += int(np.count_nonzero(unknown))
        with_end = np.zeros(len(unknown) + 1, np.bool_)
        with_end[:-1] = unknown
        return with_end

    def report(self, *, spelled: bool) -> None:
        """Warn of unknown tokens; spelled: whether the surprisals include their spelling."""
        effect = (
            "each has the surprisal of the unknown token, whatever its spelling (--oov spelled adds that)"
        )
        warn_of_unknown(self.unknown, self.tokens + self.lines, self.lines, effect="" if spelled else effect)


class _Scripts:
    """Detect text without words between white space."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._counter = ScriptCounter()
        self._remedy = "--by char" if tokenizer.unit in CHARACTERWISE else "--by token"

    def watch(self, text: Iterable[Line]) -> Iterator[Line]:
        for line in text:
            self._counter.add(line.text)
            yield line

    def check_first(self) -> None:
        """Raise UsageError if the lines read before the first record have no words."""
        if not self._counter.is_segmented:
            raise UsageError(f"{self._share()}: --by word is meaningless there; {self._instead()}")

    def check_all(self) -> None:
        """Warn of the same for the whole text, when it is too late for an error."""
        if not self._counter.is_segmented:
            log.warning("%s: those records are not words; %s", self._share(), self._instead())

    def _share(self) -> str:
        return (
            f"{self._counter.share:.0%} of the letters belong to scripts written without spaces between words, and no "
            "spaces separate words"
        )

    def _instead(self) -> str:
        return f"give {self._remedy}, or --by span with a file of offsets (--spans FILE)"
