"""Give the records of a line to its parts: rows that make one sentence, and a prefix that has no records."""

from collections.abc import Iterator

import numpy as np

from lmkit.contracts import Encoding
from lmkit.corpus.lines import Part
from lmkit.corpus.words import WHITE_SPACE
from lmkit.errors import DataError
from lmkit.evaluation.records import LineRecords
from lmkit.evaluation.units import Units, cores_of
from lmkit.scoring.measured_lines import RawLine


class RegionError(DataError):
    """A part of a line that cannot be scored. row: its row; problem: with the remedy."""

    def __init__(self, line: RawLine, place: int, problem: str) -> None:
        """place: in the line, where the part begins."""
        part = next((part for part in reversed(line.parts) if part.start <= place), None)
        self.row = line.row if part is None else part.row
        self.problem = problem
        super().__init__(f"row {self.row}: {problem}")


PREFIX = -1
"""The owner of units in the prefix."""


def parts_of(line: RawLine) -> tuple[Part, ...]:
    """The parts of a line that have records: its rows, or all of it after the prefix."""
    return line.parts or (Part(line.prefix, len(line.text), line.row, line.kept),)


def owners_of(line: RawLine, units: Units, encoding: Encoding) -> np.ndarray:
    """(units,) the index in `parts_of` of each unit's part, or PREFIX; white space belongs to the part before it.

    Raises DataError for a unit of two parts.
    """
    starts, owners = _beginnings(line, parts_of(line))
    if not len(starts):
        return np.full(len(units.first), len(parts_of(line)) - 1)
    spans = np.stack([units.start, units.end], 1)
    place = np.searchsorted(starts, cores_of(line.text, spans)[:, 0], side="right") - 1
    ends = np.append(starts[1:], len(line.text))[place]
    if (cut := np.flatnonzero(units.end > ends)).size:
        start, end = spans[cut[0]].tolist()
        raise _cut_error(line, int(ends[cut[0]]), line.text[start:end])
    found = owners[place]
    found[units.first == len(encoding.ids)] = len(parts_of(line)) - 1  # `</s>`
    return found


def cut_regions(line: RawLine, words: Units, encoding: Encoding) -> tuple[Units, np.ndarray]:
    """One unit for the prefix, if there is one, and each part with any text, then `</s>`; and their owners.

    words: the units of words, whose sums these are where a part begins with a word. Raises DataError for a part
    that begins inside a token.
    """
    starts, owners = _beginnings(line, parts_of(line))
    return _cut(line, starts, words, encoding), np.append(owners, len(parts_of(line)) - 1)


def cut_after_prefix(line: RawLine, words: Units, encoding: Encoding) -> Units:
    """One unit with all of a line after its prefix, including `</s>`; words: as in `cut_regions`."""
    rest = Part(line.prefix, len(line.text), line.row)
    units = _cut(line, _beginnings(line, (rest,))[0], words, encoding)
    after = units.taken(np.arange(len(units.first)) == 1)
    start = np.array([line.prefix])
    return Units(after.first, units.last[-1:], start, units.end[-1:], after.corrected)


def _cut(line: RawLine, starts: np.ndarray, words: Units, encoding: Encoding) -> Units:
    """Units from each of the places of a line to the next, then `</s>`."""
    count = len(encoding.ids)
    cores = cores_of(line.text, encoding.spans)
    firsts: list[int] = []
    for start in starts.tolist():
        word = np.flatnonzero(words.start == start)
        if not firsts:
            firsts.append(0)
        elif len(word):
            firsts.append(int(words.first[word[0]]))
        else:
            firsts.append(int(np.searchsorted(cores[:, 0], start)))
            for a, b in cores[: firsts[-1]][-1:].tolist():  # the token before, if there is one
                if b > start:
                    raise _cut_error(line, start, line.text[a:b])
    first = np.array([*firsts, count], np.int64)
    bounds = np.append(starts, len(line.text))
    for place in np.flatnonzero(first[:-1] >= first[1:]).tolist():
        text = line.text[bounds[place] : bounds[place + 1]].strip(WHITE_SPACE)
        raise RegionError(
            line,
            int(bounds[place]),
            f"the tokenizer has no token for {text!r}; leave it out, or use a model of characters or bytes",
        )
    corrected = None if words.corrected is None else (first > 0) & np.isin(first, words.first)
    last = np.append(first[1:], count + 1)
    return Units(first, last, bounds, np.append(bounds[1:], len(line.text)), corrected)


def distribute(
    records: LineRecords, line: RawLine, owners: np.ndarray, *, regions: bool = False
) -> Iterator[LineRecords]:
    """The records of each part of a line, with its row and its kept values; those of the prefix are left out.

    records: of all units of the line, with places in `line.text`; these become places in the row. owners: (units,),
    ascending. regions: each part has one record, its own text and place, and `</s>` has none.
    """
    names = tuple(records.kept)
    for index, part in enumerate(parts_of(line)):
        kept = dict(zip(names, part.kept, strict=True))
        first, last = np.searchsorted(owners, [index, index + 1]).tolist()
        if regions:
            last = min(last, first + 1, len(owners) - 1)
            if first == last:
                columns = {name: [_NOTHING.get(name)] for name in records.columns}
            else:
                columns = {name: values[first:last] for name, values in records.columns.items()}
            text = line.text[part.start : part.end]
            columns |= {"start": [0], "end": [len(text)], "text": [text]}
        elif first == last:
            continue
        else:
            columns = {name: values[first:last] for name, values in records.columns.items()}
            places = list(zip(columns["start"], columns["end"], strict=True))
            inside = [
                (min(max(start, part.start), part.end), min(max(end, part.start), part.end))
                for start, end in places
            ]
            # White space between two rows is in neither of them.
            columns["text"] = [
                line.text[a:b] if a < b else line.text[start:end]
                for (a, b), (start, end) in zip(inside, places, strict=True)
            ]
            columns["start"] = [a - part.start for a, _ in inside]
            columns["end"] = [b - part.start for _, b in inside]
        yield LineRecords(records.line, columns, row=part.row, kept=kept)


_NOTHING = {"surprisal": 0.0, "oov": False, "words": 0}
"""The values of a region without text; others are missing."""


def _beginnings(line: RawLine, parts: tuple[Part, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The places where the prefix and each part that has any text begin, without white space, and their owners.

    White space at the beginning of the line belongs to the first of them.
    """
    stretches = [(0, line.prefix, PREFIX)] if line.prefix else []
    stretches += [(part.start, part.end, index) for index, part in enumerate(parts)]
    filled = [
        (end - len(text), owner)
        for start, end, owner in stretches
        if (text := line.text[start:end].lstrip(WHITE_SPACE))
    ]
    starts, owners = np.array(filled, np.int64).reshape(-1, 2).T
    starts[:1] = 0
    return starts, owners


def _cut_error(line: RawLine, place: int, text: str) -> RegionError:
    return RegionError(
        line,
        place,
        f"it begins inside {text!r}, whose parts have no probability of their own here; move the boundary or put a "
        "space there, or use --by token, or a model of characters or bytes",
    )
