"""The distance task: sentences whose last words follow from a cause any number of clauses away."""

import hashlib
import random
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache

from lmkit.corpus.distance_words import LANGUAGES, Language, Triple
from lmkit.errors import DataError, suggest

PREFIX = "distances:"
CAUSES = ("left", "right", "either")
PARTS = ("train", "test")
CONTROLS = ("left-out", "swapped")

MENTIONS = 0.4
"""The share of distractor clauses with an object in no bad state, so that finding an object is not enough."""
MOST_OPENINGS = 2
TEST_SHARE = 5
"""One in this many distractor clauses is kept for the test part."""
MOST_CLAUSES = 10_000
MOST_SENTENCES = 10**9

_SLOT = re.compile(r"\{(\w)\}")


@dataclass(frozen=True)
class DistanceText:
    """A text of the task, given by its name: `distances:zh,farthest=10,count=40000,cause=left,seed=1,part=train`."""

    language: str
    farthest: int = 10
    """The largest number of distractor clauses between the cause and the consequence; the smallest is 0."""
    count: int = 40_000
    cause: str = "left"
    seed: int = 0
    part: str = "train"

    @classmethod
    def parse(cls, name: str) -> "DistanceText":
        """Parse a name; DataError, with the known names, if it is invalid."""
        language, *settings = name.removeprefix(PREFIX).split(",")
        if language not in LANGUAGES:
            known = ", ".join(PREFIX + known for known in LANGUAGES)
            raise DataError(f"{name}: the distance task has no language '{language}'; use one of {known}")
        text = cls(language)
        for setting in settings:
            key, found, value = setting.partition("=")
            text = replace(text, **{key: cls._value(name, key, value if found else "")})
        return text

    @classmethod
    def _value(cls, name: str, key: str, value: str) -> int | str:
        keys = [item.name for item in fields(cls)][1:]
        if key not in keys:
            raise DataError(f"{name}: unknown setting '{key}'; {suggest(key, keys)}")
        choices = {"cause": CAUSES, "part": PARTS}.get(key)
        if choices is not None:
            if value not in choices:
                raise DataError(f"{name}: {key} is '{value}'; give one of {', '.join(choices)}")
            return value
        least, most = {"farthest": (0, MOST_CLAUSES), "count": (1, MOST_SENTENCES)}.get(key, (0, 2**63))
        if not value.isdecimal() or not least <= int(value) <= most:
            raise DataError(f"{name}: {key} is '{value}'; give a whole number from {least} to {most}")
        return int(value)

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        """Generate the sentences, each with the characters [start, end) of its answer.

        Equal names give equal sentences.
        """
        dice = random.Random(f"{self.language}/{self.seed}/{self.part}/{self.cause}")
        writer = _Writer(LANGUAGES[self.language], self.part, dice)
        consequences = answers(self.language)
        for _ in range(self.count):
            item = writer.item(dice.randint(0, self.farthest), self.cause)
            start, answer = len(item.before), consequences[item.answer]
            yield item.before + answer + item.after, start, start + len(answer)

    def digest(self) -> str:
        """Equal for equal text."""
        return hashlib.sha256(f"{self!r} {LANGUAGES[self.language]!r} 1".encode()).hexdigest()


@dataclass(frozen=True)
class Item:
    """A sentence with a blank: `before + answers(language)[answer] + after`.

    clauses: distractors between the cause and the conclusion. words: from the object to the blank, with the object
    and without the blank: a model that sees n words before the blank sees the object if words <= n.
    original: the answer without the control, which differs if the cause was swapped.
    """

    before: str
    answer: int
    after: str
    clauses: int
    words: int
    original: int


@cache
def answers(language: str) -> tuple[str, ...]:
    """The consequences, one of which is right."""
    return tuple(triple.consequence for triple in LANGUAGES[language].triples)


def items(
    language: str,
    clauses: int,
    count: int,
    *,
    seed: int = 0,
    cause: str = "left",
    control: str | None = None,
    part: str = "test",
) -> Iterator[Item]:
    """`count` sentences with a blank, all at one distance; equal arguments give equal items.

    control: "left-out" has no cause, so no answer is right more often than another; "swapped" has the cause of
    another consequence, which is then the answer.
    """
    for number in range(count):
        dice = random.Random(f"{language}/{seed}/{part}/{cause}/{clauses}/{number}")
        yield _Writer(LANGUAGES[language], part, dice).item(clauses, cause, control)


class _Writer:
    """Generates random sentences of a language."""

    def __init__(self, language: Language, part: str, dice: random.Random) -> None:
        self._language = language
        self._part = part
        self._dice = dice

    def item(self, clauses: int, cause: str, control: str | None = None) -> Item:
        language, dice = self._language, self._dice
        original = dice.randrange(len(language.triples))
        other = (original + dice.randrange(1, len(language.triples))) % len(language.triples)
        answer = other if control == "swapped" else original
        is_left = cause == "left" or (cause == "either" and dice.random() < 0.5)
        openings = [self._distractor() for _ in range(dice.randint(0, MOST_OPENINGS))]
        between = [self._distractor() for _ in range(clauses)]
        conclusion = self._filled(dice.choice(language.conclusions))
        triple = language.triples[answer]
        told = self._cause(triple)
        reason = [] if control == "left-out" else [told]
        if is_left:
            before = self._joined([*openings, *reason, *between, f"{language.so} {conclusion}"])
            # Counted from the right, the last object is found: words after the cause may mention it too.
            tail = self._joined([told, *between, f"{language.so} {conclusion}"]).split()
            words = len(tail) - tail.index(triple.object)
            return Item(f"{before} ", answer, f" {language.stop}", clauses, words, original)
        before = self._joined([*openings, conclusion])
        told = f"{language.because} {told}"
        tail = self._joined(["", *between, told])
        after = self._joined(["", *between, *([told] if reason else [])])
        words = len(tail.split()) - told.split()[::-1].index(triple.object)
        return Item(f"{before} ", answer, f"{after} {language.stop}", clauses, words, original)

    def _joined(self, clauses: list[str]) -> str:
        return f" {self._language.comma} ".join(clauses)

    def _cause(self, triple: Triple) -> str:
        language = self._language
        templates = language.causes + (language.deeds if triple.transitive else ())
        return self._filled(self._dice.choice(templates), triple)

    def _distractor(self) -> str:
        """A clause of this part; train and test have none in common."""
        language, dice = self._language, self._dice
        while True:
            mentions = dice.random() < MENTIONS
            template = dice.choice(language.neutral if mentions else language.scenes)
            clause = self._filled(template, dice.choice(language.triples))
            if part_of(clause, language) == self._part:
                return clause

    def _filled(self, template: str, triple: Triple | None = None) -> str:
        def word(slot: re.Match[str]) -> str:
            if triple is not None and slot[1] in "op":
                return triple.object if slot[1] == "o" else triple.state
            return self._dice.choice(self._language.fillers[slot[1]])

        return _SLOT.sub(word, template)


def part_of(clause: str, language: Language) -> str:
    """The part that a distractor clause belongs to, whatever the seed."""
    held_out = clause in language.held_out or zlib.crc32(clause.encode()) % TEST_SHARE == 0
    return "test" if held_out else "train"
