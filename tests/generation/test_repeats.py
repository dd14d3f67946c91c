"""Texts without repeated n-grams: what a filter by hand chooses."""

import math

import numpy as np
import pytest
import torch

import lmkit
from lmkit import states
from lmkit.errors import UsageError
from lmkit.generation.repeats import BEFORE, WithoutRepeats, padded, repeating
from lmkit.options import choose
from lmkit.testing.samples import VOCABULARY, random_bigram


def banned(ids: list[int], order: int) -> set[int]:
    """The tokens after which the last n-gram has been in the list before."""
    before = {tuple(ids[i : i + order]) for i in range(len(ids) - order + 1)}
    return {token for token in range(VOCABULARY.size) if (*ids[len(ids) - order + 1 :], token) in before}


def repeats(ids: list[int], order: int) -> bool:
    ngrams = [tuple(ids[i : i + order]) for i in range(len(ids) - order + 1)]
    return len(set(ngrams)) < len(ngrams)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_filter_is_that_of_brute_force(order):
    """Rows of different lengths at once: each is refused what its own list would refuse."""
    rng = np.random.default_rng(order)
    for _ in range(50):
        rows = [rng.integers(0, 3, rng.integers(0, 12)).tolist() for _ in range(4)]
        found: list[set[int]] = [set() for _ in rows]
        for row, token in zip(*(part.tolist() for part in repeating(padded(rows), order)), strict=True):
            found[row].add(token)
        assert found == [banned(row, order) if len(row) >= order else set() for row in rows]
        assert all(BEFORE not in row for row in found)


def decoder(name: str, **options):
    chosen = choose("decoder", {"name": name, **options}, "decoder")
    return chosen.load()(chosen.options)


def start(prompt: list[int], order: int) -> tuple[WithoutRepeats, states.State]:
    model = random_bigram()
    return WithoutRepeats(model, order), (torch.tensor(prompt[-1:]), torch.tensor([prompt]))


def allowed(ids: list[int], order: int) -> list[float]:
    """The bigram model's next log-probabilities by hand, -inf for what would repeat or is unknown."""
    row = random_bigram().next_log_probs(torch.tensor(ids[-1:]))[0].tolist()
    never = (banned(ids, order) if len(ids) >= order else set()) | {VOCABULARY.unk_id}
    return [-math.inf if token in never else value for token, value in enumerate(row)]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_greedy_is_the_best_that_does_not_repeat(order):
    """Token by token the most probable one that is allowed, the prompt counted in; scores are the model's own."""
    prompt = [4, 5, 4]
    model, state = start(prompt, order)
    (found,) = decoder("greedy").generate(model, state, max_tokens=5)
    ids, total = list(prompt), 0.0
    for _ in range(5):
        row = allowed(ids, order)
        token = row.index(max(row))
        ids.append(token)
        total += row[token]
    assert list(found.ids) == ids[len(prompt) :]
    assert found.log_prob == pytest.approx(total)


@pytest.mark.parametrize("order", [1, 2])
def test_beam_is_the_best_of_all_texts_that_do_not_repeat(order):
    """A beam as wide as there are texts finds the most probable of those that brute force leaves."""
    prompt = [4, 5, 4]
    model, state = start(prompt, order)
    found = decoder("beam", width=2000).generate(model, state, max_tokens=3)
    texts = [(0.0, list(prompt))]
    for _ in range(3):
        texts = [
            (total + value, [*ids, token])
            for total, ids in texts
            for token, value in enumerate(allowed(ids, order))
            if value > -math.inf
        ]
    best = max(texts)
    assert list(found[0].ids) == best[1][len(prompt) :]
    assert found[0].log_prob == pytest.approx(best[0])


@pytest.mark.parametrize(
    ("name", "options"), [("sample", {}), ("sample", {"top_k": 3}), ("beam", {"width": 4})]
)
def test_no_text_repeats(name, options):
    """No n-gram occurs twice in prompt and text, for every built-in decoder and row."""
    for seed in range(10):
        model, (last, ids) = start([4, 5], 2)
        state = states.take((last, ids), torch.zeros(3, dtype=torch.long))
        for found in decoder(name, **options).generate(
            model, state, max_tokens=15, generator=torch.Generator().manual_seed(seed)
        ):
            assert not repeats([4, 5, *found.ids], 2)


def test_sampling_follows_the_filtered_distribution():
    """4,000 draws after a prompt agree with the model's probabilities without what would repeat, to 3 sigma or so."""
    prompt = [4, 5, 4]
    model, state = start(prompt, 2)
    number = 4000
    rows = states.take(state, torch.zeros(number, dtype=torch.long))
    found = decoder("sample").generate(model, rows, max_tokens=1, generator=torch.Generator().manual_seed(1))
    wanted = np.exp(allowed(prompt, 2))
    wanted /= wanted.sum()
    counts = np.bincount([one.ids[0] for one in found], minlength=VOCABULARY.size)
    assert (np.abs(counts - number * wanted) < 4 * np.sqrt(number * wanted + 1)).all()


def test_python_takes_it(tmp_path):
    """Model.generate and generate_each have no_repeat_ngram; 0 is refused."""
    (tmp_path / "a.txt").write_text("the cat sat on the mat\n" * 30, encoding="utf-8")
    model = lmkit.train(tmp_path / "a.txt", model="ngram", order=2, out=tmp_path / "run", tokenizer="word")
    (text,) = model.generate("the cat", decoder="sample", seed=1, no_repeat_ngram=1, max_tokens=3)
    words = ("the cat" + text.text).split()
    assert len(words) == len(set(words))
    ((other,),) = model.generate_each(["the cat"], seed=1, no_repeat_ngram=1, max_tokens=3)
    assert other == text
    with pytest.raises(UsageError, match="it must be at least 1"):
        model.generate("the", no_repeat_ngram=0)
