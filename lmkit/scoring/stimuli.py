"""Detect a text of separate items that a model read as one stream."""

import logging
import re

from lmkit.corpus.resets import is_reset
from lmkit.scoring.measured_lines import RawLine

log = logging.getLogger(__name__)

MOST_LINES = 1000
"""Number of lines to check, so that a long text is not slower."""
SENTENCE_SHARE = 0.9
"""From this share of one-sentence lines on, the lines of a text look like separate sentences."""
_AFTER = "\"'”’»」』)]"
"""Marks that may follow the mark of a sentence's end."""
_CLOSING = f"[{re.escape(_AFTER)}]*"
_MARKS = ".!?…。！？"
_ENDS_INSIDE = re.compile(rf"[。！？]{_CLOSING}\s*(?=\w)|\w\s?[.!?…]+{_CLOSING}\s+(?=[A-ZÀ-Þ])")


class StreamWatch:
    """Checks the lines of a text for a model with a reset policy, and warns if they look like separate items.

    Lines look like separate items if all of them are rows of a table (each begins a document), or if the text has no
    blank line and at least nine in ten lines are exactly one sentence, including its full stop.
    """

    def __init__(self, policy: str) -> None:
        self._policy = policy
        self._lines = self._documents = self._carried = self._blank = self._sentences = 0

    def add(self, line: RawLine) -> None:
        """Check the next line; of a very long one, its first piece."""
        if self._policy == "line" or self._lines == MOST_LINES or line.inside:
            return
        self._carried += self._lines > 0 and not is_reset(self._policy, line.starts_document)
        self._lines += 1
        self._documents += line.starts_document
        self._blank += line.num_words == 0
        self._sentences += is_one_sentence(line.text)

    def report(self) -> None:
        """Warn if the state was carried from item to item."""
        if not self._carried:
            return
        if self._documents == self._lines:
            what = "the rows of this table"
        elif not self._blank and self._sentences >= SENTENCE_SHARE * self._lines:
            what = "the lines of this text look like separate sentences, but they"
        else:
            return
        log.warning(
            "%s were scored as one stream: the model carries its state from each to the next; to score each by "
            "itself, give --independent (in Python, independent=True)",
            what,
        )


def is_one_sentence(text: str) -> bool:
    """Whether a line ends with a sentence's mark, "." or "。" or the like, and no other sentence ends within it."""
    # Not a regular expression, which would take the square of the time for a long run of white space.
    body = text.rstrip().rstrip(_AFTER).rstrip()
    return body[-1:] in set(_MARKS) and _ENDS_INSIDE.search(text, 0, len(body) - 1) is None
