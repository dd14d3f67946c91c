"""Spell ids for files of n-grams, in which white space separates words."""

import re
from collections.abc import Iterable, Sequence

from lmkit.corpus.words import WHITE_SPACE

SPACE = "\u2581".encode()
"""sentencepiece's character for a space."""

_GAP = re.compile(f"[{WHITE_SPACE}]".encode())


def byte_symbol(byte: int) -> bytes:
    """A byte that is not text by itself, in sentencepiece's notation: `<0x09>`."""
    return b"<0x%02X>" % byte


def spelled(tokens: Iterable[bytes]) -> list[bytes]:
    """Distinct tokens, spelled distinctly without white space and NUL.

    A token without such bytes keeps its spelling. In others, a space becomes U+2581 and the rest `<0x09>` and the
    like, followed by underscores if another token, such as a literal U+2581, has that spelling already.
    """
    tokens = list(tokens)
    found = [_GAP.sub(_escape, token) for token in tokens]
    taken = {symbol for symbol, token in zip(found, tokens, strict=True) if symbol == token}
    for i, token in enumerate(tokens):
        if found[i] == token:
            continue
        while found[i] in taken:
            found[i] += b"_"
        taken.add(found[i])
    return found


def unspelled(symbols: Sequence[bytes]) -> list[str]:
    """The single characters of these spellings, each a string; other spellings are returned unchanged.

    U+2581 is a space, unless a symbol with underscores shows that it is literal.
    """
    marks = [symbol for symbol in symbols if symbol.rstrip(b"_") == SPACE]
    white = {max(marks, key=len, default=SPACE): " "}
    white |= {byte_symbol(byte): chr(byte) for byte in WHITE_SPACE.encode() if byte != ord(" ")}
    return [white.get(symbol) or symbol.decode() for symbol in symbols]


def _escape(match: re.Match[bytes]) -> bytes:
    return SPACE if match.group() == b" " else byte_symbol(match.group()[0])
