"""The infini-gram model gives the counts after the longest context that its text has, by brute force."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_ngram.infinite import InfiniGramModel
from lmkit_ngram.infinite_options import InfiniteOptions

import lmkit
from lmkit.contracts import FitContext, Vocabulary
from lmkit.corpus.store import TokenStore
from lmkit.errors import ModelError
from lmkit.studies.interpolate import interpolate

EOS, UNKNOWN, START, SIZE = 0, 1, 6, 6
VOCABULARY = Vocabulary(SIZE, EOS, UNKNOWN, "small")
WORDS = st.integers(2, SIZE - 1)
LINES = st.lists(st.lists(WORDS, max_size=7), min_size=1, max_size=8)


def model(lines: list[list[int]], longest: int = 119, occurrences: int = 1) -> InfiniGramModel:
    options = InfiniteOptions(occurrences=occurrences, longest=longest)
    found = InfiniGramModel(options, VOCABULARY)
    store = TokenStore.from_lines([np.array([*line, EOS]) for line in lines], VOCABULARY)
    found.fit(store, FitContext(seed=0, progress=lambda items, **_: items, threads=1))
    return found


def followers(lines: list[list[int]], context: list[int]) -> list[int]:
    """The words that follow each occurrence of a context."""
    size = len(context)
    rows = [[START, *line, EOS] for line in lines]
    if not size:
        return [word for row in rows for word in row[1:]]
    return [row[i + size] for row in rows for i in range(len(row) - size) if row[i : i + size] == context]


def definition(lines: list[list[int]], before: list[int], longest: int, occurrences: int) -> list[float]:
    """The logarithm of each word's share of the words after the longest end of `before` that occurs often enough."""
    ends = [before[len(before) - size :] for size in range(min(longest, len(before)), -1, -1)]
    found = next(words for end in ends if len(words := followers(lines, end)) >= (occurrences if end else 1))
    shares = [found.count(word) / len(found) for word in range(SIZE)]
    return [math.log(share) if share else -math.inf for share in shares]


@given(
    lines=LINES,
    read=st.lists(st.integers(0, SIZE - 1), max_size=9),
    longest=st.sampled_from([1, 2, 3, 119]),
    occurrences=st.integers(1, 3),
)
@settings(max_examples=60)
def test_definition(lines: list[list[int]], read: list[int], longest: int, occurrences: int) -> None:
    """After any words, seen or not and unknown ones too, rows and scores are the definition's, and rows sum to one."""
    found = model(lines, longest, occurrences)
    for start in (True, False):
        state, before = found.initial_state(1, start=start), [START] * start
        for word in read:
            row = found.next_log_probs(state)[0]
            wanted = definition(lines, before, longest, occurrences)
            np.testing.assert_allclose(row.numpy(), wanted, rtol=1e-6, atol=1e-6)
            assert float(row.exp().sum()) == pytest.approx(1, abs=1e-6)
            scores, state = found.log_probs(torch.tensor([[word]]), state)
            assert float(scores[0, 0]) == pytest.approx(wanted[word], abs=1e-6)
            before = [START] if word == EOS else [*before, word]


@given(lines=LINES, ids=st.lists(WORDS, max_size=5))
@settings(max_examples=60)
def test_counts(lines: list[list[int]], ids: list[int]) -> None:
    """Counts of n-grams, at the beginning and at the end of lines too."""
    found = model(lines, 2)
    rows = [[START, *line, EOS] for line in lines]
    for gram in (ids, [START, *ids], [*ids, EOS]):
        places = [row[i : i + len(gram)] == gram for row in rows for i in range(len(row))]
        assert found.count(gram) == (sum(places) if gram else sum(len(line) + 1 for line in lines))


def test_a_run(tmp_path: Path) -> None:
    """It trains, loads, scores and mixes by the ordinary commands; a mixture has no probability of zero."""
    text = tmp_path / "train.txt"
    text.write_text("the cat sat on the mat\nthe cat ran\na dog sat on the mat\n" * 3, encoding="utf-8")
    runs = [tmp_path / name for name in ("infini", "kn")]
    lmkit.train(text, model="infini-gram", out=runs[0])
    lmkit.train(text, model={"name": "ngram", "order": 2}, out=runs[1])
    loaded = lmkit.load(runs[0])
    assert loaded.count(["the", "cat"]) == 6
    assert loaded.top_k(["on", "the"], k=1)[0][0] == "mat"
    assert loaded.score(["the cat sat"]).perplexity is None
    interpolate(runs, [text], tmp_path / "both")
    assert lmkit.load(tmp_path / "both").score(["the cat sat"]).perplexity is not None


def test_damage(tmp_path: Path) -> None:
    """Positions outside the text, and files of another size, are refused before anything reads there."""
    model([[2, 3], [2, 4]]).save(tmp_path)
    file = tmp_path / "ngram" / "positions.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-8] + np.array([10**6, -5], "<i4").tobytes())
    damaged = InfiniGramModel.load(tmp_path, InfiniteOptions(), VOCABULARY)
    with pytest.raises(ModelError, match="damaged"):
        damaged.next_log_probs(damaged.initial_state(1))
    file.write_bytes(whole[:-4])
    with pytest.raises(ModelError, match="bytes"):
        InfiniGramModel.load(tmp_path, InfiniteOptions(), VOCABULARY)
