"""The n-gram model on the contract, and what `lmkit.load` gives of it: scores of lines, next words, counts."""

import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from lmkit_ngram.model import NgramModel
from lmkit_ngram.options import NgramOptions

import lmkit
from lmkit.api import Model
from lmkit.contracts import LanguageModel, Vocabulary
from lmkit.errors import DataError, ModelError, UsageError
from lmkit.scoring.stream import Sentence, score_lines

Fit = Callable[..., NgramModel]

SIZE = 6
TEXT = ["the cat sat on the mat", "", "the cat ran", "a dog sat on the cat", "the dog"] * 3


@pytest.fixture(autouse=True)
def silent(caplog: pytest.LogCaptureFixture) -> None:
    """Small texts give no discounts, with a warning each time."""
    caplog.set_level(logging.ERROR)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model of words, saved and loaded."""
    folder = tmp_path_factory.mktemp("ngram")
    (folder / "text.txt").write_text("\n".join(TEXT) + "\n", encoding="utf-8")
    return lmkit.train(
        folder / "text.txt", model="ngram", order=3, tokenizer="word", min_count=1, out=folder / "run"
    )


@pytest.fixture(scope="module")
def neural(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model whose state is carried over lines."""
    folder = tmp_path_factory.mktemp("gru")
    (folder / "text.txt").write_text("\n".join(TEXT * 9) + "\n", encoding="utf-8")
    return lmkit.train(
        folder / "text.txt", tokenizer="word", min_count=1, hidden_size=4, max_steps=1, batch_size=2, bptt=4,
        out=folder / "run",
    )  # fmt: skip


def test_an_empty_model_says_so() -> None:
    """Before it is fitted or loaded the model has no probabilities to give."""
    model = NgramModel(NgramOptions(), Vocabulary(SIZE, 0, 1, "small"))
    assert model.parameter_count() == 0
    for call in (lambda: model.initial_state(1), lambda: model.count([2]), lambda: model.save(Path())):
        with pytest.raises(ModelError, match="fit it or load it"):
            call()


def test_parameters_are_probabilities_and_backoffs(fit: Fit) -> None:
    """One of each n-gram, and one more of each that can be a context."""
    model = fit([[2, 3], [2, 3, 4]], SIZE, order=2)
    assert model.parameter_count() == len(model.table.log_probs) + len(model.table.backoffs)


@pytest.mark.parametrize("word", [-1, SIZE, 1 << 40])
def test_ids_outside_the_vocabulary_are_refused(fit: Fit, word: int) -> None:
    """An id that no word has is never looked up."""
    model = fit([[2, 3]], SIZE, order=2)
    with pytest.raises(UsageError, match="vocabulary of 6"):
        model.advance(torch.tensor([word]), model.initial_state(1))
    with pytest.raises(UsageError, match="vocabulary of 6"):
        model.line_log_probs(np.array([word]))


def test_only_stupid_backoff_is_not_normalized(fit: Fit) -> None:
    """Its scores are no probabilities, which the model says of itself."""
    for smoothing, wanted in (("stupid-backoff", False), ("mle", True), ("modified-kneser-ney", True)):
        assert fit([[2, 3]], SIZE, order=2, smoothing=smoothing).normalized is wanted


def test_lines_are_scored_the_fast_way(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    """score_lines asks the model itself, and gets what batches of rows would give."""
    rng = np.random.default_rng(0)
    model = fit([rng.integers(1, SIZE, 5).tolist() for _ in range(20)], SIZE, order=3)
    lines = [Sentence(np.append(rng.integers(1, SIZE, n), 0), False) for n in (0, 3, 9, 1)]
    fast = list(score_lines(model, lines, block=4))
    monkeypatch.setattr(NgramModel, "line_log_probs", LanguageModel.line_log_probs)
    slow = list(score_lines(model, lines, block=4))
    assert [len(scores) for scores in fast] == [1, 4, 10, 2]
    np.testing.assert_allclose(np.concatenate(fast), np.concatenate(slow), rtol=1e-6)


LINES = ["the cat", "", "a quixotic dog \u2603", "the"]


@pytest.mark.parametrize(
    "text", [LINES, [f"{line}\n" for line in LINES], "\n".join(LINES), "\r\n".join(LINES).encode()], ids=repr
)
def test_line_scores_are_those_of_the_tokens(trained: Model, text: str | bytes | list[str]) -> None:
    """A score a line, blank ones and unknown words included, however the text is given."""
    wanted = []
    for line in LINES:
        ids = np.append(trained.tokenizer.ids(line), trained.tokenizer.vocabulary.eos_id)[None]
        scores, _ = trained.causal.log_probs(torch.from_numpy(ids), trained.causal.initial_state(1))
        wanted.append(float(scores.sum()))
    np.testing.assert_allclose(trained.line_scores(text), wanted, rtol=1e-6)


def test_sentence_scores_are_those_of_the_tokens(trained: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, one a call or in blocks: the sums of `log_probs`, also where characters end no line of a block."""
    sentences = [*LINES, "the\ncat", "a\0dog", " the\tcat\r"]
    rows = [np.append(trained.tokenizer.ids(line), trained.tokenizer.vocabulary.eos_id) for line in sentences]
    start = trained.causal.initial_state(1)
    wanted = [float(trained.causal.log_probs(torch.from_numpy(row[None]), start)[0].sum()) for row in rows]
    np.testing.assert_allclose(trained.sentence_scores(sentences), wanted, rtol=1e-6)
    one = np.concatenate([trained.sentence_scores([sentence]) for sentence in sentences])
    np.testing.assert_allclose(one, wanted, rtol=1e-6)
    monkeypatch.setattr("lmkit.scoring.sentence_scores.CHUNK", 4)
    np.testing.assert_allclose(trained.sentence_scores(sentences), wanted, rtol=1e-6)
    with pytest.raises(DataError, match="surrogate"):
        trained.sentence_scores(["the cat", "\ud800"])


def test_line_scores_of_any_model(neural: Model) -> None:
    """Models without a fast way are scored as `score` scores them: the sum is the same."""
    scores = neural.line_scores(LINES)
    assert scores.shape == (4,)
    assert math.isclose(scores.sum(), neural.score(LINES).log_prob, rel_tol=1e-6)


def test_line_scores_of_odd_texts(trained: Model) -> None:
    """No lines have no scores; very long lines come in pieces; bytes that are no text are a DataError."""
    for score in (trained.line_scores, trained.score, trained.surprisal):
        for nothing in ("", []):
            with pytest.raises(DataError, match="no lines"):
                score(nothing)
    long = "the cat " * 200_000
    once = trained.line_scores(["the cat the cat"])[0]
    ids = trained.line_scores([long, "the cat the cat"])
    assert ids[0] < 1000 * once
    assert ids[1] == pytest.approx(once, rel=1e-6)  # by the walk or the hash table, which round differently
    with pytest.raises(DataError, match="line 2"):
        trained.line_scores(b"the cat\n\xff\xfe\n")


def test_score_is_the_sum_of_line_scores(trained: Model) -> None:
    """`score` and `line_scores` have one measure."""
    assert math.isclose(trained.line_scores(LINES).sum(), trained.score(LINES).log_prob, rel_tol=1e-9)


def test_counts_from_words(trained: Model) -> None:
    """A text or words; where a line begins or ends with them; longer than the order."""
    assert trained.count("the cat") == trained.count(["the", "cat"]) == 9
    assert trained.count("the cat", start=True) == 6
    assert trained.count("the cat", end=True) == 3
    assert trained.count("the cat sat on the mat", start=True, end=True) == 3
    assert trained.count("mat the") == trained.count("unheard") == 0
    assert trained.count("", start=True) == trained.count([], end=True) == len(TEXT)
    assert trained.count("") == sum(len(line.split()) + 1 for line in TEXT)


def test_counts_of_a_model_without_any(neural: Model) -> None:
    """A neural model keeps none."""
    with pytest.raises(ModelError, match="has no counts"):
        neural.count("the")


@pytest.mark.parametrize("name", ["trained", "neural"])
def test_top_k_is_the_head_of_the_distribution(name: str, request: pytest.FixtureRequest) -> None:
    """For every causal model: words and log-probabilities, the best first, all of them when k is large."""
    model: Model = request.getfixturevalue(name)
    size = model.tokenizer.vocabulary.size
    found = model.top_k("the", 1000, start=True)
    assert len(found) == size
    assert math.isclose(sum(math.exp(log_prob) for _, log_prob in found), 1, abs_tol=1e-5)
    assert found[:3] == model.top_k(["the"], 3, start=True)
    assert [log_prob for _, log_prob in found] == sorted((log_prob for _, log_prob in found), reverse=True)
    assert {"</s>", "<unk>", "cat"} <= {word for word, _ in found}
    assert len(model.top_k()) == 10
    with pytest.raises(UsageError, match="k is 0"):
        model.top_k("the", 0)


def test_top_k_knows_the_context(trained: Model) -> None:
    """What followed most often is first."""
    assert trained.top_k("sat on", 1)[0][0] == "the"
    assert trained.top_k("the dog", 1)[0][0] == "</s>"
