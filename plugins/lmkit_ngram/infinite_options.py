"""The options of the infini-gram model; light, since every command reads them."""

from dataclasses import dataclass

from lmkit import option
from lmkit_ngram.options import MOST_WORDS


@dataclass(frozen=True)
class InfiniteOptions:
    """The contexts that count."""

    occurrences: int = option(1, "minimum number of occurrences of a context in the text", min=1)
    longest: int = option(MOST_WORDS - 1, "maximum number of words of a context", min=1, max=MOST_WORDS - 1)
