"""The continuous cache: equal to its definition, token by token, however a text is cut and batched."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_ngram.model import NgramModel
from lmkit_recurrent.model import RecurrentLanguageModel

from lmkit.adaptation.cache import CachedModel
from lmkit.adaptation.options import CacheOptions
from lmkit.contracts import FitContext, LanguageModel, Vocabulary
from lmkit.corpus.resets import is_reset
from lmkit.corpus.store import TokenStore
from lmkit.errors import UsageError
from lmkit.options import choose
from lmkit.scoring.stream import BLOCK, WINDOW, Sentence, score_lines

VOCABULARY = Vocabulary(6, 0, 1, "test")


def network(policy: str) -> RecurrentLanguageModel:
    torch.manual_seed(0)
    table = {"name": "recurrent", "cell": "lstm", "hidden_size": 3, "dropout": 0.0, "reset": policy}
    model = RecurrentLanguageModel(choose("model", table, "model").options, VOCABULARY).double().eval()
    for parameter in model.parameters():
        parameter.data *= 4  # features that differ
    return model


def counts() -> LanguageModel:
    lines = [np.array([*line, 0]) for line in np.random.default_rng(0).integers(1, 6, (20, 4)).tolist()]
    model = NgramModel(choose("model", {"name": "ngram", "order": 2}, "model").options, VOCABULARY)
    model.fit(TokenStore.from_lines(lines, VOCABULARY), FitContext(0, lambda items, **_: items))
    return model


def by_definition(model: LanguageModel, lines: list[Sentence], options: CacheOptions) -> list[list[float]]:
    """log p of every token from one list of (features, next word), in plain Python."""
    found = []
    pairs: list[tuple[np.ndarray, int]] = []
    state = model.initial_state(1)
    for line in lines:
        if is_reset(model.reset_policy, line.starts_document):
            state = model.initial_state(1)
        if line.starts_document and model.reset_policy != "never":
            pairs = []
        scores = []
        for word in line.ids.tolist():
            own = math.exp(float(model.next_log_probs(state)[0, word]))
            key = model.key(state)
            here = np.zeros(1) if key is None else key[0].numpy()
            weights = [math.exp(options.theta * float(here @ there)) for there, _ in pairs]
            same = sum(w for w, (_, seen) in zip(weights, pairs, strict=True) if seen == word)
            share = options.weight if pairs else 0
            scores.append(math.log((1 - share) * own + share * same / (sum(weights) or 1)))
            pairs = [*pairs, (here, word)][-options.size :]
            state = model.advance(torch.tensor([word]), state)
        found.append(scores)
    return found


texts = st.lists(
    st.builds(
        lambda ids, first: Sentence(np.array([*ids, 0]), first),
        st.lists(st.integers(1, 5), max_size=9),
        st.booleans(),
    ),
    min_size=1,
    max_size=9,
)


@torch.no_grad()
@settings(max_examples=60)
@given(
    lines=texts,
    model=st.sampled_from([network("line"), network("document"), network("never"), counts()]),
    options=st.builds(CacheOptions, st.integers(1, 12), st.floats(0, 2), st.floats(0.01, 0.99)),
    batch=st.integers(1, 4),
    window=st.integers(1, 6),
    block=st.integers(1, 40),
)
def test_scores_are_the_definition(lines, model, options, batch, window, block):
    """Whatever the batch, the window and the block, every token has the score of the definition."""
    cached = CachedModel(model, options)
    found = list(score_lines(cached, lines, batch_size=batch, window=window, block=block))
    for ours, plain in zip(found, by_definition(model, lines, options), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=0, atol=1e-6 if isinstance(model, NgramModel) else 1e-10)


@torch.no_grad()
def test_windows_and_blocks_of_a_long_text():
    """A text longer than a window and a block, with the sizes that commands use, has the scores of the definition."""
    generator = np.random.default_rng(1)
    lines = [Sentence(np.append(generator.integers(1, 6, 400), 0), i == 0) for i in range(2)]
    lines += [Sentence(np.append(generator.integers(1, 6, BLOCK), 0), False)]
    lines += [Sentence(np.append(generator.integers(1, 6, 40), 0), False)]
    assert sum(len(line.ids) for line in lines) > BLOCK + WINDOW
    model, options = network("document"), CacheOptions(20, 0.5, 0.3)
    found = np.concatenate(list(score_lines(CachedModel(model, options), lines)))
    plain = np.concatenate(by_definition(model, lines, options))
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-10)


@torch.no_grad()
@given(
    seed=st.integers(0, 2**32 - 1),
    theta=st.sampled_from([0.0, 0.5, 300.0]),
    model=st.sampled_from([network("document"), counts()]),
    size=st.integers(1, 9),
)
def test_distributions_sum_to_one(seed, theta, model, size):
    """After any tokens the probabilities of all words sum to one, even where similarities overflow."""
    generator = torch.Generator().manual_seed(seed)
    cached = CachedModel(model, CacheOptions(size, theta, 0.4))
    state = cached.initial_state(2)
    for _ in range(4):
        assert cached.next_log_probs(state).exp().sum(1).tolist() == pytest.approx([1, 1], abs=1e-5)
        ids = torch.randint(0, 6, (2, 3), generator=generator)
        rows = torch.cat([rows for rows, _ in cached.scan(ids, state)], 1)
        assert rows.exp().sum(2).flatten().tolist() == pytest.approx([1] * 6, abs=1e-5)
        _, state = cached.log_probs(ids, state)


@torch.no_grad()
@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    start=st.booleans(),
    size=st.integers(1, 9),
    model=st.sampled_from([network("line"), network("document"), counts()]),
)
def test_all_ways_to_a_score_agree(seed, start, size, model):
    """Stepping, scanning and scoring at once give the same, with resets of single rows and after them."""
    generator = torch.Generator().manual_seed(seed)
    cached = CachedModel(model, CacheOptions(size, 0.7, 0.4))
    ids = torch.randint(0, 6, (3, 8), generator=generator)
    reset = torch.rand(3, 8, generator=generator) < 0.2
    begin = cached.initial_state(3, start=start)
    scores, after = cached.log_probs(ids, begin, reset=reset)
    slow, last = LanguageModel.log_probs(cached, ids, begin, reset=reset)
    rows = torch.cat([rows for rows, _ in cached.scan(ids, begin, reset=reset)], 1)
    *_, (_, scanned) = cached.scan(ids, begin, reset=reset)
    torch.testing.assert_close(scores, slow, rtol=0, atol=1e-6)
    torch.testing.assert_close(rows.gather(2, ids[..., None])[..., 0], scores, rtol=0, atol=1e-6)
    for state in (last, scanned):
        torch.testing.assert_close(
            cached.next_log_probs(state), cached.next_log_probs(after), rtol=0, atol=1e-6
        )


def test_scores_that_are_not_probabilities_are_refused():
    """A cache needs probabilities to be mixed with."""
    model = counts()
    model.normalized = False
    with pytest.raises(UsageError, match="do not sum to one"):
        CachedModel(model, CacheOptions())
