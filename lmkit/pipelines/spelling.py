"""Sentences as integers from which they can be read again, token by token: what crosses a library's tensors.

An encoder reads strings or words, whatever its tokenizer; libraries pass tensors from their tokenizer to their
model. A row of code points is a form of text that every encoder can be given, that can be padded and that needs
no table of the words met so far.
"""

from collections.abc import Sequence

import numpy as np

from lmkit.errors import UsageError

PADDING, TEXT, WORD = range(3)
"""Beside code points, which are moved up by FIRST: padding, and what each token begins with: TEXT where the
pieces of a row together are a string, WORD where each is a word by itself."""
FIRST = 3

UTF32 = "utf-32-le"


def pieces_of(line: str, spans: np.ndarray) -> list[str]:
    """A line cut at the ends of its tokens, one piece a token, which together are the line.

    spans: (tokens, 2), the characters that each token covers. What lies between two tokens goes to the second;
    of several that cover the same characters, the first has them.
    """
    ends = np.maximum.accumulate(spans[:, 1]).tolist()
    ends[-1:] = [len(line)] * bool(ends)
    return [line[first:last] for first, last in zip([0, *ends], ends, strict=False)]


def spell(pieces: Sequence[str], mark: int) -> list[int]:
    """A row of pieces, each behind its mark: TEXT or WORD."""
    row: list[int] = []
    for piece in pieces:
        row.append(mark)
        row += [ord(character) + FIRST for character in piece]
    return row


def read(row: np.ndarray) -> tuple[list[str], int | None]:
    """The pieces of a row, padded at either end or not, and their mark; None where there is no piece.

    Raises UsageError for a row that `spell` did not make.
    """
    row = row[row != PADDING]
    starts = np.flatnonzero(row < FIRST)
    marks = set(row[starts].tolist())
    if len(marks) > 1 or (len(row) and (not marks or starts[0] != 0)) or not marks <= {TEXT, WORD}:
        raise UsageError("these are no spellings of tokens: give what the tokenizer made, unchanged")
    try:
        pieces = [
            (piece[1:] - FIRST).astype("<u4").tobytes().decode(UTF32, "surrogatepass")
            for piece in np.split(row, starts[1:])
        ]
    except UnicodeDecodeError:
        raise UsageError("these are no spellings of tokens: a code point is none of Unicode") from None
    return (pieces, marks.pop()) if marks else ([], None)


def kept_tokens(spans: np.ndarray, limit: int | None, *, left: bool) -> slice:
    """At most `limit` tokens, those on the left cut off or those on the right; no character's tokens are parted."""
    size = len(spans)
    if limit is None or size <= limit:
        return slice(None)
    cut = size - limit if left else limit
    while 0 < cut < size and spans[cut, 0] < spans[cut - 1, 1]:
        cut += 1 if left else -1
    return slice(cut, None) if left else slice(None, cut)
