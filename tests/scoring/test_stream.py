"""Scoring a text as one stream: batches, windows and blocks are invisible in the result."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_recurrent.model import RecurrentLanguageModel

from lmkit.contracts import Vocabulary
from lmkit.options import choose
from lmkit.scoring.stream import Measure, Sentence, measure_lines, score_lines

VOCABULARY = Vocabulary(7, 0, 1, "test")


def model(policy: str) -> RecurrentLanguageModel:
    torch.manual_seed(0)
    table = {"name": "recurrent", "cell": "lstm", "hidden_size": 4, "dropout": 0.0, "reset": policy}
    return RecurrentLanguageModel(choose("model", table, "model").options, VOCABULARY).double().eval()


def one_by_one(lm: RecurrentLanguageModel, lines: list[Sentence]) -> list[np.ndarray]:
    """The definition: a token at a time, one state, reset by the policy."""
    state, found = lm.initial_state(1), []
    for line in lines:
        if lm.reset_policy == "line" or (lm.reset_policy == "document" and line.starts_document):
            state = lm.initial_state(1)
        scores = []
        for token in line.ids.tolist():
            scores.append(float(lm.next_log_probs(state)[0, token]))
            state = lm.advance(torch.tensor([token]), state)
        found.append(np.array(scores))
    return found


lines_of = st.lists(
    st.builds(
        lambda ids, first: Sentence(np.array([*ids, 0]), first),
        st.lists(st.integers(1, 6), max_size=9),
        st.booleans(),
    ),
    min_size=1,
    max_size=9,
)


@torch.no_grad()
@settings(max_examples=40, deadline=None)
@given(
    lines=lines_of,
    policy=st.sampled_from(["line", "document", "never"]),
    batch=st.integers(1, 4),
    window=st.integers(1, 6),
    block=st.integers(1, 40),
)
def test_scores_are_those_of_one_token_after_another(lines, policy, batch, window, block):
    """Whatever the batch, the window and the block, every token gets the score of the plain definition."""
    lm = model(policy)
    found = list(score_lines(lm, lines, batch_size=batch, window=window, block=block))
    for ours, plain in zip(found, one_by_one(lm, lines), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=0, atol=1e-10)


class Counting(Measure):
    """Counts what is computed."""

    def __init__(self) -> None:
        self.cells = 0

    def __call__(self, model, ids, state):
        self.cells += ids.numel()
        return super().__call__(model, ids, state)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=12), st.integers(1, 6), st.integers(1, 80))
def test_rows_that_have_ended_are_dropped(lengths, batch, window):
    """However different the lengths, fewer than two cells are computed for a token."""
    counting = Counting()
    lines = [Sentence(np.zeros(length + 1, np.int64), True) for length in lengths]
    with torch.no_grad():
        tables = list(measure_lines(model("line"), lines, counting, batch_size=batch, window=window))
    assert [len(table) for table in tables] == [length + 1 for length in lengths]
    assert counting.cells < 2 * sum(map(len, tables))


@pytest.mark.parametrize("policy", ["line", "never"])
def test_nothing_is_read_ahead_of_a_block(policy):
    """Lines are drawn as they are scored, so that a text larger than memory can be scored."""
    drawn = []

    def lines():
        for number in range(50):
            drawn.append(number)
            yield Sentence(np.array([2, 3, 0]), True)

    scores = score_lines(model(policy), lines(), block=6)
    next(scores)
    assert len(drawn) == 2
