"""Lines as bytes and code points, and white space as KenLM sees it."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from lmkit.errors import DataError

WHITE_SPACE = "\0\t\n\r "
"""What separates words in KenLM (util/file_piece.hh, kSpaces); `str.split` knows many more characters."""

CHUNK = 1 << 20
"""Long lines are worked through in chunks of so many bytes or characters, which bounds memory."""

_GAP = re.compile("[\0\t\n\r ]+")
# bytes.split also splits at \v and \f: they hide as two bytes that UTF-8 never uses.
_HIDE = bytes.maketrans(b"\0\t\n\r\v\f", b"    \xfe\xff")
_SHOW = bytes.maketrans(b"\xfe\xff", b"\v\f")


class Gaps(NamedTuple):
    """The white space of a line. `between` counts its strings; a line without words is all `before`."""

    before: str
    between: Mapping[str, int]
    after: str | None


def encoded(line: str, encoding: str = "utf-8") -> bytes:
    """The line in a Unicode encoding; DataError when half a surrogate pair is in it, which is no text."""
    try:
        return line.encode(encoding)
    except UnicodeEncodeError as error:
        code = ord(line[error.start])
        raise DataError(
            f"character {error.start} of a line is U+{code:04X}, half a surrogate pair, which is no text: "
            "decode its source with errors='replace'"
        ) from None


def code_points(text: str) -> np.ndarray:
    """(len(text),) uint32."""
    return np.frombuffer(encoded(text, "utf-32-le"), "<u4")


def word_chunks(line: str) -> Iterator[list[bytes]]:
    """The words of a line in order, a bounded list at a time, in the hidden form that `shown` undoes."""
    data = encoded(line).translate(_HIDE)
    start = 0
    while start < len(data):
        # A cut never falls inside a word.
        end = data.find(b" ", start + CHUNK) if len(data) - start > CHUNK else -1
        end = len(data) if end < 0 else end
        yield data[start:end].split()
        start = end


def shown(words: bytes) -> bytes:
    """UTF-8 of words from `word_chunks`."""
    return words.translate(_SHOW)


def word_spans(line: str) -> np.ndarray:
    """(words, 2) int64: the characters [start, end) of each word."""
    codes = code_points(line)
    inside = np.zeros(len(codes) + 2, np.int8)
    inside[1:-1] = ~np.isin(codes, np.array([ord(c) for c in WHITE_SPACE], np.uint32))
    return np.flatnonzero(np.diff(inside)).reshape(-1, 2)


def gaps(line: str) -> Gaps:
    """The white space of a line, by place."""
    body = line.strip(WHITE_SPACE)
    if not body:
        return Gaps(line, {}, None)
    start = len(line) - len(line.lstrip(WHITE_SPACE))
    # Nearly every line has single spaces only, which need no look at each gap.
    if "  " not in body and not any(c in body for c in "\0\t\n\r"):
        spaces = body.count(" ")
        between: Mapping[str, int] = {" ": spaces} if spaces else {}
    else:
        between = Counter(match.group() for match in _GAP.finditer(body))
    return Gaps(line[:start], between, line[start + len(body) :])
