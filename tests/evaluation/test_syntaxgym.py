"""SyntaxGym suites: how they are read, and that predictions see the surprisals of `lmkit surprisal`."""

import copy
import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lmkit
from lmkit import api
from lmkit.errors import DataError
from lmkit.evaluation.syntaxgym import RegionScore, _value, read_suite
from lmkit.studies.syntaxgym import syntaxgym

EXAMPLE = Path(__file__).parents[2] / "examples" / "syntaxgym" / "agreement.json"
SUITE: dict[str, Any] = {
    "meta": {"name": "small", "metric": "sum"},
    "region_meta": {"1": "subject", "2": "verb", "3": "end"},
    "predictions": [
        {"type": "formula", "formula": "(2;%cat%) < (2;%zorp%)"},
        {"type": "formula", "formula": "(*;%cat%) < (*;%zorp%)"},
    ],
    "items": [
        {
            "item_number": number,
            "conditions": [
                {
                    "condition_name": name,
                    "regions": [
                        {"region_number": 3, "content": end},
                        {"region_number": 1, "content": f"the {name}"},
                        {"region_number": 2, "content": verb},
                    ],
                }
                for name in ("cat", "zorp")
            ],
        }
        for number, verb, end in ((1, "sat on", "the mat ."), (2, "sat", ""))
    ],
}


def written(path: Path, suite: object) -> Path:
    path.write_text(json.dumps(suite), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["ngram", "char", "gru"])
def test_predictions_see_the_surprisals_of_words(
    models: dict[str, api.Model], tmp_path: Path, name: str
) -> None:
    """Sums by hand from `model.surprisal`: unknown words stay in their region, and the line's end is in none."""
    model = models[name]
    suite = read_suite(written(tmp_path / "s.json", SUITE))
    ((found,),) = syntaxgym({"m": model}, [suite]).values()
    for sentence, scores in zip(suite.sentences, found.scores, strict=True):
        assert [number for number, _ in sentence.regions] == [1, 2, 3]
        text = " ".join(content for _, content in sentence.regions if content)
        words = [one.surprisal for one in model.surprisal(text, independent=True)]
        at = 0
        for (_, content), score in zip(sentence.regions, scores, strict=True):
            size = len(content.split())
            assert score.surprisal == pytest.approx(math.fsum(words[at : at + size]), rel=1e-6)
            assert score.words == size
            assert (score.surprisal > 0) == (size > 0)
            at += size
    by_item = [found.scores[place : place + 2] for place in (0, 2)]
    wanted = [
        (
            cat[1].surprisal < zorp[1].surprisal,
            sum(one.surprisal for one in cat) < sum(one.surprisal for one in zorp),
        )
        for cat, zorp in by_item
    ]
    assert list(found.holds) == wanted
    assert found.accuracy()[0] == 100 * sum(map(all, wanted)) / 2
    assert found.accuracy(0)[0] == 100 * sum(one[0] for one in wanted) / 2
    if name == "ngram":
        assert [score.oov for score in found.scores[1]] == [True, False, False]
        assert found.unknown == 2


def test_the_example_is_a_suite(models: dict[str, api.Model]) -> None:
    """Its rows for --out have the names of regions; `lmkit.syntaxgym` is the command in Python."""
    suite = read_suite(EXAMPLE)
    assert (suite.name, len(suite.items), len(suite.sentences)) == ("agreement_across_a_phrase", 8, 32)
    ((found,),) = lmkit.syntaxgym({"gru": models["gru"]}, [suite]).values()
    rows = list(found.rows("gru"))
    assert len(rows) == 192
    assert (rows[4]["item"], rows[4]["condition"], rows[4]["region"]) == ("1", "match_sing", "verb")
    assert (rows[4]["region_number"], rows[4]["content"], rows[4]["words"]) == (5, "was", 1)


def test_the_metric_mean_divides_by_the_words(models: dict[str, api.Model], tmp_path: Path) -> None:
    """Each region has the mean of its words, and `*` the sum of these means; an empty region has 0."""
    suite = copy.deepcopy(SUITE)
    suite["meta"]["metric"] = "mean"
    formulas = (
        "(1;%cat%) < (2;%cat%)",
        "(*;%cat%) = (1;%cat%) + (2;%cat%) + (3;%cat%)",
        "(3;%cat%) < (1;%cat%)",
    )
    suite["predictions"] = [{"type": "formula", "formula": formula} for formula in formulas]
    found = read_suite(written(tmp_path / "s.json", suite))
    ((result,),) = syntaxgym({"m": models["ngram"]}, [found]).values()
    _, second = result.holds
    subject, verb, end = result.scores[2]
    assert (subject.words, verb.words, end.words) == (2, 1, 0)
    assert second == (subject.surprisal / 2 < verb.surprisal, True, True)


METRICS: dict[str, Callable[[list[float]], float]] = {
    "sum": math.fsum,
    "mean": statistics.fmean,
    "median": statistics.median,
    "range": lambda values: max(values) - min(values),
    "max": max,
    "min": min,
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", ["ngram", "char"])
def test_metrics_are_of_the_words(
    models: dict[str, api.Model], tmp_path: Path, metric: str, name: str
) -> None:
    """Each metric, by hand from `model.surprisal`, of regions of one word, of several and of none."""
    model, suite = models[name], copy.deepcopy(SUITE)
    regions = ["the  cat", "sat on", "the mat .", " ", "\N{IDEOGRAPHIC SPACE}你好 世界", " sat"]
    text = "the  cat sat on the mat . \N{IDEOGRAPHIC SPACE}你好 世界 sat"
    words = [one.surprisal for one in model.surprisal(text, independent=True)]
    cells = [{"region_number": number, "content": content} for number, content in enumerate(regions, 1)]
    suite["meta"]["metric"] = metric
    suite["items"] = [{"item_number": 1, "conditions": [{"condition_name": "c", "regions": cells}]}]
    suite["predictions"] = [{"type": "formula", "formula": "(1;%c%) < (2;%c%)"}]
    ((result,),) = syntaxgym({"m": model}, [read_suite(written(tmp_path / "s.json", suite))]).values()
    values = [_value(score, metric) for score in result.scores[0]]
    at, wanted = 0, []
    for content in regions:
        own = words[at : at + len(content.split())]
        at += len(own)
        wanted.append(METRICS[metric](own) if own else 0.0)
    assert values == pytest.approx(wanted, rel=1e-6, abs=1e-9)
    assert result.holds == ((values[0] < values[1],),)
    assert [score.words for score in result.scores[0]] == [2, 2, 3, 0, 2, 1]


def test_a_metric_of_what_is_not_a_number() -> None:
    """One word that is not a number withholds the value, wherever it stands; an impossible word is the largest."""
    for metric in ("median", "range", "max", "min"):
        for values in ((math.nan, 1.0), (1.0, math.nan)):
            assert math.isnan(_value(RegionScore(math.nan, 2, False, values), metric))
    assert _value(RegionScore(math.inf, 2, False, (1.0, math.inf)), "max") == math.inf
    assert _value(RegionScore(math.inf, 2, False, (1.0, math.inf)), "min") == 1


def broken(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(SUITE), **changes}


def without_region() -> dict[str, Any]:
    suite = copy.deepcopy(SUITE)
    del suite["items"][1]["conditions"][0]["regions"][2]
    return suite


def with_region(**changes: Any) -> dict[str, Any]:
    suite = copy.deepcopy(SUITE)
    suite["items"][1]["conditions"][0]["regions"][2] |= changes
    return suite


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ([], "the suite: 'meta' is missing or not an object"),
        (
            broken(meta={"metric": "all"}),
            "the metric of 'meta' is 'all'; known are sum, mean, median, range, max, min",
        ),
        (broken(items=[]), "no items or no predictions"),
        (broken(predictions=[{"type": "formula", "formula": "(1;%cat%)"}]), "prediction 1: formula '"),
        (broken(predictions=[{"type": "other"}]), "prediction 1: its type is 'other'"),
        (
            broken(predictions=[{"type": "formula", "formula": "(1;%dog%) > (1;%cat%)"}]),
            "item 1: no condition 'dog' as in prediction 1; it has 'cat', 'zorp'",
        ),
        (without_region(), r"item 2, condition 'cat': no region 2 as in prediction 1; it has 1, 3"),
        (
            with_region(content=None),
            "item 2, condition 'cat', region 2: 'content' is missing or not a string",
        ),
        (
            with_region(region_number="2"),
            "a region of item 2, condition 'cat': 'region_number' is missing or not",
        ),
        (with_region(region_number=3), "item 2, condition 'cat', region 3: it is given twice"),
        (broken(items=[SUITE["items"][0]] * 2), "item 1, condition 'cat': it is given twice"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, suite: object, message: str) -> None:
    """The error has the file, the item, the condition and the region."""
    path = written(tmp_path / "s.json", suite)
    with pytest.raises(DataError) as error:
        read_suite(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


def test_a_region_inside_a_token_is_named(models: dict[str, api.Model], tmp_path: Path) -> None:
    """Text without spaces may have regions that a model of words cannot tell apart."""
    suite = copy.deepcopy(SUITE)
    suite["items"][1]["conditions"][0]["regions"] = [
        {"region_number": number, "content": content} for number, content in ((1, "今"), (2, "天"), (3, "."))
    ]
    found = read_suite(written(tmp_path / "s.json", suite))
    with pytest.raises(
        DataError, match="suite small: item 2, condition 'cat', region 2: it begins inside '今天"
    ):
        syntaxgym({"m": models["ngram"]}, [found])
