"""Write and read lmkit's TSV: without quotes, and with a few escaped characters."""

import re
from collections.abc import Collection

_ESCAPES = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r", "\0": r"\0"}
_WRITTEN = str.maketrans(_ESCAPES)
_READ = {written: character for character, written in _ESCAPES.items()}
_TO_ESCAPE = re.compile(r"[\\\t\n\r\0]")
_ESCAPED = re.compile(r"\\[\\tnr0]")

OWN_COLUMNS = (
    frozenset(("line", "start", "end", "text", "surprisal")),
    frozenset(("paradigm", "pair", "sentence_good", "sentence_bad", "score_good", "score_bad")),
)
"""A file with all columns of one of these is from `lmkit surprisal` or `minimal-pairs`, so its cells are escaped."""


def needs_escapes(text: str) -> bool:
    return _TO_ESCAPE.search(text) is not None


def escaped(text: str) -> str:
    r"""A cell in a single line: a backslash, tab, line feed, carriage return or NUL as \\, \t, \n, \r or \0."""
    return text.translate(_WRITTEN)


def unescaped(cell: str) -> str:
    """The text that `escaped` wrote."""
    return _ESCAPED.sub(lambda found: _READ[found[0]], cell) if "\\" in cell else cell


def is_own(header: Collection[str]) -> bool:
    """Whether lmkit wrote the file; in other files a backslash is a backslash, as in C:\\new."""
    return any(set(header) >= columns for columns in OWN_COLUMNS)
