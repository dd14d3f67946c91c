"""`lmkit context`: tables, JSON and picture, for any run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import lmkit
from lmkit.cli.context import command
from lmkit.errors import UsageError

TEXT = "the cat sat on the mat and the dog lay by the door\na bird sang in the tree by the old house\n" * 30
QUICK: dict[str, Any] = {"max_steps": 3, "hidden_size": 6, "batch_size": 2, "bptt": 8, "threads": 1}
KINDS: dict[str, dict[str, Any]] = {
    "ngram": {"model": {"name": "ngram", "order": 3, "smoothing": "witten-bell"}},
    "gru": {"model": "gru", **QUICK},
    "elmo": {"model": "elmo", **QUICK},
    "backoff": {"model": {"name": "ngram", "order": 2, "smoothing": "stupid-backoff"}},
    "mle": {"model": {"name": "ngram", "order": 2, "smoothing": "mle"}},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with text.txt and a run of each kind."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    for name, settings in KINDS.items():
        lmkit.train(folder / "text.txt", out=folder / name, tokenizer="word", min_count=1, **settings)
    return folder


def context(runs: Path, *line: str) -> Result:
    names = [str(runs / word) if word in KINDS else word for word in line]
    few = ["--data", str(runs / "text.txt"), "--longest", "12", "--windows", "6"]
    return CliRunner().invoke(command, [*names, *few])


def test_json(runs: Path) -> None:
    """Every k is there, for each model; of neural ones the gradients before and after training."""
    result = context(runs, "ngram", "gru", "--shuffle", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["runs"]
    assert list(found) == ["ngram", "gru"]
    ngram, gru = found["ngram"], found["gru"]
    assert ngram["context"]["k"] == list(range(1, 13))
    assert set(ngram["context"]["perplexity"][1:]) == {ngram["context"]["full_perplexity"]}
    assert set(ngram["shuffled"]["nats_increase"][1:]) == {0.0}
    assert ngram["gradients"] is None
    loaded = lmkit.load(runs / "gru")
    assert gru["context"]["full_perplexity"] == pytest.approx(loaded.score(TEXT).perplexity, rel=1e-5)
    before, after = (gru["gradients"][when] for when in ("before", "after"))
    assert list(before["state"]) == ["all", "h"]
    assert before["state"]["h"] != after["state"]["h"]
    assert sum(after["weights_share"]) == pytest.approx(1)
    assert len(after["state"]["all"]) == len(after["lag"]) > 5


def test_tables(runs: Path) -> None:
    """A table each of contexts, shuffled contexts and gradients; what has no gradients is named."""
    result = context(runs, "ngram", "gru", "--shuffle")
    assert result.exit_code == 0, result.output
    contexts, _, shuffled, _, slopes, note = result.stdout.strip().split("\n\n")
    assert contexts.splitlines()[0].split() == ["|", "context", "|", "ngram", "|", "gru", "|"]
    assert [line.split()[1] for line in contexts.splitlines()[2:]] == ["1", "2", "3", "5", "10", "all"]
    assert len(shuffled.splitlines()) == 2 + 5
    assert [line.split()[1:3] for line in slopes.splitlines()[2:]] == [["gru", "before"], ["gru", "after"]]
    assert "no state that gradients reach: ngram" in note


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot(runs: Path, tmp_path: Path, suffix: str) -> None:
    """The picture is written; one that could not be is refused before any work."""
    pytest.importorskip("matplotlib")
    picture = tmp_path / f"context.{suffix}"
    result = context(runs, "ngram", "gru", "--shuffle", "--plot", str(picture))
    assert result.exit_code == 0, result.output
    assert picture.stat().st_size > 5000
    refused = context(runs, "gru", "--plot", str(tmp_path / "context.txt"))
    assert isinstance(refused.exception, UsageError)


def test_encoder(runs: Path) -> None:
    """A bidirectional encoder is measured as its two directions, each with separate gradients."""
    result = context(runs, "elmo", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["runs"]
    assert list(found) == ["elmo forward", "elmo backward"]
    one, other = found.values()
    assert one["context"]["nats"] != other["context"]["nats"]
    assert one["gradients"]["after"]["state"] != other["gradients"]["after"]["state"]
    # States are reset at each line, of at most 13 tokens.
    assert np.allclose(one["context"]["nats"][-1:], np.log(one["context"]["full_perplexity"]), atol=1e-3)


def test_scores_that_are_no_probabilities(runs: Path) -> None:
    """Stupid backoff has losses, and no perplexity."""
    result = context(runs, "backoff", "--json")
    found = json.loads(result.stdout)["runs"]["backoff"]["context"]
    assert found["nats"][0] > 0
    assert set(found["perplexity"]) == {None}
    assert context(runs, "backoff").exit_code == 0


def test_probabilities_of_zero(runs: Path, recwarn: pytest.WarningsRecorder) -> None:
    """A model without smoothing, of another text: no perplexity, no "nan" and no warning of numpy's."""
    (runs / "other.txt").write_text("a mat sat by the cat and a dog\n" * 30, encoding="utf-8")
    for shuffle in ([], ["--shuffle"]):
        line = [str(runs / "mle"), "--data", str(runs / "other.txt"), "--longest", "4", *shuffle]
        result = CliRunner().invoke(command, line)
        assert result.exit_code == 0, result.output
        assert "nan" not in result.stdout
    assert not [one for one in recwarn if one.category is RuntimeWarning]


def test_one_token_has_no_order(runs: Path) -> None:
    """A context of one token cannot be shuffled, which is an error before any work."""
    line = [str(runs / "gru"), "--data", str(runs / "text.txt"), "--longest", "1", "--shuffle"]
    assert isinstance(CliRunner().invoke(command, line).exception, UsageError)


def test_without_gradients(runs: Path) -> None:
    """--no-gradients leaves them out."""
    result = context(runs, "gru", "--no-gradients", "--json")
    assert json.loads(result.stdout)["runs"]["gru"]["gradients"] is None


def test_third_party(python_with_plugins: Callable[..., Any], tmp_path: Path) -> None:
    """A counting model of another distribution has its curve: a bigram's is flat from one token on."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    code = (
        "import lmkit\n"
        "from lmkit.cli.context import command\n"
        "lmkit.train('text.txt', model='bigram', out='bigram', tokenizer='word', min_count=1)\n"
        "command(['bigram', '--data', 'text.txt', '--longest', '9', '--shuffle', '--json'])\n"
    )
    result = python_with_plugins("-c", code, plugins=("lmkit-demo-bigram",))
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)["runs"]["bigram"]
    assert found["context"]["nats"] == pytest.approx([found["context"]["nats"][0]] * 9, abs=1e-6)
    assert found["shuffled"]["nats_increase"] == pytest.approx([0] * 4, abs=1e-6)
