"""The interpolated model: equal to the mixture of its parts' probabilities, and a run like any other."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from lmkit_interpolated.model import InterpolatedModel

from lmkit import api
from lmkit.cli import cli
from lmkit.corpus.readers import Text
from lmkit.errors import ModelError
from lmkit.evaluation.interpolation import em
from lmkit.scoring.measured_lines import measured_lines

LINES = ["the cat sat on the mat", "the dog sat", "a cat and a dog", "the mat and the dog"]


def run(*line: object) -> Result:
    return CliRunner().invoke(cli, [str(part) for part in line])


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bigram that is reset at lines, a GRU that is not, their mixture, and the texts."""
    folder = tmp_path_factory.mktemp("mix")
    for name in ("train", "valid"):
        (folder / f"{name}.txt").write_text("\n".join(LINES * 10), encoding="utf-8")
    paths = {"train": folder / "train.txt", "valid": folder / "valid.txt"}
    settings = {"valid": paths["valid"], "tokenizer": {"name": "word", "min_count": 1}, "device": "cpu"}
    api.train(paths["train"], model="ngram", order=2, out=folder / "bigram", **settings)
    sizes = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "max_steps": 20, "reset": "never"}
    api.train(paths["train"], model="gru", out=folder / "gru", **sizes, **settings)
    paths |= {"bigram": folder / "bigram", "gru": folder / "gru", "both": folder / "both"}
    line = ("interpolate", paths["bigram"], paths["gru"], "--data", paths["valid"], "--out", paths["both"])
    result = run(*line, "--json")
    assert result.exit_code == 0, result.stderr
    paths["figures"] = folder / "figures.json"
    paths["figures"].write_text(result.stdout, encoding="utf-8")
    return paths


def test_scores_are_the_mixture_of_the_parts(parts: dict[str, Path]) -> None:
    """Token by token p = sum of weight * p_part, each part with its own resets at line ends."""
    text = Text.from_lines(LINES)
    weights = api.load(parts["both"]).run.model.weights
    scores = {}
    for name in ("bigram", "gru", "both"):
        model = api.load(parts[name], device="cpu")
        lines = measured_lines(model.causal, model.tokenizer, text)
        scores[name] = np.concatenate([figures[:, 0] for _, _, figures in lines])
    wanted = np.log(weights[0] * np.exp(scores["bigram"]) + weights[1] * np.exp(scores["gru"]))
    np.testing.assert_allclose(scores["both"], wanted, rtol=1e-6)


def test_mixed_counts_have_the_scores_of_their_states(parts: dict[str, Path], tmp_path: Path) -> None:
    """Whole lines at once, as `eval` scores them, and token by token; a part with another reset has no such way."""
    other = api.train(
        parts["train"],
        model="infini-gram",
        tokenizer={"name": "word", "min_count": 1},
        out=tmp_path / "infini",
    )
    bigram = api.load(parts["bigram"])
    mixed = InterpolatedModel.combine([bigram.run, other.run], [0.25, 0.75])
    rows = [[*bigram.tokenizer.ids(line).tolist(), mixed.vocabulary.eos_id] for line in LINES]
    wanted = [mixed.log_probs(torch.tensor([row]), mixed.initial_state(1))[0][0].numpy() for row in rows]
    found = mixed.line_log_probs(np.concatenate(rows).astype(np.int32))
    assert found is not None
    np.testing.assert_allclose(found, np.concatenate(wanted), rtol=1e-6, atol=1e-6)
    assert api.load(parts["both"]).causal.line_log_probs(np.zeros(1, np.int32)) is None


@torch.no_grad()
def test_next_words_sum_to_one_and_agree_with_scores(parts: dict[str, Path]) -> None:
    """The distribution after any prefix is one, and stepping gives what scoring a line at once gives."""
    loaded = api.load(parts["both"], device="cpu")
    model = loaded.causal
    ids = torch.tensor([[*loaded.tokenizer.ids(LINES[0]).tolist(), model.vocabulary.eos_id, 3, 4]])
    scores, _ = model.log_probs(ids, model.initial_state(1))
    state = model.initial_state(1)
    for place, token in enumerate(ids[0]):
        row = model.next_log_probs(state)
        assert float(row.exp().sum()) == pytest.approx(1, abs=1e-5)
        assert float(row[0, token]) == pytest.approx(float(scores[0, place]), abs=1e-5)
        state = model.advance(token[None], state)


def test_no_worse_than_the_best_part(parts: dict[str, Path]) -> None:
    """On the text of the weights the mixture's perplexity is at most that of each part."""
    figures = json.loads(parts["figures"].read_text(encoding="utf-8"))
    assert figures["perplexity"] <= min(part["perplexity"] for part in figures["parts"].values()) + 1e-6
    assert sum(part["weight"] for part in figures["parts"].values()) == pytest.approx(1)


def test_a_run_like_any_other(parts: dict[str, Path], tmp_path: Path) -> None:
    """A mixture evaluates, generates, and is a part of a mixture itself; it holds its parts."""
    assert run("eval", parts["both"], parts["valid"]).exit_code == 0
    assert run("generate", parts["both"], "--prompt", "the", "--max-tokens", 3).exit_code == 0
    again = (
        "interpolate",
        parts["both"],
        parts["gru"],
        "--data",
        parts["valid"],
        "--out",
        tmp_path / "again",
    )
    assert run(*again).exit_code == 0
    held = {path.name for path in (tmp_path / "again" / "parts" / "0" / "parts").iterdir()}
    assert held == {"0", "1"}


def test_scores_that_are_no_probabilities(parts: dict[str, Path], tmp_path: Path) -> None:
    """A model whose scores do not sum to one is not mixed; a mixture that holds one is not normalised either."""
    settings = {"tokenizer": {"name": "word", "min_count": 1}, "smoothing": "stupid-backoff", "order": 2}
    scores = api.train(parts["train"], model="ngram", out=tmp_path / "scores", **settings)
    line = (
        "interpolate",
        parts["bigram"],
        tmp_path / "scores",
        "--data",
        parts["valid"],
        "--out",
        tmp_path / "mix",
    )
    result = run(*line)
    assert (result.exit_code, "do not sum to one" in result.stderr) == (2, True)
    held = [api.load(parts["bigram"]).run, scores.run]
    assert InterpolatedModel.combine(held[:1], [1.0]).normalized
    for weights in ([1.0, 0.0], [0.5, 0.5]):
        mixture = InterpolatedModel(None, held[0].model.vocabulary)._filled(held, weights)
        assert not mixture.normalized


def test_damaged_weights_are_refused(parts: dict[str, Path]) -> None:
    """Weights that do not sum to one are no mixture."""
    from lmkit_interpolated.model import InterpolatedModel

    with pytest.raises(ModelError, match="weights"):
        InterpolatedModel.load(parts["gru"], None, api.load(parts["gru"]).vocabulary)


def test_other_vocabularies_are_refused(parts: dict[str, Path], tmp_path: Path) -> None:
    """Runs over different vocabularies cannot be mixed, which one line says, and nothing is written."""
    api.train(parts["train"], model="ngram", order=1, tokenizer="char", out=tmp_path / "char")
    line = ("interpolate", parts["bigram"], tmp_path / "char", "--data", parts["valid"])
    result = run(*line, "--out", tmp_path / "out")
    assert result.exit_code != 0
    assert "another vocabulary" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_mixture_is_not_trained(parts: dict[str, Path], tmp_path: Path) -> None:
    """`lmkit train --model interpolated` names the command that makes one."""
    result = run("train", parts["train"], "--model", "interpolated", "--out", tmp_path / "out")
    assert result.exit_code != 0
    assert "lmkit interpolate" in result.stderr


@given(st.floats(0.05, 0.95), st.integers(20, 200))
def test_em_finds_the_optimum(share: float, tokens: int) -> None:
    """Of two models that each know half of the tokens the best weights are the halves' shares of the text."""
    first = round(share * tokens)
    log_probs = np.log(
        np.array(
            [[0.9] * first + [1e-9] * (tokens - first)] * 1 + [[1e-9] * first + [0.9] * (tokens - first)]
        )
    )
    *_, (weights, _) = em(log_probs)
    np.testing.assert_allclose(weights, [first / tokens, 1 - first / tokens], atol=1e-2)


@given(st.integers(1, 4), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_em_never_falls(models: int, tokens: int, seed: int) -> None:
    """Each step's likelihood is at least that of the step before."""
    log_probs = np.log(np.random.default_rng(seed).uniform(1e-6, 1, (models, tokens)))
    means = [mean for _, mean in em(log_probs)]
    assert all(after >= before - 1e-12 for before, after in pairwise(means))
