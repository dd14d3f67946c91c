"""Segment ordinary text, 今天天气很好 or "broken.", into the words of a word tokenizer."""

import re
import unicodedata

import numpy as np

from lmkit.contracts import Tokenizer

CJK = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
"""Chinese, Japanese and Korean characters and their punctuation."""
_IS_CJK = re.compile(rf"[{CJK}]")
_JOINERS = "_\u200c\u200d"
"""Characters that join letters: an underscore, and the zero-width joiner and non-joiner."""
_UNITS = re.compile(rf"[{CJK}]|[^\s{CJK}]+")
_BETWEEN = re.compile(rf"(?<=[{CJK}])\s+(?=[{CJK}])")
# Runs of marks are read whole, as otherwise a long one would take the square of the time.
_CLAUSE = re.compile(r"\S(?:[^，；。！？,;.!?]|[,;.!?]++(?!\s|$))*+(?:[，；。！？]+|[,;.!?]+|$)")
LONGEST = 32
"""Maximum number of cuts inside a word, so that the time is linear in the length of unspaced text."""
MOST_HELD = 1 << 22
"""Characters of possible pieces that are looked up at once, about, which bounds memory."""


def unspaced(text: str) -> str:
    """The text without white space between Chinese, Japanese or Korean characters."""
    return _BETWEEN.sub("", text)


def unknown_words(tokenizer: Tokenizer, text: str) -> list[str]:
    """The words of a text with an unknown token; empty if the tokenizer has no unknown token."""
    encoding = tokenizer.encode(text)
    unknown = encoding.spans[encoding.ids == tokenizer.vocabulary.unk_id]
    words = (found.span() for found in re.finditer(r"\S+", text))
    return [
        text[start:end] for start, end in words if ((unknown[:, 0] < end) & (start < unknown[:, 1])).any()
    ]


def units(tokenizer: Tokenizer, text: str) -> list[tuple[int, int]]:
    """The characters [start, end) of the words of a text; each Chinese character is one if words are not read."""
    if tokenizer.unit == "word":
        return [(start, end) for start, end in tokenizer.encode(text).spans.tolist()]
    return [found.span() for found in _UNITS.finditer(text)]


def clauses(text: str) -> list[tuple[int, int]]:
    """The characters [start, end) of the clauses of a text, each with the punctuation marks that end it."""
    return [(found.start(), found.start() + len(found[0].rstrip())) for found in _CLAUSE.finditer(text)]


def is_known(tokenizer: Tokenizer, word: str) -> bool:
    """Whether a word is in the vocabulary."""
    ids = tokenizer.ids(word)
    return len(ids) == 1 and int(ids[0]) != tokenizer.vocabulary.unk_id


def is_letter(character: str) -> bool:
    """Whether a character joins with adjacent ones of its kind into one word; also true for marks on letters."""
    return not _IS_CJK.match(character) and (
        character.isalnum() or character in _JOINERS or unicodedata.category(character)[0] == "M"
    )


def pieces(tokenizer: Tokenizer, word: str) -> list[str]:
    """The best segmentation of the text between white space, from left to right."""
    if is_known(tokenizer, word):
        return [word]
    cuts = [0, *(i for i in range(1, len(word)) if _may_cut(word[i - 1], word[i])), len(word)]
    last = len(cuts) - 1
    if last == 1:
        return [word]
    known = _known_pieces(tokenizer, word, cuts)
    best = [(0, 0, 0)]  # at each cut: unknown characters, pieces, and the place of the cut before
    open_ended = (len(word) + 1, 0, 0)  # the same at the end of an unknown piece, which may continue
    for place in range(1, last + 1):
        unknown, number, _ = best[-1]
        length = cuts[place] - cuts[place - 1]
        begun = (unknown + length, number + 1, place - 1)
        longer, pieces_before, first = open_ended
        open_ended = min(begun, (longer + length, pieces_before, first))
        best.append(
            min([open_ended, *((best[before][0], best[before][1] + 1, before) for before in known[place])])
        )
    found: list[str] = []
    place = last
    while place:
        before = best[place][2]
        found.append(word[cuts[before] : cuts[place]])
        place = before
    return found[::-1]


def _known_pieces(tokenizer: Tokenizer, word: str, cuts: list[int]) -> list[list[int]]:
    """At each cut, the earlier cuts where a known piece begins."""
    known: list[list[int]] = [[] for _ in cuts]
    ranges: list[tuple[int, int]] = []
    held = 0
    for place in range(1, len(cuts)):
        first = max(0, place - LONGEST)
        ranges += [(before, place) for before in range(first, place)]
        held += (place - first) * (cuts[place] - cuts[first])
        if held > MOST_HELD or place == len(cuts) - 1:
            words = [word[cuts[before] : cuts[end]] for before, end in ranges]
            for index in np.flatnonzero(ids_of(tokenizer, words) != tokenizer.vocabulary.unk_id).tolist():
                before, end = ranges[index]
                known[end].append(before)
            ranges, held = [], 0
    return known


def _may_cut(before: str, after: str) -> bool:
    """Whether a word may be cut between two characters: not between letters, and not before a mark on one."""
    if is_letter(after) and not after.isalnum() and after != "_":
        return False
    return not (is_letter(before) and is_letter(after))


def ids_of(tokenizer: Tokenizer, words: list[str]) -> np.ndarray:
    """(words,) the ids of many words, looked up at once; the unknown id if a word is not one token."""
    ids = tokenizer.ids(" ".join(words))
    if len(ids) == len(words):
        return ids
    # Some contain white space for this tokenizer.
    each = [tokenizer.ids(word) for word in words]
    unknown = tokenizer.vocabulary.unk_id
    return np.array([found[0] if len(found) == 1 else unknown for found in each], np.int32)
