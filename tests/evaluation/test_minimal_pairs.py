"""Minimal pairs: ties and unknown words count one half, and scores that are not numbers count nothing."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lmkit_tokenizers.char import CharTokenizer
from lmkit_tokenizers.options import CharOptions, WordOptions
from lmkit_tokenizers.word import WordTokenizer
from torch import Tensor

import lmkit
from lmkit.api import Model
from lmkit.contracts import LanguageModel, State, Vocabulary
from lmkit.evaluation.minimal_pairs import (
    Accuracy,
    Judgement,
    accuracies,
    judge,
    mean_accuracy,
    rows,
    withheld,
)
from lmkit.evaluation.pair_files import Pair

LINES = ["the cat sees a dog .", "the cats see a dog .", "a dog sees the cats ."] * 5


class Unigram(LanguageModel):
    """Given probabilities of the ids, whatever came before."""

    def __init__(self, vocabulary: Vocabulary, probabilities: dict[int, float]) -> None:
        self.vocabulary = vocabulary
        rows = torch.full((vocabulary.size,), 1 / vocabulary.size)
        for token, probability in probabilities.items():
            rows[token] = probability
        self.rows = rows.log()

    def initial_state(self, batch_size: int, *, start: bool = True) -> State:
        return torch.zeros(batch_size)

    def next_log_probs(self, state: State) -> Tensor:
        return self.rows.expand(len(state), -1)

    def advance(self, ids: Tensor, state: State) -> State:
        return state

    def save(self, directory: Path) -> None:
        raise NotImplementedError

    @classmethod
    def load(cls, directory: Path, options: Any, vocabulary: Vocabulary) -> "Unigram":
        raise NotImplementedError


@pytest.fixture(scope="module")
def tokenizer() -> WordTokenizer:
    return WordTokenizer.fit(LINES, WordOptions(min_count=1))


def judged(tokenizer: WordTokenizer, pairs: list[Pair], **probabilities: float) -> Judgement:
    """The judgement of a unigram model with these probabilities of words."""
    by_id = {int(tokenizer.ids(word)[0]): value for word, value in probabilities.items()}
    return judge({"forward": Unigram(tokenizer.vocabulary, by_id)}, tokenizer, pairs)


def pair(good: str, bad: str, paradigm: str = "p") -> Pair:
    return Pair(good, bad, paradigm)


def test_the_higher_score_wins(tokenizer: WordTokenizer) -> None:
    """Scores are the sums of log-probabilities, and their difference decides."""
    found = judged(tokenizer, [pair("cat", "dog"), pair("dog", "cat")], cat=0.5, dog=0.25)
    end = -math.log(tokenizer.vocabulary.size)
    np.testing.assert_allclose(found.good, [math.log(0.5) + end, math.log(0.25) + end], rtol=1e-6)
    np.testing.assert_allclose(found.difference, [math.log(2), -math.log(2)], rtol=1e-6)
    assert found.correct.tolist() == [1, 0]


def test_ties_count_one_half(tokenizer: WordTokenizer) -> None:
    """Words in another order tie under a model that knows no order, however rounding falls; so do zeros."""
    pairs = [pair("the cat sees a dog .", "a dog sees . the cat"), pair("cats", "cats cats")]
    found = judged(tokenizer, pairs, cats=0.0, the=0.3, cat=0.1, sees=0.07)
    assert found.tie.tolist() == [True, True]
    assert not found.identical.any()
    assert found.correct.tolist() == [0.5, 0.5]
    assert found.difference.tolist() == [0, 0]


def test_pairs_that_differ_only_in_unknown_words(tokenizer: WordTokenizer) -> None:
    """Both sentences are the same tokens to the model: a tie; unknown words are counted on either side."""
    pairs = [pair("the mouse sees", "the mice sees"), pair("a dog", "a mouse"), pair("mouse cat", "cat")]
    found = judged(tokenizer, pairs)
    assert found.identical.tolist() == [True, False, False]
    assert (found.unknown_good.tolist(), found.unknown_bad.tolist()) == ([1, 0, 1], [1, 1, 0])
    (one,) = accuracies(pairs, found).values()
    assert (one.identical, one.identical_unknown, one.unknown_words, one.pairs_with_unknown) == (1, 1, 4, 3)
    assert one.impossible == 0


def test_equal_sentences_and_impossible_ones_are_counted_apart(tokenizer: WordTokenizer) -> None:
    """A pair of equal sentences has no unknown words to blame; two sentences of probability zero are such a tie."""
    pairs = [pair("the cat", "the cat"), pair("cats", "cats cats"), pair("the", "the dog")]
    (one,) = accuracies(pairs, judged(tokenizer, pairs, cats=0.0)).values()
    assert (one.ties, one.identical, one.identical_unknown, one.impossible) == (2, 1, 0, 1)


def test_a_score_that_is_not_a_number_is_never_right(tokenizer: WordTokenizer) -> None:
    """Its paradigm has no accuracy and neither has the mean; other paradigms keep theirs."""
    pairs = [pair("cat", "dog"), pair("dog", "cat"), pair("a", "the", "q")]
    found = judged(tokenizer, pairs, cat=math.nan, a=0.5)
    assert np.isnan(found.correct[:2]).all()
    by_paradigm = accuracies(pairs, found)
    assert by_paradigm["p"].percent is None
    assert by_paradigm["q"].percent == 100
    assert mean_accuracy(list(by_paradigm.values())).percent is None
    assert withheld(by_paradigm).keys() == {"p"}
    first = next(rows("run", pairs, found))
    assert first["correct"] is first["difference"] is first["score_good"] is None
    assert "not a number" in first["note"]


def test_standard_errors(tokenizer: WordTokenizer) -> None:
    """By numpy: of the pairs of a paradigm, and of the mean over paradigms; of one pair it is unknown."""
    pairs = [pair("cat", "dog")] * 7 + [pair("dog", "cat")] * 2 + [pair("cat", "cat")]
    pairs += [pair("cat", "dog", "q")] * 3 + [pair("dog", "cat", "q")]
    found = judged(tokenizer, pairs, cat=0.5, dog=0.25)
    p, q = accuracies(pairs, found).values()
    values = [1] * 7 + [0] * 2 + [0.5]
    assert p.percent == pytest.approx(75)
    assert p.standard_error == pytest.approx(100 * np.std(values, ddof=1) / math.sqrt(10))
    assert p.standard_error is not None
    assert q.standard_error is not None
    mean = mean_accuracy([p, q])
    assert mean.percent == pytest.approx(75)
    assert mean.standard_error == pytest.approx(math.sqrt(p.standard_error**2 + q.standard_error**2) / 2)
    (alone,) = accuracies(pairs[:1], judged(tokenizer, pairs[:1])).values()
    assert alone.standard_error is None
    assert mean_accuracy([p, alone]) == Accuracy(
        mean_accuracy([p, alone]).percent, None, 11, p.ties + alone.ties, 1, 0, 0, 0, 0
    )


def test_characters_have_no_unknown_words() -> None:
    """Under a tokenizer of characters an unknown letter is what is counted."""
    tokenizer = CharTokenizer.fit(LINES, CharOptions())
    model = {"forward": Unigram(tokenizer.vocabulary, {})}
    found = judge(model, tokenizer, [pair("the mouse", "the cat")])
    assert (found.unknown_good.tolist(), found.unknown_bad.tolist()) == ([2], [0])  # m and u


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("pairs")
    text = folder / "text.txt"
    text.write_text("\n".join(LINES), encoding="utf-8")
    sizes = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "max_steps": 5, "device": "cpu"}
    word = {"name": "word", "min_count": 1}
    return {
        "ngram": lmkit.train(text, model="ngram", order=3, tokenizer=word, out=folder / "ngram"),
        "gru": lmkit.train(text, model="gru", tokenizer=word, out=folder / "gru", **sizes),
        "elmo": lmkit.train(
            text, model="elmo", inputs="tokens", tokenizer=word, out=folder / "elmo", **sizes
        ),
    }


@pytest.mark.parametrize("name", ["ngram", "gru", "elmo"])
def test_scores_are_those_of_sentences(models: dict[str, Model], name: str) -> None:
    """A sentence has the score that it has everywhere, full stops that are typed onto words included."""
    model = models[name]
    pairs = [
        pair("The cat sees a dog.", "The cat see a dog."),
        pair("a dog sees the cats.", "a dogs see it."),
    ]
    found = judge(model.directions, model.tokenizer, pairs)
    np.testing.assert_allclose(found.good, model.sentence_scores([p.good for p in pairs]), rtol=1e-5)
    np.testing.assert_allclose(found.bad, model.sentence_scores([p.bad for p in pairs]), rtol=1e-5)
    assert found.unknown_good.tolist() == [1, 0]  # The
    assert found.two_sided == (name == "elmo")
    if name == "ngram":
        assert found.good[1] == pytest.approx(model.score(pairs[1].good).log_prob, rel=1e-6)
