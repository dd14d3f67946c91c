"""Detect whether spaces separate the words of a text, by its scripts."""

import re
import string
from collections import Counter
from functools import cache

# Han, kana, bopomofo and their extensions (Unicode 16 blocks).
_EAST = (
    "\u3040-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f"
    "\U00020000-\U0003ffff"
)
# Thai, Lao, Tibetan, Myanmar, Khmer and their extensions.
_SOUTH = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaa7f"
UNSPACED = _EAST + _SOUTH
"""Characters of scripts without spaces between words, as ranges of a regular expression."""
_UNSPACED = re.compile(f"[{UNSPACED}]")
_SOUTHERN = re.compile(f"[{_SOUTH}]")
_RUN = re.compile(f"{_UNSPACED.pattern}+")
_RUN_APART = re.compile(rf"(?<!\S){_UNSPACED.pattern}+(?!\S)")
_LETTER = re.compile(r"[^\W\d_]")
_ASCII = bytes(range(128))
_ASCII_LETTERS = string.ascii_letters.encode()

UNSPACED_LIMIT = 0.1
"""Above this share of unspaced letters, white-space words are not a useful unit."""
SEGMENTED_RUN = 3
"""Below this mean length, runs of unspaced letters are separated words: Chinese words have about 1.7 characters."""
SOUTHERN_WEIGHT = 1 / 3
"""The weight of a letter of Thai, Lao, Khmer and similar scripts there: their words have about 4 or 5 letters."""
SEGMENTED_SHARE = 0.5
"""At least this share of such runs has white space on both sides if words are separated: not 好的。谢谢。"""


@cache
def _is_unspaced(character: str) -> bool:
    return _UNSPACED.match(character) is not None


@cache
def _is_letter(character: str) -> bool:
    """Whether it is a letter, or any character of a script without spaces: for `re`, vowel signs are no letters."""
    return _LETTER.match(character) is not None or _is_unspaced(character)


class ScriptCounter:
    """Counts letters, and those of scripts written without spaces between words."""

    def __init__(self) -> None:
        self.letters = 0
        self.unspaced = 0
        self.southern = 0
        self.runs = 0
        self.runs_apart = 0

    def add(self, text: str) -> None:
        """Count a piece of text, one or more lines."""
        raw = text.encode("utf-8", "surrogatepass")
        self.letters += len(raw) - len(raw.translate(None, _ASCII_LETTERS))
        if len(raw) == len(text):
            return
        others = Counter(raw.translate(None, _ASCII).decode("utf-8", "surrogatepass"))
        unspaced = sum(count for character, count in others.items() if _is_unspaced(character))
        self.letters += sum(count for character, count in others.items() if _is_letter(character))
        if not unspaced:
            return
        self.unspaced += unspaced
        for line in text.split("\n"):
            if not line.isascii():
                self.southern += len(_SOUTHERN.findall(line))
                self.runs += len(_RUN.findall(line))
                self.runs_apart += len(_RUN_APART.findall(line))

    @property
    def share(self) -> float:
        """The share of letters that belong to scripts written without spaces."""
        return self.unspaced / self.letters if self.letters else 0.0

    @property
    def words_are_spaced(self) -> bool:
        return self.share <= UNSPACED_LIMIT

    @property
    def is_segmented(self) -> bool:
        """Whether spaces separate words, even in a script that is usually written without them."""
        if self.words_are_spaced:
            return True
        size = self.unspaced - self.southern + SOUTHERN_WEIGHT * self.southern
        return size < SEGMENTED_RUN * self.runs and self.runs_apart >= SEGMENTED_SHARE * self.runs
