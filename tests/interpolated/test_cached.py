"""The cached model: a mixture with a cache, whose settings fit a text, in a run like any other."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from lmkit import api
from lmkit.cli import cli
from lmkit.errors import UsageError
from lmkit.evaluation.cache_fit import fit_cache
from lmkit.studies.interpolate import interpolate

TRAIN = ["the cat sat on the mat", "the dog sat", "a cat and a dog", "the mat and the dog"] * 10
VALID = ["a mat and a mat", "a mat sat on a mat and a mat"] * 5


def run(*line: object) -> Result:
    return CliRunner().invoke(cli, [str(part) for part in line])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bigram, a GRU that is reset at lines, their mixture with a cache, and the GRU with a cache."""
    folder = tmp_path_factory.mktemp("cached")
    (folder / "train.txt").write_text("\n".join(TRAIN), encoding="utf-8")
    (folder / "valid.txt").write_text("\n".join(VALID), encoding="utf-8")
    settings = {"tokenizer": {"name": "word", "min_count": 1}, "device": "cpu", "valid": folder / "valid.txt"}
    api.train(folder / "train.txt", model="ngram", order=2, out=folder / "bigram", **settings)
    sizes = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "max_steps": 20, "reset": "line"}
    api.train(folder / "train.txt", model="gru", out=folder / "gru", **sizes, **settings)
    line = ("interpolate", folder / "bigram", folder / "gru", folder / "valid.txt", "--cache", 20)
    result = run(*line, "--out", folder / "both", "--json")
    assert result.exit_code == 0, result.stderr
    (folder / "both.json").write_text(result.stdout, encoding="utf-8")
    result = run("interpolate", folder / "gru", folder / "valid.txt", "--cache", 20, "--out", folder / "one")
    assert result.exit_code == 0, result.stderr
    return folder


def test_the_fitted_perplexity_is_that_of_the_run(folder: Path) -> None:
    """The run scores the text as the fit said, better than its best part; the weights sum to one."""
    figures = json.loads((folder / "both.json").read_text(encoding="utf-8"))
    weights = [part["weight"] for part in figures["parts"].values()]
    assert sum(weights) + figures["cache"]["weight"] == pytest.approx(1)
    score = api.load(folder / "both", device="cpu").score(VALID)
    assert score.perplexity == pytest.approx(figures["perplexity"], rel=1e-5)
    assert figures["perplexity"] < min(part["perplexity"] for part in figures["parts"].values())


def test_the_options_of_eval_give_the_same(folder: Path) -> None:
    """A run with a cache, and a run that is given the same cache, have one score and one signature."""
    fitted = api.load(folder / "one", device="cpu")
    options = fitted.run.model_choice.options
    table = {"size": 20, "theta": options.theta, "weight": options.weight}
    given = api.load(folder / "gru", device="cpu", cache=table)
    assert given.score(VALID).perplexity == pytest.approx(fitted.score(VALID).perplexity, rel=1e-9)
    assert given.score(VALID).signature == fitted.score(VALID).signature
    assert f"cache:20/theta{options.theta:.4g}/weight{options.weight:.4g}" in given.score(VALID).signature
    line = ("--cache", 20, "--cache-theta", options.theta, "--cache-weight", options.weight)
    result = run("eval", folder / "gru", folder / "valid.txt", *line, "--json")
    assert json.loads(result.stdout)["perplexity"] == pytest.approx(fitted.score(VALID).perplexity, rel=1e-9)


@pytest.mark.parametrize("names", [("both", "gru"), ("gru", "both")])
def test_a_run_with_a_cache_can_be_mixed(folder: Path, tmp_path: Path, names: tuple[str, str]) -> None:
    """A mixture may contain a run with a cache: it scores the text as the fit said."""
    found = interpolate(
        [folder / name for name in names], folder / "valid.txt", tmp_path / "new", device="cpu"
    )
    score = api.load(tmp_path / "new", device="cpu").score(VALID)
    assert score.perplexity == pytest.approx(found.perplexity, rel=1e-5)


def test_surprisals_add_up_to_the_score(folder: Path) -> None:
    """`surprisal --cache` has the bits of `eval --cache`; `compare` and `fill` take the cache too."""
    cache = ("--cache", 20, "--cache-weight", 0.3)
    records = run("surprisal", folder / "gru", folder / "valid.txt", *cache, "--json").stdout.splitlines()
    bits = math.fsum(json.loads(record)["surprisal"] for record in records)
    figures = json.loads(run("eval", folder / "gru", folder / "valid.txt", *cache, "--json").stdout)
    assert bits == pytest.approx(-figures["log_prob"] / math.log(2), rel=1e-9)
    (row,) = json.loads(run("compare", folder / "gru", folder / "valid.txt", *cache, "--json").stdout)
    assert row["perplexity"] == pytest.approx(figures["perplexity"], rel=1e-9)

    def share(*more: object) -> float:
        text, answers = "a mat and a mat and a ____", "mat,dog"
        result = run("fill", folder / "gru", text, "--candidates", answers, *more, "--json")
        (found,) = (row["share"] for row in json.loads(result.stdout) if row["text"] == "mat")
        return found

    assert share(*cache) > share()


def test_a_run_like_any_other(folder: Path, tmp_path: Path) -> None:
    """It is described, generates, and is a part of a mixture; it holds its parts."""
    assert "cached" in run("info", folder / "both").stdout
    assert run("generate", folder / "both", "--prompt", "the", "--max-tokens", 3).exit_code == 0
    line = ("interpolate", folder / "both", folder / "gru", folder / "valid.txt", "--out", tmp_path / "again")
    assert run(*line).exit_code == 0
    held = {path.name for path in (folder / "both" / "parts" / "0" / "parts").iterdir()}
    assert held == {"0", "1"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (("eval", "one", "valid.txt", "--cache", 5), "has a cache already"),
        (("eval", "gru", "valid.txt", "--cache-theta", 1), "also give --cache"),
        (("eval", "gru", "valid.txt", "--dynamic-rate", 1), "also give --dynamic"),
        (("eval", "bigram", "valid.txt", "--dynamic"), "needs a neural model"),
        (("interpolate", "gru", "valid.txt", "--out", "new"), "at least two runs, or one and a cache"),
        (("interpolate", "gru", "valid.txt", "--cache-theta", 1, "--out", "new"), "also give --cache"),
        (("train", "train.txt", "--model", "cached", "--out", "new"), "lmkit interpolate RUN"),
    ],
)
def test_errors(folder: Path, monkeypatch: pytest.MonkeyPatch, line: tuple[object, ...], says: str) -> None:
    """Each wrong use is one line that says what to do, and writes nothing."""
    monkeypatch.chdir(folder)
    result = run(*line)
    assert (result.exit_code, says in result.stderr) == (2, True), result.stderr
    assert not (folder / "new").exists()


def test_loaded_models_with_a_cache_are_not_mixed(folder: Path, tmp_path: Path) -> None:
    """A run holds runs, so a cache that only `load` added would be lost."""
    with pytest.raises(UsageError, match="load it without"):
        interpolate(api.load(folder / "gru", cache=5), folder / "valid.txt", tmp_path / "new", cache=5)


def test_the_best_theta_and_weights_are_found() -> None:
    """Of two caches the better is taken, with the weight that its hits deserve; an empty cache has no say."""
    models = np.log(np.array([[0.01] * 30 + [0.5] * 70 + [0.001]]))
    hits = np.array([0.9] * 30 + [1e-9] * 70 + [np.nan])
    cached = np.log(np.stack([hits * 0.1, hits]))
    fit = fit_cache(models, cached, (0.0, 1.0))
    grid = np.linspace(0.001, 0.999, 999)
    mixed = np.log(np.exp(models[0, :-1]) * (1 - grid)[:, None] + hits[:-1] * grid[:, None]).mean(1)
    assert fit.theta == 1.0
    assert fit.weights[-1] == pytest.approx(grid[mixed.argmax()], abs=2e-3)
    wanted = (mixed.max() * 100 + models[0, -1]) / 101
    assert fit.mean == pytest.approx(wanted, abs=1e-5)


def test_dynamic_evaluation_of_runs(folder: Path) -> None:
    """A network and the networks of a mixture learn, in `eval`, `surprisal` and `fill`; a second text starts afresh."""
    dynamic = ("--dynamic", "--dynamic-rate", 0.5)

    def perplexity(name: str, *more: object) -> dict[str, object]:
        return json.loads(run("eval", folder / name, folder / "valid.txt", *more, "--json").stdout)

    for name in ("gru", "both"):
        learned = perplexity(name, *dynamic)
        assert learned["perplexity"] < perplexity(name)["perplexity"]  # pyright: ignore
        assert "dynamic:sgd/rate0.5/bptt5" in str(learned["signature"])
    stats = ("--dynamic-stats", folder / "train.txt", "--dynamic-rate", 0.01)
    assert "dynamic:rms/rate0.01/decay0.002" in str(perplexity("gru", "--dynamic", *stats)["signature"])
    model = api.load(folder / "gru", device="cpu", dynamic={"rate": 0.5})
    first = model.score(VALID)
    assert first.perplexity == pytest.approx(perplexity("gru", *dynamic)["perplexity"])
    assert model.score(VALID) == first
    records = run("surprisal", folder / "gru", folder / "valid.txt", *dynamic, "--json").stdout.splitlines()
    bits = math.fsum(json.loads(record)["surprisal"] for record in records)
    assert bits == pytest.approx(-first.log_prob / math.log(2))
    line = ("a mat and a mat and a ____", "--candidates", "mat,dog", "--json")
    rows = [json.loads(run("fill", folder / "gru", *line, *more).stdout) for more in ((), dynamic)]
    assert rows[0] != rows[1]
