"""Candidates in a blank: equal to whole lines scored one by one, by causal models and from both sides."""

import numpy as np
import pytest
import torch

from lmkit import api
from lmkit.evaluation.fill import fill
from lmkit.evaluation.fill_candidates import TWO_SIDED, Blank, candidate_scores

BLANKS = [Blank("the cat ", " the mat ."), Blank("", " sat ."), Blank("a cat and ", "")]
CANDIDATES = ["sat on", "dog", "the dog"]


@pytest.mark.parametrize("name", ["gru", "char", "ngram"])
def test_causal_scores_are_those_of_whole_lines(models: dict[str, api.Model], name: str) -> None:
    """Shared fronts are scored once, and nothing else changes: each score is the line's log-probability."""
    model = models[name]
    found = candidate_scores(model.directions, model.tokenizer, BLANKS, CANDIDATES)["forward"]
    for blank, row in zip(BLANKS, found, strict=True):
        lines = [blank.before + candidate + blank.after for candidate in CANDIDATES]
        np.testing.assert_allclose(row, model.sentence_scores(lines), atol=1e-4)


@torch.no_grad()
def test_two_sided_scores_are_those_of_the_candidate_from_either_side(models: dict[str, api.Model]) -> None:
    """Each direction scores the candidate's tokens after what it has read; two-sided is the sum."""
    model = models["elmo"]
    found = candidate_scores(model.directions, model.tokenizer, BLANKS[:1], CANDIDATES)
    for place, candidate in enumerate(CANDIDATES):
        before, own, after = (
            model.tokenizer.ids(text).tolist() for text in ("the cat", candidate, "the mat .")
        )
        for direction, causal in model.directions.items():
            line = before + own if direction == "forward" else after[::-1] + own[::-1]
            scores, _ = causal.log_probs(torch.tensor([line]), causal.initial_state(1))
            wanted = float(scores[0, -len(own) :].sum())
            assert found[direction][0, place] == pytest.approx(wanted, abs=1e-5)
    np.testing.assert_allclose(found[TWO_SIDED], found["forward"] + found["backward"])


def line_log_probs(model: api.Model, ids: list[int], *, start: bool) -> list[float]:
    """The log-probability of each token, one step after another."""
    state, found = model.causal.initial_state(1, start=start), []
    for token in ids:
        found.append(float(model.causal.next_log_probs(state)[0, token]))
        state = model.causal.advance(torch.tensor([token]), state)
    return found


@torch.no_grad()
@pytest.mark.parametrize("name", ["gru", "char", "ngram"])
def test_normalisations_are_those_that_they_say(models: dict[str, api.Model], name: str) -> None:
    """Brute force: own tokens per token or character, or less what they are alone; the rest of the line as it is."""
    model = models[name]
    eos = model.tokenizer.vocabulary.eos_id
    own, others, tokens, alone = [], [], [], []
    for candidate in CANDIDATES:
        before = 2 if name != "char" else len("the cat ")
        ids = [*model.tokenizer.ids(f"the cat {candidate} the mat .").tolist(), eos]
        length = len(candidate) if name == "char" else len(candidate.split())
        scores = line_log_probs(model, ids, start=True)
        own.append(sum(scores[before : before + length]))
        others.append(sum(scores) - own[-1])
        tokens.append(length)
        alone.append(sum(line_log_probs(model, ids[before : before + length], start=False)))
    characters = [len(candidate) for candidate in CANDIDATES]
    wanted = {
        "none": np.add(others, own),
        "token": np.add(others, np.multiply(own, np.mean(tokens) / np.array(tokens))),
        "char": np.add(others, np.multiply(own, np.mean(characters) / np.array(characters))),
        "pmi": np.add(others, np.subtract(own, alone)),
    }
    for normalize, row in wanted.items():
        found = candidate_scores(
            model.directions, model.tokenizer, BLANKS[:1], CANDIDATES, normalize=normalize
        )["forward"][0]
        np.testing.assert_allclose(found, row, atol=1e-4)
        filled = fill(
            model.directions, model.tokenizer, "the cat ____ the mat .", CANDIDATES, normalize=normalize
        )
        assert filled.normalize == normalize
        assert filled.candidates == [CANDIDATES[place] for place in np.argsort(-row)]
        np.testing.assert_allclose(filled.scores, np.sort(row)[::-1], atol=1e-4)
        np.testing.assert_allclose(filled.sums, wanted["none"][np.argsort(-row)], atol=1e-4)
        assert sum(filled.shares) == pytest.approx(1)


def test_two_sided_candidates_are_normalised_by_direction(models: dict[str, api.Model]) -> None:
    """Of an encoder only the candidate's own tokens count: per token, each direction is divided alike."""
    model = models["elmo"]
    plain, found = (
        candidate_scores(model.directions, model.tokenizer, BLANKS[:1], CANDIDATES, normalize=normalize)
        for normalize in ("none", "token")
    )
    weights = np.array([5 / 3 / 2, 5 / 3 / 1, 5 / 3 / 2])
    for direction, scores in plain.items():
        np.testing.assert_allclose(found[direction][0], scores[0] * weights, atol=1e-5)
