"""Columns for regressions: sizes, frequencies, and values of previous words."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.corpus.readers import Text
from lmkit.errors import UsageError
from lmkit.evaluation.frequencies import WordFrequencies
from lmkit.evaluation.predictors import Predictors, column_types
from lmkit.evaluation.records import ADDED, LineRecords, column_names

FREQUENCIES = WordFrequencies({"the": 3, "cat": 1}, 4)


def records(line: int, row: int, texts: list[str], bits: list[float]) -> LineRecords:
    zeros = [0] * len(texts)
    return LineRecords(
        line,
        {"start": zeros, "end": zeros, "text": texts, "surprisal": bits, "oov": [False] * len(texts)},
        row=row,
    )


def test_frequencies_are_those_of_words_between_white_space() -> None:
    """Counted as surprisal counts words, and smoothed by one, so that a new word has a frequency too."""
    found = WordFrequencies.of(Text.from_lines(["the cat  the\tmat", "", "The\u00a0cat the"]).blocks())
    assert found.counts == {"the": 3, "cat": 1, "mat": 1, "The\u00a0cat": 1}
    assert found.tokens == 6
    assert found.log2("the") == pytest.approx(math.log2(4 / 10))
    assert found.log2("zorp") == pytest.approx(math.log2(1 / 10))


def test_sizes_and_frequencies_of_records() -> None:
    """A record without text, such as the line's end, has no length, no frequency and no mean."""
    chosen = Predictors(("log_frequency", "length", "mean", "words"), FREQUENCIES)
    types = column_types(chosen.add, 0, entropy=False, rank=False)
    names = column_names(entropy=False, rank=False, more=types)
    assert names[6:-1] == ("words", "mean", "length", "log_frequency")
    (found,) = chosen.columns([records(1, 1, ["the", "a cat", ""], [3.0, 5.0, 1.0])], names)
    assert list(found.columns) == list(names[1:-1])
    assert found.columns["words"] == [1, 2, 0]
    assert found.columns["mean"] == [3.0, 2.5, None]
    assert found.columns["length"] == [3, 5, None]
    assert found.columns["log_frequency"] == [math.log2(4 / 6), math.log2(1 / 6), None]


ROWS = st.lists(st.lists(st.lists(st.sampled_from(["a", "bb", ""]), max_size=4), max_size=3), max_size=4)


@given(rows=ROWS, spillover=st.integers(1, 3))
def test_spillover_is_that_of_previous_words_of_the_row(rows: list[list[list[str]]], spillover: int) -> None:
    """Brute force over rows of several lines: values never cross rows, and are missing at their beginning."""
    chosen = Predictors(("length",), spillover=spillover)
    types = column_types(chosen.add, spillover, entropy=False, rank=False)
    names = column_names(entropy=False, rank=False, more=types)
    lines, wanted = [], []
    number = bits = 0
    for row, of_row in enumerate(rows, 1):
        before: list[tuple[int, int]] = []
        for texts in of_row:
            number += 1
            values = list(range(bits, bits + len(texts)))
            bits += len(texts)
            lines.append(records(number, row, texts, [float(value) for value in values]))
            for text, value in zip(texts, values, strict=True):
                last = before[::-1][:spillover]
                wanted.append(last + [(None, None)] * (spillover - len(last)))
                if text:
                    before.append((value, len(text)))
    found = list(chosen.columns(lines, names))
    for back in range(spillover):
        for column, place in (("surprisal", 0), ("length", 1)):
            got = [value for one in found for value in one.columns[f"{column}_{back + 1}"]]
            assert got == [pairs[back][place] for pairs in wanted]


def test_spillover_goes_through_the_rows_of_a_sentence() -> None:
    """Regions of a sentence are rows of one line: the previous word may be in the region before."""
    chosen = Predictors(spillover=1)
    types = column_types((), 1, entropy=False, rank=False)
    names = column_names(entropy=False, rank=False, more=types)
    lines = [records(1, 1, ["a"], [1.0]), records(1, 2, ["b"], [2.0]), records(2, 3, ["c"], [3.0])]
    found = chosen.columns(lines, names)
    assert [one.columns["surprisal_1"] for one in found] == [[None], [1.0], [None]]


def test_columns_that_cannot_be_added() -> None:
    """An unknown name has a suggestion; frequencies have to come from somewhere."""
    with pytest.raises(UsageError, match=r"--add lenght: no such column.*length"):
        Predictors(("lenght",))
    with pytest.raises(UsageError, match="--frequencies"):
        Predictors(("log_frequency",))
    assert set(column_types(ADDED, 1, entropy=True, rank=True)) > set(ADDED)
