"""Embed lines of text, and keep the text of each vector."""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from lmkit.contracts import Encoder
from lmkit.corpus.word_lists import Words
from lmkit.corpus.words import WHITE_SPACE
from lmkit.embedding import BATCH_SIZE
from lmkit.embedding.batches import EncodedSentence, embed_encoded
from lmkit.embedding.layers import Selection
from lmkit.scoring.measured_lines import RawLine
from lmkit.workers import Workers

_WORD = re.compile(f"[^{WHITE_SPACE}]+")


@dataclass(frozen=True)
class EmbeddedLine:
    """A line, or a row of a table, with its chosen vectors.

    tokens: the text of each token, or word, with a vector. row: see `lmkit.corpus.lines.Line`.
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
    workers: Workers | None = None,
) -> Iterator[EmbeddedLine]:
    """Lines with their vectors, in order, read as needed; see `batches.embed_encoded`.

    words: a vector per word between white space instead of per token; the line is read unchanged.
    """
    waiting: deque[tuple[RawLine, EncodedSentence]] = deque()

    def sentences() -> Iterator[EncodedSentence]:
        for line in lines:
            sentence = split_words(line.text) if words else line.text
            encoded = EncodedSentence.of(sentence, encoder)
            waiting.append((line, encoded))
            yield encoded

    found = embed_encoded(encoder, sentences(), select=select, batch_size=batch_size, workers=workers)
    for vectors in found:
        line, encoded = waiting.popleft()
        yield EmbeddedLine(line.text, line.num_words, _tokens(encoded), vectors, line.row)


def split_words(text: str) -> Words:
    """The words between white space (`lmkit.corpus.words`), with their text."""
    return Words.of(text, [found.span() for found in _WORD.finditer(text)])


def _tokens(encoded: EncodedSentence) -> list[str]:
    """The texts of a line's tokens, or its words."""
    if encoded.encoding is None:
        return list(encoded.sentence)
    return [str(encoded.sentence[start:end]) for start, end in encoded.encoding.spans.tolist()]
