"""Running English text into words as the English Web Treebank has them, and into sentences."""

import re
from collections.abc import Iterator

LONGEST = 60
"""Words of the longest sentence: a longer one is cut, at its last clause where it has one."""

SHORT_FORMS = "Mr|Mrs|Ms|Dr|St|Rev|Hon|Prof|Capt|Col|Gen|Lt|Sgt|Esq|Jr|Sr|Messrs|Co|Inc|Ltd|vs|Vol|Mt|Gov|Sen"
"""Words that keep the point that follows them."""

PREFIXES = "e|ex|co|re|un|pre|post|non|anti|semi|sub|multi|mid|pro|counter"
"""What stays with the word behind its hyphen; the parts of other words with hyphens are words of their own."""

ENDINGS = "(?i:s|m|d|ll|re|ve)"
"""What an apostrophe may cut off."""

WORD = re.compile(
    rf"""
    (?:{SHORT_FORMS})\.                              # Mr.
    | (?:[A-Z]\.){{2,}} | [A-HJ-Z]\. | [ap]\.m\.      # U.S., initials but no "I.", a.m.
    | \d+(?:[.,:/]\d+)*(?:(?:st|nd|rd|th|s)\b)?      # 1,000, 9/11, 2nd
    | (?i:can(?=not\b))                              # can not
    | [^\W\d_]+(?=(?i:n['’]t\b)) | (?i:n['’]t\b)     # do n't
    | ['’]{ENDINGS}\b                                # it 's
    | \b(?i:{PREFIXES})-[^\W\d_]+                    # pre-war
    | [^\W\d_]+(?:['’](?!{ENDINGS}\b)[^\W\d_]+)?    # words, O'Brien
    | (?P<mark>[^\w\s"'])(?P=mark)+                  # ... and --
    | \S                                            # any other mark
    """,
    re.VERBOSE,
)
STOPS = frozenset(".!?")
QUOTES = frozenset("\"'")
CLOSING = frozenset(")]”’")
CLAUSES = frozenset([";", ":", "--", ",", "-"])


def words(text: str) -> list[str]:
    """The words of a text: marks apart, "don't" as "do" and "n't", "long-term" as three."""
    return [found[0] for found in WORD.finditer(text)]


def sentences(text: str) -> Iterator[list[str]]:
    """The words of a paragraph, a sentence at a time: roughly, by marks and by the capital that follows them."""
    found = words(text)
    sentence: list[str] = []
    open_quotes: set[str] = set()
    for place, word in enumerate(found):
        sentence.append(word)
        if word in QUOTES:
            open_quotes ^= {word}
        following = found[place + 1] if place + 1 < len(found) else ""
        if _ends(sentence) and not (
            following in CLOSING or following in open_quotes or following[:1].islower()
        ):
            yield from _short(sentence)
            sentence = []
    yield from _short(sentence)


def _ends(sentence: list[str]) -> bool:
    """Whether a mark that ends a sentence is the last word, but for quotes and brackets."""
    for word in reversed(sentence):
        if word not in QUOTES and word not in CLOSING:
            return set(word) <= STOPS
    return False


def _short(sentence: list[str]) -> Iterator[list[str]]:
    """A sentence in pieces of LONGEST words or fewer."""
    while len(sentence) > LONGEST:
        clauses = [n for n in range(LONGEST // 2, LONGEST) if sentence[n] in CLAUSES]
        cut = clauses[-1] + 1 if clauses else LONGEST
        yield sentence[:cut]
        sentence = sentence[cut:]
    if sentence:
        yield sentence
