"""Every smoothing method gives the numbers of its definition, and its probabilities sum to one."""

import dataclasses
import logging
import math
import random
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_ngram import smoothing_kernels as discounting
from lmkit_ngram.count import Counted, count_ngrams
from lmkit_ngram.logarithm import to_log10
from lmkit_ngram.options import SMOOTHINGS, NgramOptions
from lmkit_ngram.prune import thresholds
from lmkit_ngram.smoothing import FALLBACK, counts_needed, estimate

brute = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("brute.py"))))

Lines = list[list[int]]

unseen_mass_in_python: Any = discounting.unseen_mass.py_func  # pyright: ignore[reportFunctionMemberAccess]

METHODS = [NgramOptions(smoothing=name) for name in SMOOTHINGS]
METHODS += [NgramOptions(smoothing="kneser-ney", interpolate=False), NgramOptions(smoothing="add-k", k=0.01)]


def texts(largest: int = 5) -> st.SearchStrategy[tuple[int, Lines]]:
    """A vocabulary's size, `</s>` in it, and lines of its words; blank lines too, and words that never occur."""
    return st.integers(2, largest).flatmap(
        lambda size: st.tuples(
            st.just(size), st.lists(st.lists(st.integers(1, size - 1), max_size=7), min_size=1, max_size=8)
        )
    )


def counted(lines: Lines, vocab_size: int, options: NgramOptions) -> Counted:
    tokens = np.array([word for line in lines for word in (*line, brute.EOS)], np.int32)
    return count_ngrams(
        tokens, len(lines), vocab_size, brute.EOS, options.order,
        continuation=counts_needed(options.smoothing), with_raw=any(thresholds(options)),
    )  # fmt: skip


def walk(lines: Lines, vocab_size: int, options: NgramOptions, threads: int = 1) -> Any:
    """What the estimated table says."""
    counts = counted(lines, vocab_size, options)
    estimate(counts, options, threads)
    return brute.Walk(counts.table)


def definition(lines: Lines, vocab_size: int, options: NgramOptions) -> Any:
    return brute.Definition(
        lines, vocab_size, options, thresholds(options), FALLBACK.get(options.smoothing, ())
    )


def zipfian(num_lines: int, vocab_size: int) -> Lines:
    """A text long enough to estimate discounts."""
    chance = random.Random(1)
    weights = [1 / rank for rank in range(1, vocab_size)]
    return [chance.choices(range(1, vocab_size), weights, k=chance.randrange(9)) for _ in range(num_lines)]


def check(lines: Lines, vocab_size: int, options: NgramOptions) -> None:
    model, wanted = walk(lines, vocab_size, options), definition(lines, vocab_size, options)
    words = range(vocab_size)
    for context in model.all_contexts():
        got = [model.prob(context, word) for word in words]
        if options.smoothing == "stupid-backoff":
            # The table charges for the words that the context has fewer than the longest too (`stupid_backoff`).
            got = [prob / options.alpha ** (options.order - 1 - len(context)) for prob in got]
        assert got == pytest.approx([wanted.prob(context, word) for word in words], rel=2e-5, abs=1e-12)
        if options.smoothing != "stupid-backoff":
            assert math.fsum(got) == pytest.approx(1, abs=2e-6)
    assert all(value <= 0 for value in model.log_probs.values())


@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m.smoothing}-{m.interpolate}-{m.k}")
@given(text=texts(), order=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_definitions(method: NgramOptions, text: tuple[int, Lines], order: int) -> None:
    """After every context, seen or not, every word has the probability of the method's definition; they sum to one."""
    check(text[1], text[0], dataclasses.replace(method, order=order))


@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m.smoothing}-{m.interpolate}-{m.k}")
@given(text=texts(), order=st.integers(2, 4), limits=st.lists(st.integers(0, 3), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_pruned_definitions(
    method: NgramOptions, text: tuple[int, Lines], order: int, limits: list[int]
) -> None:
    """So it is when seldom n-grams are left out: what they were counted goes to the shorter context."""
    prune = " ".join(map(str, [0, *sorted(limits)][:order]))
    check(text[1], text[0], dataclasses.replace(method, order=order, prune=prune))


@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m.smoothing}-{m.interpolate}-{m.k}")
@pytest.mark.parametrize("prune", ["0", "0 1"])
def test_discounts_of_a_text(method: NgramOptions, prune: str, caplog: pytest.LogCaptureFixture) -> None:
    """A text that has its own discounts gets them, without a warning, and pruning does not change them."""
    options = dataclasses.replace(method, order=2, prune=prune)
    check(zipfian(150, 120), 120, options)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_discounts_are_those_of_adjusted_counts() -> None:
    """The last word's raw count, 3, changes no discount: its adjusted count is 1 (lmplz gives y 10 ** -1.3222)."""
    text = ["d a k c", "a a i a a n c", "c d a d i c f", "a m a", "h a d", "x y x y x y"]
    ids = {word: i for i, word in enumerate(sorted({w for line in text for w in line.split()}), 2)}
    options = NgramOptions(order=2)
    lines = [[ids[word] for word in line.split()] for line in text]
    check(lines, len(ids) + 2, options)
    model = walk(lines, len(ids) + 2, options)
    assert math.log10(model.prob((), ids["y"])) == pytest.approx(-1.4340, abs=1e-4)


def test_fallback_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Where discounts cannot be had, fixed ones are used and one warning says for which orders and why."""
    walk([[1, 2]], 4, NgramOptions(order=3))
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    message = record.getMessage()
    assert "\n" not in message
    assert "0.5 / 1 / 1.5" in message
    assert "order 1: no n-gram has a count of 2 or 3" in message
    assert "order 3" in message


def test_orders_that_a_text_does_not_reach_need_no_discounts(caplog: pytest.LogCaptureFixture) -> None:
    """An order without a single n-gram is not warned of, and changes nothing."""
    check([[], []], 2, NgramOptions(order=5))
    assert "order 5" not in caplog.text


@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m.smoothing}-{m.interpolate}-{m.k}")
def test_threads_change_nothing(method: NgramOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts, and threads that work on them, give the same numbers to the last bit."""
    lines, options = zipfian(60, 12), dataclasses.replace(method, order=4)
    alone = walk(lines, 12, options)
    monkeypatch.setattr("lmkit_ngram.smoothing.SEGMENT", 5)
    together = walk(lines, 12, options, threads=3)
    assert alone.log_probs == together.log_probs
    assert alone.backoffs == together.backoffs


def test_weight_one_where_nothing_follows() -> None:
    """N-grams that end in `</s>`, words that never occur, and `<s>` as a word, have logarithm 0 where none is due."""
    for method in METHODS:
        model = walk([[1, 2], [2]], 4, dataclasses.replace(method, order=3))
        assert model.log_probs[(4,)] == 0
        assert all(model.backoffs[gram] == 0 for gram in model.backoffs if gram[-1] in (brute.EOS, 3))


def test_words_that_never_occur() -> None:
    """They share what unigrams leave; by maximum likelihood and stupid backoff they have none."""
    for method in METHODS:
        model = walk([[1, 2], [2]], 5, dataclasses.replace(method, order=2))
        impossible = method.smoothing in ("mle", "stupid-backoff")
        assert model.log_probs[(3,)] == model.log_probs[(4,)]
        assert (model.log_probs[(3,)] == -math.inf) == impossible


def test_rest_is_summed_where_followers_are_nearly_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Term by term, what a context's followers leave of the shorter context is what their sum leaves of one."""
    counts = counted(zipfian(150, 8), 8, NgramOptions(order=4))
    estimate(counts, NgramOptions(order=4, smoothing="kneser-ney", interpolate=False))
    table = counts.table
    probs, backoffs = (np.power(10.0, array) for array in (table.log_probs, table.backoffs))
    monkeypatch.setattr(discounting, "NEARLY_ALL", 2.0)
    for context in range(table.contexts):
        followers = range(*table.children[context : context + 2])
        rest = 1 - math.fsum(probs[table.suffixes[i]] for i in followers)
        summed = unseen_mass_in_python(
            table.children, table.suffixes, table.words, 8, probs, backoffs, context
        )
        assert summed == pytest.approx(rest, abs=1e-6)


@given(st.lists(st.floats(0, 2**100, width=32, allow_subnormal=False), max_size=40))
def test_logarithm(values: list[float]) -> None:
    """The vectorised logarithm rounds to within one step of the correct float32; 0 gives -inf and 1 gives 0."""
    array = np.array([*values, 0, 1], np.float32)
    with np.errstate(divide="ignore"):
        wanted = np.log10(array.astype(np.float64)).astype(np.float32)
    to_log10(array)
    assert array[-1] == 0
    assert array[-2] == -np.inf
    np.testing.assert_array_max_ulp(array[:-2], wanted[:-2])
