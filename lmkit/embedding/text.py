"""From lines of text to their vectors, with what each vector is of."""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from lmkit.contracts import Encoder
from lmkit.corpus.word_lists import Words
from lmkit.corpus.words import WHITE_SPACE
from lmkit.embedding.batches import BATCH_SIZE, Sentence, embed_all
from lmkit.embedding.layers import Selection
from lmkit.scoring.measured_lines import RawLine

_WORD = re.compile(f"[^{WHITE_SPACE}]+")


@dataclass(frozen=True)
class EmbeddedLine:
    """A line, or a row of a table, with what was taken of its vectors.

    tokens: the text of each token, or word, that had one. row: see `lmkit.corpus.lines.Line`.
    """

    text: str
    num_words: int
    tokens: list[str]
    vectors: Tensor
    row: int


def embedded_lines(
    encoder: Encoder,
    lines: Iterable[RawLine],
    *,
    select: Selection,
    words: bool = False,
    batch_size: int = BATCH_SIZE,
) -> Iterator[EmbeddedLine]:
    """Lines with their vectors, in order, read as they are needed; see `batches.embed_all`.

    words: a vector for each word between white space, instead of each token; the line is read as it is.
    """
    waiting: deque[tuple[RawLine, list[str]]] = deque()

    def sentences() -> Iterator[Sentence]:
        for line in lines:
            found = split_words(line.text) if words else None
            tokens = _tokens(encoder, line.text) if found is None else list(found)
            waiting.append((line, tokens))
            yield line.text if found is None else found

    for vectors in embed_all(encoder, sentences(), select=select, batch_size=batch_size):
        line, tokens = waiting.popleft()
        yield EmbeddedLine(line.text, line.num_words, tokens, vectors, line.row)


def split_words(text: str) -> Words:
    """The words between white space, as `lmkit.corpus.words` knows it, in their text."""
    return Words.of(text, [found.span() for found in _WORD.finditer(text)])


def _tokens(encoder: Encoder, text: str) -> list[str]:
    return [text[start:end] for start, end in encoder.tokenizer.encode(text).spans.tolist()]
