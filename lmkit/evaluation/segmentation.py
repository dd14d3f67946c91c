"""Text as people type it, 今天天气很好 or "broken.", cut into the words that a word tokenizer knows."""

import re

from lmkit.contracts import Tokenizer

CJK = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
"""Chinese, Japanese and Korean characters and their punctuation."""
_LETTER = re.compile(rf"(?![{CJK}])\w")
"""A character that is one word with others such as itself beside it."""
_UNITS = re.compile(rf"[{CJK}]|[^\s{CJK}]+")
_BETWEEN = re.compile(rf"(?<=[{CJK}])\s+(?=[{CJK}])")
_CLAUSE = re.compile(r"\S.*?(?:[，；。！？]+|[,;.!?]+(?=\s|$)|$)")
_PROBE = "ab cé d"
_PROBE_WORDS = [[0, 2], [3, 5], [6, 7]]
LONGEST = 32
"""Cuts that a word may reach over: an unspaced page takes time in proportion to its length."""


def reads_words(tokenizer: Tokenizer) -> bool:
    """Whether each token is a word between white space."""
    # In this order, since a tokenizer of pieces looks at each of them to say which begin words.
    return tokenizer.encode(_PROBE).spans.tolist() == _PROBE_WORDS and tokenizer.word_starts() is None


def spaced(tokenizer: Tokenizer, text: str) -> str:
    """The text with spaces between the words of the vocabulary; unchanged unless the tokenizer reads words.

    Only words that the vocabulary does not have are cut, and never between two letters of a script with spaces:
    into pieces of which as few characters as possible are unknown, then as few pieces as possible.
    """
    if not reads_words(tokenizer):
        return text
    return " ".join(piece for word in text.split() for piece in pieces(tokenizer, word))


def unspaced(text: str) -> str:
    """The text without white space between Chinese, Japanese or Korean characters."""
    return _BETWEEN.sub("", text)


def unknown_words(tokenizer: Tokenizer, text: str) -> list[str]:
    """The words of a text that have the unknown token in them; none where the tokenizer has no such token."""
    encoding = tokenizer.encode(text)
    unknown = encoding.spans[encoding.ids == tokenizer.vocabulary.unk_id]
    words = (found.span() for found in re.finditer(r"\S+", text))
    return [
        text[start:end] for start, end in words if ((unknown[:, 0] < end) & (start < unknown[:, 1])).any()
    ]


def units(tokenizer: Tokenizer, text: str) -> list[tuple[int, int]]:
    """The characters [start, end) of the words of a text; a Chinese character is one where no spaces are read."""
    pattern = re.compile(r"\S+") if reads_words(tokenizer) else _UNITS
    return [found.span() for found in pattern.finditer(text)]


def clauses(text: str) -> list[tuple[int, int]]:
    """The characters [start, end) of the clauses of a text, each with the punctuation marks that end it."""
    return [(found.start(), found.start() + len(found[0].rstrip())) for found in _CLAUSE.finditer(text)]


def is_known(tokenizer: Tokenizer, word: str) -> bool:
    """Whether a word is in the vocabulary."""
    ids = tokenizer.ids(word)
    return len(ids) == 1 and int(ids[0]) != tokenizer.vocabulary.unk_id


def pieces(tokenizer: Tokenizer, word: str) -> list[str]:
    """The cheapest cut of what stands between white space, found from the left."""
    if is_known(tokenizer, word):
        return [word]
    inner = (i for i in range(1, len(word)) if not (_LETTER.match(word[i - 1]) and _LETTER.match(word[i])))
    cuts = [0, *inner, len(word)]
    best = [(0, 0, 0)]  # at each cut: unknown characters, pieces, and the place of the cut before
    for place, end in enumerate(cuts[1:], 1):
        options = []
        for before in range(max(0, place - LONGEST), place):
            piece = word[cuts[before] : end]
            unknown, number, _ = best[before]
            missing = 0 if is_known(tokenizer, piece) else len(piece)
            options.append((unknown + missing, number + 1, before))
        best.append(min(options))
    found: list[str] = []
    place = len(cuts) - 1
    while place:
        before = best[place][2]
        found.append(word[cuts[before] : cuts[place]])
        place = before
    return found[::-1]
