"""Entropy pruning drops n-grams that change the model least, and none that others need."""

import math
import random
import runpy
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lmkit_ngram.count import count_ngrams
from lmkit_ngram.entropy import entropy_prune
from lmkit_ngram.options import NgramOptions
from lmkit_ngram.smoothing import counts_needed, estimate
from lmkit_ngram.table import NgramTable

brute = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("brute.py"))))

Gram = tuple[int, ...]

SMOOTHED = [
    NgramOptions(),
    NgramOptions(smoothing="kneser-ney", interpolate=False),
    NgramOptions(smoothing="add-k", k=0.1),
    NgramOptions(smoothing="witten-bell"),
    NgramOptions(smoothing="mle"),
]

texts = st.integers(2, 5).flatmap(
    lambda size: st.tuples(
        st.just(size), st.lists(st.lists(st.integers(1, size - 1), max_size=7), min_size=1, max_size=8)
    )
)


def estimated(lines: list[list[int]], vocab_size: int, order: int, options: NgramOptions) -> NgramTable:
    options = NgramOptions(order, options.smoothing, options.interpolate, options.k)
    tokens = np.array([word for line in lines for word in (*line, brute.EOS)], np.int32)
    counted = count_ngrams(
        tokens, len(lines), vocab_size, brute.EOS, order, continuation=counts_needed(options.smoothing)
    )
    estimate(counted, options)
    return counted.table


def history(model: Any, context: Gram) -> float:
    """The probability of a context by the chain rule."""
    words = [brute.EOS if word == model.start else word for word in context]
    steps = [model.prob((), words[0])] + [model.prob(context[:i], words[i]) for i in range(1, len(words))]
    return math.prod(steps)


def change(model: Any, gram: Gram) -> float:
    """By what share perplexity rises without an n-gram: exp(D) - 1, D summed over the whole vocabulary."""
    context, removed = gram[:-1], gram[-1]
    words = range(model.vocab_size)
    seen = [word for word in words if (*context, word) in model.ids and word != removed]
    old = [model.prob(context, word) for word in words]
    lower = [model.prob(context[1:], word) for word in words]
    weight = (1 - sum(old[word] for word in seen)) / sum(lower[word] for word in words if word not in seen)
    new = [old[word] if word in seen else weight * lower[word] for word in words]
    divergence = sum(p * math.log(p / q) for p, q in zip(old, new, strict=True) if p > 0)
    return math.expm1(history(model, context) * divergence)


def survivors(model: Any, threshold: float) -> set[Gram]:
    """The n-grams that pruning leaves, from the longest down."""
    kept: set[Gram] = {gram for gram in model.ids if len(gram) == 1}
    for gram in sorted(model.ids, key=len, reverse=True):
        if len(gram) > 1 and gram not in kept:
            share = change(model, gram)
            assume(abs(share - threshold) > 1e-6)
            if share < threshold:
                continue
        if len(gram) > 1:
            kept |= {gram, gram[:-1], gram[1:]}
    return kept


@pytest.mark.parametrize("options", SMOOTHED, ids=lambda options: options.smoothing)
@given(text=texts, order=st.integers(2, 4), threshold=st.sampled_from([1e-5, 1e-3, 0.004, 0.02, 0.1, 1.0]))
@settings(max_examples=50, deadline=None)
def test_what_stays(
    options: NgramOptions, text: tuple[int, list[list[int]]], order: int, threshold: float
) -> None:
    """Left out is what changes perplexity by less, summed over the vocabulary; the rest sums to one again."""
    table = estimated(text[1], text[0], order, options)
    before = brute.Walk(table)
    after = brute.Walk(entropy_prune(table, threshold, brute.EOS))
    assert set(after.ids) == survivors(before, threshold)
    for gram, log_prob in after.log_probs.items():
        assert log_prob == before.log_probs[gram]
    for context in after.all_contexts():
        assert math.fsum(after.prob(context, word) for word in range(text[0])) == pytest.approx(1, abs=3e-6)


def test_original_stays() -> None:
    """The table that is pruned is left as it was, and contexts that lose nothing keep their weights."""
    chance = random.Random(3)
    lines = [[chance.randrange(1, 9) for _ in range(chance.randrange(8))] for _ in range(30)]
    table = estimated(lines, 9, 3, NgramOptions())
    copies = [array.copy() for array in (table.words, table.log_probs, table.backoffs, table.children)]
    some, none = entropy_prune(table, 0.002, brute.EOS), entropy_prune(table, 1.0, brute.EOS)
    for copy, array in zip(
        copies, (table.words, table.log_probs, table.backoffs, table.children), strict=True
    ):
        np.testing.assert_array_equal(copy, array)
    before, after = brute.Walk(table), brute.Walk(some)
    followers = [Counter(gram[:-1] for gram in model.ids) for model in (before, after)]
    untouched = [gram for gram in after.backoffs if followers[0][gram] == followers[1][gram]]
    assert 10 < len(untouched) < len(after.backoffs)
    assert all(after.backoffs[gram] == before.backoffs[gram] for gram in untouched)
    assert none.sizes() == [10, 0, 0]
    assert not none.backoffs.any()


def test_order_one() -> None:
    """Unigrams are never left out."""
    table = estimated([[1, 2, 2]], 3, 1, NgramOptions())
    assert entropy_prune(table, 1.0, brute.EOS).sizes() == [4]
