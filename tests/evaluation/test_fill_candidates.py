"""Candidates in a blank: equal to whole lines scored one by one, by causal models and from both sides."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lmkit import api
from lmkit.corpus.distances import answers, items
from lmkit.errors import UsageError
from lmkit.evaluation import fill_report as heat
from lmkit.evaluation.distance_task import chance, rank
from lmkit.evaluation.fill import BLANK, fill, parse, proposals
from lmkit.evaluation.fill_candidates import TWO_SIDED, Blank, candidate_scores
from lmkit.evaluation.fill_why import Part, Why, why
from lmkit.evaluation.normalization import NORMALIZATIONS
from lmkit.scoring.segmentation import clauses, units, unknown_words

LINES = [
    "the cat sat on the mat .",
    "the dog sat .",
    "a cat and a dog , too .",
    "今天 天气 很 好 ， 我 修 手机 。",
]
BLANKS = [Blank("the cat ", " the mat ."), Blank("", " sat ."), Blank("a cat and ", "")]
CANDIDATES = ["sat on", "dog", "the dog"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, api.Model]:
    folder = tmp_path_factory.mktemp("blanks")
    (folder / "train.txt").write_text("\n".join(LINES * 20), encoding="utf-8")
    sizes = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "max_steps": 5, "device": "cpu"}
    text = folder / "train.txt"
    word = {"name": "word", "min_count": 1}
    attached = folder / "attached.txt"
    attached.write_text("\n".join(["the cat sat on the mat.", "the dog, too."] * 20), encoding="utf-8")
    return {
        "gru": api.train(text, model="gru", tokenizer=word, out=folder / "gru", **sizes),
        "char": api.train(text, model="gru", tokenizer="char", out=folder / "char", **sizes),
        "ngram": api.train(text, model="ngram", order=3, out=folder / "ngram", tokenizer=word),
        "attached": api.train(attached, model="ngram", order=3, out=folder / "attached", tokenizer=word),
        "elmo": api.train(text, model="elmo", inputs="tokens", tokenizer=word, out=folder / "elmo", **sizes),
    }


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


def test_ranking_of_the_distance_task(models: dict[str, api.Model]) -> None:
    """A model ranks every consequence; one that knows the words no better than chance is near it or below."""
    model = models["ngram"]
    sentences = list(items("zh", 1, 24))
    (ranking,) = rank(model.directions, model.tokenizer, "zh", sentences).values()
    assert ranking.best.max() < len(answers("zh"))
    (row,) = ranking.accuracy("clauses")
    assert row["items"] == 24
    assert row["words"] == pytest.approx(np.mean([item.words for item in sentences]))
    assert sum(by["items"] for by in ranking.accuracy("words")) == 24
    assert chance("zh") == pytest.approx(100 / 24)


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


def test_why_is_what_leaving_out_costs(models: dict[str, api.Model]) -> None:
    """A part's costs are those of the answer's tokens, and of its share, computed by leaving it out by hand."""
    model = models["gru"]
    filled = fill(model.directions, model.tokenizer, "the cat ____ .", ["sat", "dog"])
    parts = why(model.directions, model.tokenizer, filled).words
    assert [part and part.text for part in parts] == ["the", "cat", None, "."]

    def own(line: str) -> float:
        ids = model.tokenizer.ids(f"{line} {filled.candidates[0]}")[None].astype(np.int64)
        with torch.no_grad():
            return float(
                model.causal.log_probs(torch.from_numpy(ids), model.causal.initial_state(1))[0][0, -1]
            )

    def share(line: str) -> float:
        scores = model.sentence_scores([line.replace("_", word) for word in filled.candidates])
        return float(scores[0] - np.logaddexp.reduce(scores))

    part = parts[1]
    assert part is not None
    assert part.cost == pytest.approx(own("the cat") - own("the"), abs=1e-4)
    assert part.share_cost == pytest.approx(share("the cat _ .") - share("the _ ."), abs=1e-4)


def test_why_of_an_only_candidate(models: dict[str, api.Model]) -> None:
    """What words do for its log-probability is known; its share is always 1."""
    model = models["gru"]
    filled = fill(model.directions, model.tokenizer, "the cat ____", ["sat"])
    assert all(part.share_cost == 0 for part in why(model.directions, model.tokenizer, filled).words if part)


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


def test_unknown_words(models: dict[str, api.Model]) -> None:
    """Words that the vocabulary lacks are named, without the mark that is typed onto them."""
    tokenizer = models["gru"].tokenizer
    assert unknown_words(tokenizer, "a catdog") == ["catdog"]
    assert unknown_words(tokenizer, "a cat, too.") == []


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


def test_units_and_clauses(models: dict[str, api.Model]) -> None:
    """What is left out at a time: words, characters of Chinese where no spaces are read, clauses with their comma."""
    text = "the cat , 好的 ."
    assert [text[a:b] for a, b in units(models["gru"].tokenizer, text)] == text.split()
    typed = "今天天气，the cat."
    assert [typed[a:b] for a, b in units(models["gru"].tokenizer, typed)] == [
        "今天", "天气", "，", "the", "cat", ".",
    ]  # fmt: skip
    assert [text[a:b] for a, b in units(models["char"].tokenizer, text)] == [
        "the",
        "cat",
        ",",
        "好",
        "的",
        ".",
    ]
    assert [text[a:b] for a, b in clauses("天气 好 ， 我 去 . x")] != []
    assert ["天气 好 ， 我 去"[a:b] for a, b in clauses("天气 好 ， 我 去")] == ["天气 好 ，", "我 去"]


def test_pages_show_text_as_text(tmp_path: Path) -> None:
    """Words that look like markup are escaped in HTML; without colours the terminal says the cost."""
    parts = [Part("<b>", 0, " ", 2.0, 1.0), None, Part("x", 1, "", 0.0, 0.0)]
    reasons = Why("a&b", " ", parts, parts)
    page = heat.page({"run<": reasons})
    assert "&lt;b&gt;" in page
    assert "a&amp;b" in page
    assert "run&lt;" in page
    assert heat.terminal(reasons, colours=False) == "<b>(+2.0) [a&b] x"
    heat.picture(tmp_path / "why.png", {"run": reasons})
    assert (tmp_path / "why.png").stat().st_size > 1000


def test_impossible_answers_are_drawn(tmp_path: Path) -> None:
    """An infinite cost, as of an n-gram without smoothing, has the full colour; nothing is NaN."""
    parts = [Part("a", 0, " ", math.inf, math.inf), Part("b", 2, " ", 2.0, 0.0), None]
    reasons = Why("c", "", parts, parts)
    assert "nan" not in heat.page({"run": reasons})
    assert heat.terminal(reasons, colours=True).count(str(heat.REDS[-1])) == 2
    heat.picture(tmp_path / "why.png", {"run": reasons})


@pytest.mark.parametrize(
    ("name", "text"), [("char", "the\tcat ____ on !"), ("char", "a\u00a0b ____"), ("gru", "你，他 ____ 。")]
)
def test_any_white_space_and_clauses_within_words_are_drawn(
    models: dict[str, api.Model], tmp_path: Path, name: str, text: str
) -> None:
    """The picture frames clauses wherever they begin: behind tabs, and within a word that is not known."""
    model = models[name]
    filled = fill(model.directions, model.tokenizer, text, ["a", "b"])
    heat.picture(tmp_path / "why.png", {"run": why(model.directions, model.tokenizer, filled)})
    assert (tmp_path / "why.png").stat().st_size > 1000


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
