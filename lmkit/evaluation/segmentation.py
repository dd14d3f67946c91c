"""Text as people type it, 今天天气很好 or "broken.", cut into the words that a word tokenizer knows."""

import re

from lmkit.contracts import Tokenizer
from lmkit.evaluation.units import is_characterwise

_CJK = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
"""Chinese, Japanese and Korean characters and their punctuation."""
_JOINED = re.compile(rf"(?![{_CJK}])\w")
"""A character that is one word with others such as itself beside it."""
_UNITS = re.compile(rf"[{_CJK}]|[^\s{_CJK}]+")


def reads_words(tokenizer: Tokenizer) -> bool:
    """Whether each token is a word between white space."""
    return tokenizer.word_starts() is None and not is_characterwise(tokenizer)


def spaced(tokenizer: Tokenizer, text: str) -> str:
    """The text with spaces between the words of the vocabulary; unchanged unless the tokenizer reads words.

    Only words that the vocabulary does not have are cut, and never between two letters of a script with spaces:
    into pieces of which as few characters as possible are unknown, then as few pieces as possible.
    """
    if not reads_words(tokenizer):
        return text
    return " ".join(piece for word in text.split() for piece in _pieces(tokenizer, word))


def unknown_words(tokenizer: Tokenizer, text: str) -> list[str]:
    """The words of a text that the vocabulary does not have; none where tokens are no words."""
    return [w for w in text.split() if not _known(tokenizer, w)] if reads_words(tokenizer) else []


def units(tokenizer: Tokenizer, text: str) -> list[tuple[int, int]]:
    """The characters [start, end) of the words of a text; a Chinese character is one where no spaces are read."""
    pattern = re.compile(r"\S+") if reads_words(tokenizer) else _UNITS
    return [found.span() for found in pattern.finditer(text)]


def clauses(text: str) -> list[tuple[int, int]]:
    """The characters [start, end) of the clauses of a text, each with the punctuation mark that ends it."""
    return [found.span() for found in re.finditer(r"\S[^,，;；。.!！?？]*[,，;；。.!！?？]*", text)]


def _known(tokenizer: Tokenizer, word: str) -> bool:
    ids = tokenizer.ids(word)
    return len(ids) == 1 and int(ids[0]) != tokenizer.vocabulary.unk_id


def _pieces(tokenizer: Tokenizer, word: str) -> list[str]:
    """The cheapest cut of a word between white space, found from the left."""
    if _known(tokenizer, word):
        return [word]
    cuts = [0, *(i for i in range(1, len(word)) if not _joined(word[i - 1], word[i])), len(word)]
    best: dict[int, tuple[int, int, list[str]]] = {0: (0, 0, [])}
    for place, end in enumerate(cuts[1:], 1):
        options = []
        for start in cuts[:place]:
            piece = word[start:end]
            unknown, number, before = best[start]
            cost = 0 if _known(tokenizer, piece) else len(piece)
            options.append((unknown + cost, number + 1, [*before, piece]))
        best[end] = min(options, key=lambda option: option[:2])
    return best[len(word)][2]


def _joined(left: str, right: str) -> bool:
    return bool(_JOINED.match(left) and _JOINED.match(right))
