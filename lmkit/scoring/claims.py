"""Test the claim of a tokenizer that ids and residual bits distinguish lines."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from lmkit.contracts import Tokenizer
from lmkit.corpus.words import WHITE_SPACE

UNSEEN_LETTERS = "qxzjvkwb"
UNSEEN_LENGTH = 4
"""Letters of made-up words: strings of this length, 4096 of them."""
TESTED_LINES = 1000
"""Number of lines of a text on which a claim is tested."""
VARIED_LINES = 8
"""Number of these lines whose variants are also tested; made-up words are tested in the first one."""
LONGEST_TESTED = 10_000
"""Characters of a line that are tested, since it has thousands of variants."""
TOLERANCE = 1e-6

_ODD = ("7", "\u00e9", "e\u0301", "\u4e2d", "\U0001f600", ".", "\u200b", "\u00a0", "\x0b", "\ufb01", "_", "A")
"""Characters that tokenizers drop or change: digits, accents, marks, invisible characters."""


@dataclass(frozen=True)
class Violation:
    """Lines with the same ids whose residual codes are too short to distinguish them."""

    lines: tuple[str, str]
    bits: tuple[float, float]

    def __str__(self) -> str:
        (first, second), (a, b) = self.lines, self.bits
        return f"{first!r} and {second!r} have the same ids and cost {a:.3g} and {b:.3g} residual bits"


def violation(tokenizer: Tokenizer, lines: Iterable[str], block: Sequence[str] = ()) -> Violation | None:
    """The first lines with the same ids that no code of these lengths distinguishes: sum of 2^-bits above 1 (Kraft).

    block: further lines, encoded all at once, which is faster.
    """
    groups: dict[bytes, dict[str, float]] = defaultdict(dict)
    masses: dict[bytes, float] = defaultdict(float)
    for line, ids, bits in itertools.chain(_each(tokenizer, lines), _at_once(tokenizer, block)):
        key = np.asarray(ids, np.int64).tobytes()
        if line in groups[key]:
            continue
        groups[key][line] = bits
        # An impossible length of a code counts as no bits.
        masses[key] += 2.0 ** -max(bits, -1.0) if not math.isnan(bits) else 2.0
        if masses[key] > 1 + TOLERANCE and len(groups[key]) > 1:
            cheapest = sorted(groups[key], key=lambda line, group=groups[key]: group[line])[:2]
            return Violation((cheapest[0], cheapest[1]), (groups[key][cheapest[0]], groups[key][cheapest[1]]))
    return None


def _each(tokenizer: Tokenizer, lines: Iterable[str]) -> Iterator[tuple[str, np.ndarray, float]]:
    """Lines with their ids and residual bits."""
    for line in lines:
        ids = tokenizer.ids(line)
        yield line, ids, tokenizer.residual_bits(line, ids)


def _at_once(tokenizer: Tokenizer, lines: Sequence[str]) -> Iterator[tuple[str, np.ndarray, float]]:
    """The same of lines without line ends, by the functions for blocks."""
    if lines:
        raw = "\n".join(lines).encode()
        ids, ends = tokenizer.block_ids(raw)
        residual = tokenizer.block_residual(raw, ids, ends)[:, 0].tolist()
        rows = (row[:-1] for row in np.split(ids, ends[:-1]))  # without </s>
        yield from zip(lines, rows, residual, strict=True)


def variants(tokenizer: Tokenizer, line: str) -> Iterator[str]:
    """The line, the text of its ids, and variants of the line in details that tokenizers often drop."""
    yield line
    yield tokenizer.decode(tokenizer.ids(line).tolist())
    for space in WHITE_SPACE.replace("\n", ""):
        yield line.replace(" ", space)
        yield line.replace(" ", f" {space}")
        yield f"{space}{line}"
        yield f"{line}{space}"
    yield from (line.swapcase(), line.lower(), line.upper(), line.title(), line[:-1], line[1:], line[::-1])
    before, _, last = line.rpartition(" ")
    for odd in _ODD:
        yield from (f"{line}{odd}", f"{line} {odd}", f"{before} {last[:1]}{odd}{last[1:]}")


def made_up(line: str) -> list[str]:
    """The last word of a line but one, followed by each of 4096 made-up words."""
    neighbour = line.rpartition(" ")[0].split(" ")[-1]
    words = itertools.product(UNSEEN_LETTERS, repeat=UNSEEN_LENGTH)
    return [f"{neighbour} {''.join(letters)}" for letters in words]


class Claim:
    """Whether a tokenizer's residual bits are valid on the tested lines."""

    def __init__(self) -> None:
        self.violation: Violation | None = None
        self._tested = 0

    @property
    def tested(self) -> bool:
        """Whether nothing is left to test."""
        return self.violation is not None or self._tested >= TESTED_LINES

    def test(self, tokenizer: Tokenizer, line: str, ids: np.ndarray) -> None:
        """Test the claim on a line, one of the first `TESTED_LINES`."""
        if self.tested or not line.strip():
            return
        self._tested += 1
        if len(line) > LONGEST_TESTED:
            line = line[:LONGEST_TESTED]
            ids = tokenizer.ids(line)
        if self._tested <= VARIED_LINES:
            block = made_up(line) if self._tested == 1 else []
            self.violation = violation(tokenizer, variants(tokenizer, line), block)
        elif (
            restored := tokenizer.decode(ids.tolist())
        ) != line:  # else no other line is known to have these ids
            self.violation = violation(tokenizer, (line, restored))


_CLAIMS: WeakKeyDictionary[Tokenizer, Claim] = WeakKeyDictionary()


def claim_of(tokenizer: Tokenizer) -> Claim:
    """The claim of a tokenizer, with the tests so far."""
    return _CLAIMS.setdefault(tokenizer, Claim())
