"""Which scripts a text is written in, as far as it matters whether words are separated by spaces."""

import re

# Han, kana, bopomofo, Thai, Lao, Tibetan, Myanmar, Khmer and their extensions (Unicode 16 blocks).
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u3040-\u312f\u31a0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\U0001b000-\U0001b16f"
    "\U00020000-\U0003ffff]"
)
_RUN = re.compile(f"{_UNSPACED.pattern}+")
_LETTER = re.compile(r"[^\W\d_]")

UNSPACED_LIMIT = 0.1
"""Above this share of unspaced letters, white-space words are no unit to count in."""
SEGMENTED_RUN = 3
"""Below this mean length, runs of unspaced letters are words that somebody set apart: Chinese words have some 1.7."""


class ScriptCounter:
    """Counts letters, and those of scripts written without spaces between words."""

    def __init__(self) -> None:
        self.letters = 0
        self.unspaced = 0
        self.runs = 0

    def add(self, text: str) -> None:
        """Count a piece of text."""
        if text.isascii():
            self.letters += len(_LETTER.findall(text))
            return
        unspaced = len(_UNSPACED.findall(text))
        # Vowel signs of these scripts are no letters to `re`: count each character once.
        self.letters += unspaced + len(_LETTER.findall(_UNSPACED.sub("", text)))
        self.unspaced += unspaced
        self.runs += len(_RUN.findall(text))

    @property
    def share(self) -> float:
        """The share of letters that belong to scripts written without spaces."""
        return self.unspaced / self.letters if self.letters else 0.0

    @property
    def words_are_spaced(self) -> bool:
        return self.share <= UNSPACED_LIMIT

    @property
    def is_segmented(self) -> bool:
        """Whether spaces separate words, those of a script included that is usually written without them."""
        return self.words_are_spaced or self.unspaced < SEGMENTED_RUN * self.runs
