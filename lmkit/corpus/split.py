"""Hold out a validation text from a training text if none was given."""

import hashlib
import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from lmkit.corpus.readers import Line, LineBlock, TextLike

EVERY = 20
"""One in this many parts is held out."""
MIN_DOCUMENTS = 200
"""With fewer documents, blocks of lines are held out: so few documents are not a representative sample."""
NUM_BLOCKS = 400

log = logging.getLogger(__name__)


def hold_out(text: TextLike) -> tuple[TextLike, TextLike | None]:
    """The training part and the validation part of a text; no validation part for a single line.

    Every 20th document is held out if there are 200 or more, else every 20th of about 400 blocks of lines
    (the last block, if there are fewer than 20). The same text always gives the same parts. The held-out parts
    are separate documents.
    """
    documents, lines = _count(text)
    if lines < 2:
        log.warning(
            "%s has one line: nothing is held out for validation; give a text with --valid", text.describe()
        )
        return text, None
    by_documents = documents >= MIN_DOCUMENTS
    size = 1 if by_documents else max(1, lines // NUM_BLOCKS)
    units = documents if by_documents else -(-lines // size)
    plan = _Plan(by_documents, size, min(EVERY, units))
    unit = "document" if by_documents else f"block of {size} lines" if size > 1 else "line"
    log.info("%s: every %dth %s is held out for validation", text.describe(), plan.every, unit)
    division = Division(text, plan)
    return Part(division, held_out=False), Part(division, held_out=True)


@dataclass(frozen=True)
class _Plan:
    """Units are documents or blocks of `size` lines; the last of each `every` units is held out."""

    by_documents: bool
    size: int
    every: int


@dataclass(frozen=True)
class Division:
    """A text in two parts: iterating reads both at once and gives each line with whether it is held out."""

    text: TextLike
    plan: _Plan

    def __iter__(self) -> Iterator[tuple[bool, Line]]:
        last_held = None
        # A document may begin in the other part, so the next line in this part begins a document.
        starts = {False: False, True: False}
        for line, documents, lines in _numbered(self.text):
            unit = max(0, (documents - 1 if self.plan.by_documents else (lines - 1) // self.plan.size))
            if line.starts_document:
                starts = {False: True, True: True}
            held_out = unit % self.plan.every == self.plan.every - 1
            begins = starts[held_out] or (held_out and unit != last_held)
            yield held_out, line if begins == line.starts_document else replace(line, starts_document=begins)
            starts[held_out] = False
            last_held = unit if held_out else last_held


@dataclass(frozen=True)
class Part:
    """The held-out lines of a text, or the others."""

    division: Division
    held_out: bool

    def __iter__(self) -> Iterator[Line]:
        return (line for held_out, line in self.division if held_out == self.held_out)

    def blocks(self) -> Iterator[Line | LineBlock]:
        """Line by line, since a text is divided by lines."""
        return iter(self)

    def fingerprint(self) -> str:
        text, plan = self.division.text, self.division.plan
        return hashlib.sha256(f"{text.fingerprint()} {plan} {self.held_out}".encode()).hexdigest()

    def describe(self) -> str:
        plan = self.division.plan
        share = f"1 in {plan.every} " + ("documents" if plan.by_documents else "lines")
        return f"{self.division.text.describe()} ({share if self.held_out else 'without ' + share})"


def _count(text: TextLike) -> tuple[int, int]:
    _, documents, lines = deque(_numbered(text), maxlen=1).pop()
    return documents, lines


def _numbered(text: TextLike) -> Iterator[tuple[Line, int, int]]:
    """Each Line with the number of documents and of lines so far, including itself.

    Blank lines and blank documents count with the text before them, so that every unit has text.
    """
    documents = lines = 0
    counted = fresh = False
    for line in text:
        fresh = fresh or line.starts_document
        if line.num_words and not counted:
            documents += fresh
            lines += 1
            counted, fresh = True, False
        counted = counted and line.continues
        yield line, documents, lines
