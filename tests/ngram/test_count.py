"""Counting: the n-grams of every order, their links and counts, against plain Python."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_ngram import count as counting
from lmkit_ngram.count import count_ngrams
from lmkit_ngram.model_files import Allocator
from lmkit_ngram.sorting import quicksort, radix_sort
from lmkit_ngram.suffix_sort import COUNTED
from lmkit_ngram.table import NgramTable

from lmkit.errors import DataError

EOS = 0

Gram = tuple[int, ...]

texts = st.integers(2, 9).flatmap(
    lambda size: st.tuples(
        st.just(size), st.lists(st.lists(st.integers(1, size - 1), max_size=9), min_size=1, max_size=12)
    )
)
"""A vocabulary's size and lines of its words, without `</s>`; blank lines too."""


def stored(lines: list[list[int]]) -> np.ndarray:
    return np.array([word for line in lines for word in (*line, EOS)], np.int32)


def raw_counts(lines: list[list[int]], start: int, order: int) -> Counter[Gram]:
    counts: Counter[Gram] = Counter()
    for line in lines:
        words = (start, *line, EOS)
        counts.update(
            words[i:j] for i in range(len(words)) for j in range(i + 1, len(words) + 1) if j - i <= order
        )
    del counts[(start,)]  # never predicted
    return counts


def adjusted_counts(lines: list[list[int]], start: int, order: int) -> dict[Gram, int]:
    """Distinct words before an n-gram; raw for the longest and for what begins with `<s>`."""
    raw = raw_counts(lines, start, order)
    before: dict[Gram, set[int]] = defaultdict(set)
    for gram in raw_counts(lines, start, order + 1):
        before[gram[1:]].add(gram[0])
    return {
        gram: count if len(gram) == order or gram[0] == start else len(before[gram])
        for gram, count in raw.items()
    }


def grams(table: NgramTable) -> list[Gram]:
    """The words of each n-gram, by its id."""
    found: list[Gram] = [(word,) for word in range(table.vocab_size + 1)] + [()] * (
        table.total - table.vocab_size - 1
    )
    for parent in range(table.contexts):
        for child in range(table.children[parent], table.children[parent + 1]):
            found[child] = (*found[parent], int(table.words[child]))
    return found


@settings(max_examples=150, deadline=None)
@given(texts, st.integers(1, 7), st.booleans(), st.integers(1, 2))
def test_counts_are_those_of_the_definition(text, order, continuation, threads):
    """Every n-gram of the text is there once, under its prefix, with its suffix's id and its counts."""
    size, lines = text
    counted = count_ngrams(
        stored(lines), len(lines), size, EOS, order, continuation=continuation, with_raw=True, threads=threads
    )
    table, found = counted.table, grams(counted.table)
    raw = raw_counts(lines, size, order)
    wanted = adjusted_counts(lines, size, order) if continuation else raw
    assert len(set(found)) == len(found)
    assert {gram for gram in found if len(gram) > 1} == {gram for gram in raw if len(gram) > 1}
    assert counted.raw is not None
    for i, gram in enumerate(found):
        assert counted.counts[i] == wanted.get(gram, 0)
        assert counted.raw[i] == raw.get(gram, 0)
        assert table.suffixes[i] == (found.index(gram[1:]) if len(gram) > 1 else -1)
    words = table.words.tolist()
    for parent in range(table.contexts):
        siblings = words[table.children[parent] : table.children[parent + 1]]
        assert siblings == sorted(siblings)


@settings(max_examples=60, deadline=None)
@given(texts, st.integers(1, 7))
def test_positions_are_sorted_by_the_words_that_follow(text, order):
    """As deep as the order, and no further than `</s>`."""
    size, lines = text
    index = count_ngrams(stored(lines), len(lines), size, EOS, order, continuation=True).index
    assert index is not None
    words = index.text.tolist()

    def key(position: int) -> list[int]:
        end = words.index(EOS, position) + 1
        return words[position : min(end, position + order)]

    keys = [key(position) for position in index.positions.tolist()]
    assert keys == sorted(keys)
    assert sorted(index.positions.tolist()) == [i for i, word in enumerate(words) if word != EOS]


def test_the_deepest_order_and_large_groups():
    """Words that repeat without end are one group at every depth; thousands of equal pairs are sorted by counting."""
    rng = np.random.default_rng(0)
    lines = [rng.integers(1, 3, 40).tolist() for _ in range(300)] + [[1] * 500]
    counted = count_ngrams(stored(lines), len(lines), 3, EOS, 30, continuation=True)
    wanted = adjusted_counts(lines, 3, 30)
    found = grams(counted.table)
    assert {g: int(c) for g, c in zip(found, counted.counts, strict=True) if len(g) > 1} == {
        gram: count for gram, count in wanted.items() if len(gram) > 1
    }


def test_a_large_bucket_is_split_by_second_words():
    """The positions of a very frequent word are counted apart by the next word, then sorted."""
    rng = np.random.default_rng(1)
    lines = [[1, int(a), 1, int(b), 2] for a, b in (rng.zipf(1.3, (COUNTED * 3 // 5, 2)) % 29 + 1)]
    counted = count_ngrams(stored(lines), len(lines), 31, EOS, 3, continuation=True, threads=2)
    assert np.bincount(stored(lines))[1] > COUNTED
    wanted = adjusted_counts(lines, 31, 3)
    for gram, count in zip(grams(counted.table), counted.counts.tolist(), strict=True):
        assert count == wanted.get(gram, 0)


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 5), min_size=1, max_size=200))
@settings(deadline=None)
def test_sorts(numbers):
    """Keys come out sorted, each with its value, by either method."""
    for method in ("quick", "radix"):
        keys = np.array(numbers, np.uint64)
        values = np.arange(len(keys), dtype=np.int32)
        if method == "quick":
            quicksort(keys, values, len(keys), np.empty(256, np.int64))
        else:
            radix_sort(keys, values, len(keys), 64, np.empty_like(keys), np.empty_like(values))
        assert keys.tolist() == sorted(numbers)
        assert [numbers[i] for i in values.tolist()] == sorted(numbers)


def test_arrays_may_live_in_files(tmp_path):
    """An allocator over a folder gives the same table, from mapped files."""
    tokens = stored([[1, 2, 3], [2, 3], [1, 2, 2, 3]])
    memory = count_ngrams(tokens, 3, 4, EOS, 3, continuation=True)
    mapped = count_ngrams(tokens, 3, 4, EOS, 3, continuation=True, allocate=Allocator(tmp_path))
    np.testing.assert_array_equal(memory.counts, mapped.counts)
    assert (tmp_path / "words.npy").exists()


def test_a_text_that_is_too_long_is_refused(monkeypatch):
    """Ids and positions are int32: one line says so, before anything is allocated."""
    monkeypatch.setattr(counting, "MOST_IDS", 5)
    with pytest.raises(DataError, match="count it in parts with --memory"):
        count_ngrams(stored([[1, 2, 3]] * 2), 2, 4, EOS, 3, continuation=True)
