"""Fill a blank: what is refused, what is proposed, and how candidates are ranked."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from lmkit import api
from lmkit.errors import UsageError
from lmkit.evaluation.fill import BLANK, fill, parse, proposals
from lmkit.evaluation.normalization import NORMALIZATIONS

LINES = [
    "the cat sat on the mat .",
    "the dog sat .",
    "a cat and a dog , too .",
    "今天 天气 很 好 ， 我 修 手机 。",
]


@pytest.mark.parametrize("name", ["gru", "char", "ngram", "elmo"])
def test_proposals_come_in_the_order_of_their_scores(models: dict[str, api.Model], name: str) -> None:
    """Without candidates the model proposes some; none is empty or occurs twice, and shares sum to one."""
    model = models[name]
    blank = parse(model.tokenizer, "the cat ____ the mat .")
    found = proposals(model.directions, model.tokenizer, blank, 2)
    assert len(set(found)) == len(found) > 1
    assert all(found)
    filled = fill(model.directions, model.tokenizer, "the cat ____ the mat .")
    assert filled.scores == sorted(filled.scores, reverse=True)
    assert sum(filled.shares) == pytest.approx(1)


@pytest.mark.parametrize("text", ["no blank", "____ and ____", "____\nx"])
def test_texts_without_one_blank_are_refused(models: dict[str, api.Model], text: str) -> None:
    """One blank in one line, or a message that says so."""
    with pytest.raises(UsageError, match="blank"):
        parse(models["gru"].tokenizer, text)


def test_candidates_that_are_none(models: dict[str, api.Model]) -> None:
    """An empty candidate, or one given twice, is refused."""
    model = models["gru"]
    blank = "the ____ ."
    for candidates in (["cat", ""], ["cat", "cat"]):
        with pytest.raises(UsageError, match="candidate"):
            fill(model.directions, model.tokenizer, blank, candidates)


@pytest.mark.parametrize("name", ["gru", "ngram", "char", "attached"])
@pytest.mark.parametrize(
    ("text", "candidates"),
    [
        ("the cat sat on the ____.", ["mat", "zebra", "mat, too"]),
        ("the ____ sat .", ["cat", "dog."]),
        ("今天天气很好，我修____。", ["手机", "天气很好"]),
    ],
)
def test_a_filled_line_has_the_score_of_the_line(
    models: dict[str, api.Model], name: str, text: str, candidates: list[str]
) -> None:
    """Filling the blank by hand gives the very string whose score `sentence_scores` has."""
    model = models[name]
    filled = fill(model.directions, model.tokenizer, text, candidates)
    lines = [text.replace("____", candidate) for candidate in filled.candidates]
    np.testing.assert_allclose(filled.sums, model.sentence_scores(lines), atol=1e-4)


@pytest.mark.parametrize("name", ["gru", "ngram", "elmo"])
def test_candidates_of_one_length_keep_ranks_and_shares(models: dict[str, api.Model], name: str) -> None:
    """Dividing by length changes nothing among equals: neither scores nor shares."""
    model, equals = models[name], ["cat", "dog", "mat", "too"]
    found = [
        fill(model.directions, model.tokenizer, "the ____ sat .", equals, normalize=normalize)
        for normalize in ("none", "token", "char")
    ]
    for other in found[1:]:
        assert other.candidates == found[0].candidates
        np.testing.assert_allclose(other.shares, found[0].shares, atol=1e-6)


def test_impossible_candidates_stay_impossible(tmp_path: Path) -> None:
    """Under a model without smoothing no normalisation makes a candidate possible, and none gives NaN."""
    (tmp_path / "text.txt").write_text("\n".join(LINES * 20), encoding="utf-8")
    model = api.train(
        tmp_path / "text.txt", model="ngram", order=3, smoothing="mle", out=tmp_path / "run",
        tokenizer={"name": "word", "min_count": 1},
    )  # fmt: skip
    for normalize in NORMALIZATIONS:
        filled = fill(
            model.directions, model.tokenizer, "the cat ____ the mat .", ["on on on", "sat on", "."],
            normalize=normalize,
        )  # fmt: skip
        assert filled.candidates[0] == "sat on"
        assert filled.scores[1:] == [-math.inf] * 2
        assert filled.shares == [1, 0, 0]


def test_unknown_normalisations_are_refused(models: dict[str, api.Model]) -> None:
    """A misspelling is told, with what there is."""
    model = models["gru"]
    with pytest.raises(UsageError, match="pmi"):
        fill(model.directions, model.tokenizer, "the ____ sat", ["cat"], normalize="pmis")
    with pytest.raises(UsageError, match="not a list of candidates"):
        fill(model.directions, model.tokenizer, "the ____ sat", "cat")


def test_the_default_is_per_character_for_candidates_alone(models: dict[str, api.Model]) -> None:
    """Candidates of unlike lengths are compared per character; proposals are ranked as the model has them."""
    model = models["ngram"]
    given = fill(model.directions, model.tokenizer, "the ____ sat .", ["cat", "dog"])
    assert given.normalize == "char"
    proposed = fill(model.directions, model.tokenizer, "the ____ sat .")
    assert proposed.normalize == "none"
    assert proposed.scores == proposed.sums


def test_the_cloze_list_of_the_docs_is_sound() -> None:
    """Each sentence has a blank, distinct candidates of unlike lengths, and its answer among them."""
    path = Path(__file__).parent.parent.parent / "examples" / "cloze" / "cloze.jsonl"
    for item in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        assert len(BLANK.split(item["text"])) == 2
        assert item["answer"] in item["candidates"]
        assert len(set(item["candidates"])) == len(item["candidates"])
        assert len(set(map(len, item["candidates"]))) > 1
