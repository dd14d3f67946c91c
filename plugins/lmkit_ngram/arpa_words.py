"""Rename words for ARPA files, where three names are reserved."""

import re
from collections.abc import Sequence

from lmkit.corpus.words import WHITE_SPACE

START, END = b"<s>", b"</s>"
UNKNOWN = (b"<unk>", b"<UNK>")
"""KenLM reads either as the unknown word (lm/vocab.cc); the first is written."""
SPACE = WHITE_SPACE.encode()
"""The separators of words in ARPA files."""

_TAKEN = re.compile(rb"<(/?s|unk|UNK)>")
_RENAMED = re.compile(rb"(@+)(/?s|unk|UNK)(@+)")


def renamed(word: bytes) -> bytes:
    """The name of an ordinary word: `<s>` becomes `@s@`, and `@s@` becomes `@@s@@`, so that no name is lost."""
    if taken := _TAKEN.fullmatch(word):
        return b"@" + taken[1] + b"@"
    return b"@" + word + b"@" if _RENAMED.fullmatch(word) else word


def original(name: bytes) -> bytes:
    """The word with this name from `renamed`."""
    found = _RENAMED.fullmatch(name)
    if found is None:
        return name
    before, inner, after = found.groups()
    if len(before) == len(after) == 1:
        return b"<" + inner + b">"
    # A name that `renamed` never returns is unchanged.
    return name[1:-1] if min(len(before), len(after)) > 1 else name


def changed(words: Sequence[bytes], names: Sequence[bytes]) -> str:
    """For messages: `<s>` as `@s@`, and so on, for renamed words; empty if there are none."""
    pairs = [(a, b) for a, b in zip(words, names, strict=True) if a != b]
    shown = [f"{a.decode(errors='replace')} as {b.decode(errors='replace')}" for a, b in pairs[:5]]
    return ", ".join(shown) + (f" and {len(pairs) - 5} more" if len(pairs) > 5 else "")
