"""Lines as bytes and code points, and their words."""

from collections.abc import Iterator

import numpy as np

from lmkit.corpus.words import WHITE_SPACE, hidden
from lmkit.errors import DataError

CHUNK = 1 << 20
"""Long lines are processed in chunks of this many bytes or characters, which bounds memory."""

_IN_WORD = np.ones(max(map(ord, WHITE_SPACE)) + 2, np.bool_)
"""For each code point, whether words can contain it; the last entry is for all others."""
_IN_WORD[[ord(c) for c in WHITE_SPACE]] = 0


def encoded(line: str, encoding: str = "utf-8") -> bytes:
    """The line in a Unicode encoding; DataError if it contains half a surrogate pair, which is not text."""
    try:
        return line.encode(encoding)
    except UnicodeEncodeError as error:
        code = ord(line[error.start])
        raise DataError(
            f"character {error.start} of a line is U+{code:04X}, half a surrogate pair, which is not text: "
            "decode its source with errors='replace'"
        ) from None


def code_points(text: str) -> np.ndarray:
    """(len(text),) uint32."""
    return np.frombuffer(encoded(text, "utf-32-le"), "<u4")


def word_chunks(line: str) -> Iterator[list[bytes]]:
    """The words of a line in order, a bounded list at a time, in the form of `lmkit.corpus.words.hidden`."""
    data = hidden(encoded(line))
    start = 0
    while start < len(data):
        # A cut is never inside a word.
        end = data.find(b" ", start + CHUNK) if len(data) - start > CHUNK else -1
        end = len(data) if end < 0 else end
        yield data[start:end].split()
        start = end


def word_spans(line: str) -> np.ndarray:
    """(words, 2) int64: the characters [start, end) of each word."""
    if line.isascii():
        codes = np.frombuffer(line.encode(), np.uint8)  # a quarter of the bytes
    else:
        codes = code_points(line)
    inside = np.zeros(len(codes) + 2, np.bool_)
    np.take(_IN_WORD, codes, mode="clip", out=inside[1:-1])
    return np.flatnonzero(inside[1:] != inside[:-1]).reshape(-1, 2)
