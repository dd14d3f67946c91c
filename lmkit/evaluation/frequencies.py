"""Count the words of a text, and give the logarithm of a word's frequency."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from lmkit.corpus.lines import Line, LineBlock
from lmkit.corpus.words import hidden, shown


@dataclass(frozen=True)
class WordFrequencies:
    """How often each word between white space occurs in a text, as it is written there.

    counts: by word. tokens: the number of words, counted as often as they occur.
    """

    counts: Mapping[str, int]
    tokens: int

    @classmethod
    def of(cls, parts: Iterable[Line | LineBlock]) -> Self:
        """Those of a text, given its `blocks`."""
        found: Counter[bytes] = Counter()
        for part in parts:
            raw = part.raw if isinstance(part, LineBlock) else part.text.encode("utf-8", "surrogatepass")
            found.update(hidden(raw).split())
        counts = {shown(word).decode("utf-8", "surrogatepass"): count for word, count in found.items()}
        return cls(counts, sum(counts.values()))

    def log2(self, word: str) -> float:
        """log2((count + 1) / (tokens + different words)), so that a word that the text lacks has one too.

        The smoothing is that of the Zipf scale (van Heuven et al., 2014), which is this * log10(2) + 9.
        """
        return math.log2((self.counts.get(word, 0) + 1) / (self.tokens + len(self.counts)))
