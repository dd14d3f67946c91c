"""Beam search against the enumeration of all texts."""

from collections.abc import Iterator

import pytest
import torch
from lmkit_decoders import BeamOptions
from lmkit_decoders.beam import BeamDecoder
from lmkit_decoders.greedy import GreedyDecoder

from lmkit.contracts import Hypothesis, Vocabulary
from lmkit.errors import UsageError
from lmkit.specs import NoOptions
from lmkit.testing import BigramTable, random_bigram

SMALL = Vocabulary(5, 0, 1, "five")
LENGTH = 4
ALL = 5**LENGTH


def every_text(
    model: BigramTable, before: int, stop: int, ids: tuple[int, ...] = (), total: float = 0.0
) -> Iterator:
    """Every text without the unknown id that ends with `stop` or is LENGTH tokens long."""
    if len(ids) == LENGTH or (ids and ids[-1] == stop):
        yield Hypothesis(ids, total)
        return
    for token, score in enumerate(model.table[before].tolist()):
        if token != model.vocabulary.unk_id:
            yield from every_text(model, token, stop, (*ids, token), total + score)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_full_width_finds_the_best_texts(seed: int, penalty: float) -> None:
    """A beam as wide as the tree gives all texts, best first, for every row."""
    model = random_bigram(SMALL, seed=seed)
    beam = BeamDecoder(BeamOptions(ALL, penalty))
    found = beam.generate(model, torch.tensor([2, 0]), max_tokens=LENGTH, stop_ids=frozenset({0}))
    wanted: list[float] = []
    for before in (2, 0):
        scores = [h.log_prob / len(h.ids) ** penalty for h in every_text(model, before, 0)]
        wanted += sorted(scores, reverse=True)
    assert [h.log_prob / len(h.ids) ** penalty for h in found] == pytest.approx(wanted, abs=1e-9)
    best = max(every_text(model, 2, 0), key=lambda h: h.log_prob / len(h.ids) ** penalty)
    assert found[0].log_prob / len(found[0].ids) ** penalty == pytest.approx(
        best.log_prob / len(best.ids) ** penalty
    )


@pytest.mark.parametrize("seed", range(6))
def test_narrow_beams(seed: int) -> None:
    """`width` different hypotheses a row, best first, each with the model's own score."""
    model = random_bigram(SMALL, seed=seed)
    texts = {h.ids: h.log_prob for h in every_text(model, 3, 0)}
    for width in (1, 2, 5):
        found = BeamDecoder(BeamOptions(width)).generate(
            model, torch.tensor([3]), max_tokens=LENGTH, stop_ids=frozenset({0})
        )
        assert len({h.ids for h in found}) == width
        assert [h.log_prob for h in found] == sorted((h.log_prob for h in found), reverse=True)
        assert all(texts[h.ids] == pytest.approx(h.log_prob) for h in found)


def test_width_one_is_greedy() -> None:
    """A beam of width 1 is greedy decoding."""
    model = random_bigram()
    state = torch.arange(2, 11)
    settings = {"max_tokens": 7, "stop_ids": frozenset({0, 4}), "forbid_ids": frozenset({3})}
    beams = BeamDecoder(BeamOptions(1)).generate(model, state, **settings)
    greedy = GreedyDecoder(NoOptions()).generate(model, state, **settings)
    assert [h.ids for h in beams] == [h.ids for h in greedy]
    assert [h.log_prob for h in beams] == pytest.approx([h.log_prob for h in greedy])


def test_finds_what_greedy_misses() -> None:
    """A first token that is not the best may lead to the best text."""
    table = torch.log(
        torch.tensor([[0.02, 0.5, 0.48], [0.34, 0.33, 0.33], [0.01, 0.01, 0.98], [0.3, 0.3, 0.4]])
    )
    model = BigramTable(Vocabulary(3, 0, None, "three"), table)
    found = BeamDecoder(BeamOptions(2)).generate(model, torch.tensor([0]), max_tokens=2)
    assert found[0].ids == (2, 2)


def test_finished_hypotheses_are_kept() -> None:
    """A finished text stays among the results though open ones were better when it ended."""
    # `</s>` at once has 0.3; the open text starts with 0.7 and then has 0.25 for each of four tokens.
    table = torch.full((6, 5), 0.25)
    table[:, 0] = 1e-6
    table[0] = torch.tensor([0.3, 0.7, 1e-6, 1e-6, 1e-6])
    model = BigramTable(Vocabulary(5, 0, None, "five"), table.log())
    found = BeamDecoder(BeamOptions(2)).generate(
        model, torch.tensor([0]), max_tokens=6, stop_ids=frozenset({0})
    )
    assert found[0].ids == (0,)
    assert len(found) == 2


def test_stops_when_decided() -> None:
    """The search ends when no open text can get among the finished ones."""
    steps = []

    class Counting(BigramTable):
        def advance(self, ids, state):
            steps.append(len(ids))
            return super().advance(ids, state)

    table = torch.full((4, 3), 0.05)
    table[:, 0] = 0.9
    model = Counting(Vocabulary(3, 0, None, "three"), table.log())
    BeamDecoder(BeamOptions(1)).generate(model, torch.tensor([1]), max_tokens=1000, stop_ids=frozenset({0}))
    assert steps == []


def test_fewer_texts_than_width() -> None:
    """Where fewer texts exist than the beam is wide, those are given; max_tokens 0 leaves the empty one."""
    model = random_bigram(SMALL)
    beam = BeamDecoder(BeamOptions(50))
    assert len(beam.generate(model, torch.tensor([2]), max_tokens=1)) == 4
    assert beam.generate(model, torch.tensor([2, 3]), max_tokens=0) == [Hypothesis((), 0.0)] * 2


def test_all_ends_after_a_stop() -> None:
    """When only stop tokens are possible, the search ends with what it has; when nothing is, it says so."""
    model = random_bigram(SMALL)
    forbid = frozenset({2, 3, 4})
    found = BeamDecoder(BeamOptions(3)).generate(
        model, torch.tensor([2]), max_tokens=5, stop_ids=frozenset({0}), forbid_ids=forbid
    )
    assert [h.ids for h in found] == [(0,)]
    with pytest.raises(UsageError, match="forbidden"):
        BeamDecoder(BeamOptions(3)).generate(model, torch.tensor([2]), max_tokens=5, forbid_ids=forbid | {0})


def test_on_token_is_not_called() -> None:
    """No token is final before the search ends."""
    told: list[tuple[int, int]] = []
    BeamDecoder(BeamOptions(2)).generate(
        random_bigram(), torch.tensor([2]), max_tokens=3, on_token=lambda *pair: told.append(pair)
    )
    assert told == []
