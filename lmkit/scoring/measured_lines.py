"""Compute the figures of the tokens of lines, and return them by line."""

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from lmkit.contracts import Encoding, LanguageModel, Tokenizer
from lmkit.corpus.lines import Part
from lmkit.corpus.readers import Line
from lmkit.errors import UsageError
from lmkit.notes import NOTE
from lmkit.scoring.directions import FORWARD, from_the_end, in_direction
from lmkit.scoring.stream import LOG_PROB, WINDOW, Measure, Sentence, measure_lines
from lmkit.workers import Workers

log = logging.getLogger(__name__)

NO_LINES = "the text to score has no lines; give another text"
_NO_SPANS = np.zeros((0, 2), np.int64)


@dataclass(frozen=True)
class RawLine:
    """A line, or a piece of a very long one, with its raw sizes.

    row, ending, kept, prefix, parts: see `Line`. at: the offset in its row, in characters; a prefix is not in the row.
    inside: it continues the line of the piece before. continues: the line goes on in the next piece.
    """

    text: str
    num_bytes: int
    num_words: int
    starts_document: bool
    row: int = 0
    at: int = 0
    ending: str = ""
    kept: tuple[object, ...] = ()
    inside: bool = False
    continues: bool = False
    prefix: int = 0
    parts: tuple[Part, ...] = ()


def raw_lines(text: Iterable[Line]) -> Iterator[RawLine]:
    """Lines as they are scored: a very long one in pieces, as readers give it, so that memory is bounded."""
    row = at = 0
    inside = False
    for piece in text:
        if not inside:
            at = at if piece.row and piece.row == row else 0
            row = piece.row or row + 1
        at -= piece.prefix
        yield RawLine(
            piece.text,
            piece.num_bytes,
            piece.num_words,
            piece.starts_document,
            row,
            at,
            piece.ending,
            piece.kept,
            inside,
            piece.continues,
            piece.prefix,
            piece.parts,
        )
        at += len(piece.text) + len(piece.ending)
        inside = piece.continues


def whole_lines(text: Iterable[Line]) -> Iterator[RawLine]:
    """The same, each line in one piece, however long."""
    parts: list[RawLine] = []
    for piece in raw_lines(text):
        parts.append(piece)
        if not piece.continues:
            yield piece if len(parts) == 1 else _joined(parts)
            parts = []


def _joined(parts: list[RawLine]) -> RawLine:
    return replace(
        parts[0],
        text="".join(part.text for part in parts),
        num_bytes=sum(part.num_bytes for part in parts),
        num_words=sum(part.num_words for part in parts),
        ending=parts[-1].ending,
        kept=parts[-1].kept,
        continues=False,
    )


def whole_rows(text: Iterable[Line]) -> Iterator[RawLine]:
    """Rows in one piece, each as if it were a line: the line ends within a cell become spaces.

    Of a row with a very long line, each piece of this line is a row, so that memory is bounded; a note says so.
    """
    for in_pieces, found in groupby(raw_lines(text), key=_is_piece):
        if in_pieces:
            for piece in found:
                if not piece.inside:
                    log.log(NOTE, "row %d has a line of more than 1 MiB: its pieces are rows", piece.row)
                yield replace(piece, ending="")
            continue
        for _, row in groupby(found, key=lambda line: line.row):
            yield _row_of(list(row))


def _is_piece(line: RawLine) -> bool:
    return line.inside or line.continues


def _row_of(lines: list[RawLine]) -> RawLine:
    """A row of several lines."""
    return replace(
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

    A very long line comes in pieces, through which the state is carried. Where a piece ends and the line does not,
    the figures of `</s>` are zeros, as if the end were certain.
    measure, extra, workers: see `measure_lines`.
    spans: whether the encodings have them; ids without them are faster. Lines are read as needed.
    direction: of `model` within a line; figures are always in the line's own order.
    independent: score each line by itself, whatever the model's reset policy.
    """
    scored = model.text_log_probs(text, batch_size=batch_size, window=window, independent=independent)
    if scored is not None:
        if measure is not LOG_PROB or extra is not None or workers is not None:
            raise UsageError(
                "this model has probabilities of larger units than tokens: leave out --entropy, --rank and --workers"
            )
        for line, scores in scored:
            yield line, tokenizer.encode(line.text), scores[:, None]
        return
    waiting: deque[tuple[RawLine, Encoding]] = deque()
    eos = tokenizer.vocabulary.eos_id

    def sentences() -> Iterator[Sentence]:
        # A line that is read from its end is needed whole.
        for line in raw_lines(text) if direction == FORWARD else whole_lines(text):
            encoding = tokenizer.encode(line.text) if spans else Encoding(tokenizer.ids(line.text), _NO_SPANS)
            waiting.append((line, encoding))
            ids = encoding.ids if line.continues else np.append(encoding.ids, eos)
            yield Sentence(ids, line.starts_document, line.inside, line.continues)

    lines = in_direction(sentences(), direction)
    tables = measure_lines(
        model, lines, measure,
        extra=extra, batch_size=batch_size, window=window, independent=independent, workers=workers,
    )  # fmt: skip
    for figures in tables:
        line, encoding = waiting.popleft()
        if line.continues:
            figures = np.pad(figures, ((0, 1), (0, 0)))
        yield line, encoding, figures if direction == FORWARD else from_the_end(figures)
