"""Greedy decoding and the loop that it shares with sampling."""

import pytest
import torch
from lmkit_decoders.greedy import GreedyDecoder

from lmkit.contracts import Vocabulary
from lmkit.errors import ModelError, UsageError
from lmkit.specs import NoOptions
from lmkit.testing import BigramTable, random_bigram

MODEL = random_bigram()
GREEDY = GreedyDecoder(NoOptions())


def test_follows_the_best_token() -> None:
    """Each token is the most probable one that is neither unknown nor forbidden."""
    (found,) = GREEDY.generate(MODEL, torch.tensor([4]), max_tokens=8, forbid_ids=frozenset({7}))
    before = 4
    for token in found.ids:
        row = MODEL.table[before].clone()
        row[[1, 7]] = -torch.inf
        assert token == int(row.argmax())
        before = token


def test_stop_ends_a_row_and_leaves_the_others() -> None:
    """A row ends with its stop token; the others go on as if alone."""
    state = torch.arange(2, 11)
    stop = frozenset({0, 3})
    together = GREEDY.generate(MODEL, state, max_tokens=9, stop_ids=stop)
    alone = [
        GREEDY.generate(MODEL, state[i : i + 1], max_tokens=9, stop_ids=stop)[0] for i in range(len(state))
    ]
    assert together == alone
    assert len({len(found.ids) for found in together}) > 1


def test_ended_rows_cost_nothing() -> None:
    """The model is asked only for rows that go on, and not after the last token."""
    asked = []

    class Counting(BigramTable):
        def next_log_probs(self, state):
            asked.append(len(state))
            return super().next_log_probs(state)

        def advance(self, ids, state):
            asked.append(-len(ids))
            return super().advance(ids, state)

    table = torch.full((4, 3), -5.0)
    table[0, 0] = table[1, 2] = table[2, 2] = table[3, 2] = -0.01
    model = Counting(Vocabulary(3, 0, None, "three"), table)
    found = GREEDY.generate(model, torch.tensor([0, 1]), max_tokens=3, stop_ids=frozenset({0}))
    assert [one.ids for one in found] == [(0,), (2, 2, 2)]
    assert asked == [2, -1, 1, -1, 1]


def test_on_token_at_once() -> None:
    """Tokens are reported step by step, a row after the other."""
    told: list[tuple[int, int]] = []
    found = GREEDY.generate(
        MODEL, torch.tensor([2, 9]), max_tokens=3, on_token=lambda *pair: told.append(pair)
    )
    assert told == [(row, found[row].ids[step]) for step in range(3) for row in range(2)]


def test_sums_in_float64() -> None:
    """Log-probabilities are added in float64, however long the text."""
    table = torch.full((3, 2), -0.1)
    (found,) = GREEDY.generate(
        BigramTable(Vocabulary(2, 0, None, "two"), table), torch.tensor([0]), max_tokens=20_000
    )
    assert found.log_prob == pytest.approx(20_000 * float(torch.tensor(-0.1)), rel=1e-12)


def test_nothing_to_choose() -> None:
    """Everything forbidden is the caller's mistake; NaN is the model's."""
    with pytest.raises(UsageError, match="forbidden"):
        GREEDY.generate(MODEL, torch.tensor([4]), max_tokens=1, forbid_ids=frozenset(range(11)))
    broken = BigramTable(MODEL.vocabulary, torch.full((12, 11), torch.nan))
    with pytest.raises(ModelError, match="NaN"):
        GREEDY.generate(broken, torch.tensor([4]), max_tokens=1)


def test_ids_outside_the_vocabulary() -> None:
    """Ids outside the vocabulary can be forbidden: they are never emitted anyway."""
    wide = GREEDY.generate(MODEL, torch.tensor([4]), max_tokens=5, forbid_ids=frozenset({-1, 11, 10**9}))
    assert wide == GREEDY.generate(MODEL, torch.tensor([4]), max_tokens=5)
