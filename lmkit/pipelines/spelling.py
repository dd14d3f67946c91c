"""Encode sentences as integers, token by token, so that they can pass through a library's tensors.

An encoder reads strings or words, whatever its tokenizer; libraries pass tensors from their tokenizer to their
model. Rows of code points work for every encoder, can be padded, and need no table of words.
"""

from collections.abc import Sequence

import numpy as np

from lmkit.errors import UsageError

PADDING, TEXT, WORD = range(3)
"""Values besides code points, which are offset by FIRST: padding, and the mark before each token: TEXT if the
pieces of a row together are a string, WORD if each is a word."""
FIRST = 3

UTF32 = "utf-32-le"


def pieces_of(line: str, spans: np.ndarray) -> list[str]:
    """Split a line at the ends of its tokens, one piece per token; together they are the line.

    spans: (tokens, 2), the characters of each token. Text between two tokens belongs to the second; characters of
    several tokens belong to the first.
    """
    ends = np.maximum.accumulate(spans[:, 1]).tolist()
    ends[-1:] = [len(line)] * bool(ends)
    return [line[first:last] for first, last in zip([0, *ends], ends, strict=False)]


def spell(pieces: Sequence[str], mark: int) -> list[int]:
    """A row of pieces, each after its mark: TEXT or WORD."""
    row: list[int] = []
    for piece in pieces:
        row.append(mark)
        row += [ord(character) + FIRST for character in piece]
    return row


def read(row: np.ndarray) -> tuple[list[str], int | None]:
    """The pieces of a row, with or without padding at either end, and their mark; None without pieces.

    Raises UsageError for a row that `spell` did not make.
    """
    row = row[row != PADDING]
    starts = np.flatnonzero(row < FIRST)
    marks = set(row[starts].tolist())
    if len(marks) > 1 or (len(row) and (not marks or starts[0] != 0)) or not marks <= {TEXT, WORD}:
        raise UsageError("these are not characters of tokens: give the unchanged output of the tokenizer")
    try:
        pieces = [
            (piece[1:] - FIRST).astype("<u4").tobytes().decode(UTF32, "surrogatepass")
            for piece in np.split(row, starts[1:])
        ]
    except UnicodeDecodeError:
        raise UsageError(
            "these are not characters of tokens (invalid code point): give the unchanged output of the tokenizer"
        ) from None
    return (pieces, marks.pop()) if marks else ([], None)


def kept_tokens(spans: np.ndarray, limit: int | None, *, left: bool) -> slice:
    """At most `limit` tokens, truncated on the left or the right; the tokens of a character stay together."""
    size = len(spans)
    if limit is None or size <= limit:
        return slice(None)
    cut = size - limit if left else limit
    while 0 < cut < size and spans[cut, 0] < spans[cut - 1, 1]:
        cut += 1 if left else -1
    return slice(cut, None) if left else slice(None, cut)
