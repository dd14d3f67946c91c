"""Compute the figures of the tokens of lines, and return them by line."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from lmkit.contracts import Encoding, LanguageModel, Tokenizer
from lmkit.corpus.readers import Line
from lmkit.scoring.directions import FORWARD, from_the_end, in_direction
from lmkit.scoring.stream import LOG_PROB, WINDOW, Measure, Sentence, measure_lines
from lmkit.workers import Workers

NO_LINES = "the text to score has no lines; give another text"
_NO_SPANS = np.zeros((0, 2), np.int64)


@dataclass(frozen=True)
class RawLine:
    """A line in one piece, with its raw sizes.

    row, ending, kept: see `Line`. at: the offset of the line in its row, in characters.
    """

    text: str
    num_bytes: int
    num_words: int
    starts_document: bool
    row: int = 0
    at: int = 0
    ending: str = ""
    kept: tuple[object, ...] = ()


def whole_lines(text: Iterable[Line]) -> Iterator[RawLine]:
    """Join lines into one piece: readers give a very long one in several."""
    parts: list[Line] = []
    row = at = 0
    for piece in text:
        parts.append(piece)
        if piece.continues:
            continue
        raw = piece.text if len(parts) == 1 else "".join(p.text for p in parts)
        at = at if piece.row and piece.row == row else 0
        row = piece.row or row + 1
        yield RawLine(
            raw,
            sum(p.num_bytes for p in parts),
            sum(p.num_words for p in parts),
            parts[0].starts_document,
            row,
            at,
            piece.ending,
            piece.kept,
        )
        at += len(raw) + len(piece.ending)
        parts = []


def whole_rows(text: Iterable[Line]) -> Iterator[RawLine]:
    """Rows in one piece, each as if it were a line: the line ends within a cell become spaces."""
    for _, found in groupby(whole_lines(text), key=lambda line: line.row):
        lines = list(found)
        yield replace(
            lines[0],
            text=" ".join(line.text for line in lines),
            num_bytes=sum(line.num_bytes for line in lines) + len(lines) - 1,
            num_words=sum(line.num_words for line in lines),
            ending="",
        )


def measured_lines(
    model: LanguageModel,
    tokenizer: Tokenizer,
    text: Iterable[Line],
    *,
    measure: Measure = LOG_PROB,
    extra: Measure | None = None,
    spans: bool = False,
    direction: str = FORWARD,
    batch_size: int = 32,
    window: int = WINDOW,
    independent: bool = False,
    workers: Workers | None = None,
) -> Iterator[tuple[RawLine, Encoding, np.ndarray]]:
    """Each line with its encoding (without `</s>`) and the (tokens + 1, figures) of its tokens and `</s>`.

    measure, extra, workers: see `measure_lines`.
    spans: whether the encodings have them; ids without them are faster. Lines are read as needed.
    direction: of `model` within a line; figures are always in the line's own order.
    independent: score each line by itself, whatever the model's reset policy.
    """
    waiting: deque[tuple[RawLine, Encoding]] = deque()
    eos = tokenizer.vocabulary.eos_id

    def sentences() -> Iterator[Sentence]:
        for line in whole_lines(text):
            encoding = tokenizer.encode(line.text) if spans else Encoding(tokenizer.ids(line.text), _NO_SPANS)
            waiting.append((line, encoding))
            yield Sentence(np.append(encoding.ids, eos), line.starts_document)

    lines = in_direction(sentences(), direction)
    tables = measure_lines(
        model, lines, measure,
        extra=extra, batch_size=batch_size, window=window, independent=independent, workers=workers,
    )  # fmt: skip
    for figures in tables:
        line, encoding = waiting.popleft()
        yield line, encoding, figures if direction == FORWARD else from_the_end(figures)
