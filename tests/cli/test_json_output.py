"""Every command's --json under models whose figures are infinite or not numbers: no bare Infinity, no NaN."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import lmkit
from lmkit import runs
from lmkit.cli import cli

TRAIN = "the cat sat on the mat\nthe dog ran\na cat ran\n" * 10
TEST = "the cat sat on the dog\nmat the the xylophone\n\na dog sat\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """mle: an n-gram model without smoothing. nan: a network with NaN in its weights. elmo: the same for an encoder."""
    path = tmp_path_factory.mktemp("infinite")
    (path / "train.txt").write_text(TRAIN, encoding="utf-8")
    (path / "test.txt").write_text(TEST, encoding="utf-8")
    (path / "pairs.jsonl").write_text(
        json.dumps({"sentence_good": "the cat sat", "sentence_bad": "the the sat", "UID": "a"}), "utf-8"
    )
    tokenizer = {"name": "word", "min_count": 1}
    common = {"tokenizer": tokenizer, "max_steps": 1, "batch_size": 2, "bptt": 8, "hidden_size": 8}
    lmkit.train(
        path / "train.txt", model="ngram", smoothing="mle", order=3, tokenizer=tokenizer, out=path / "mle"
    )
    for name, model in (("nan", {"name": "gru"}), ("elmo", {"name": "elmo", "inputs": "tokens"})):
        trained = lmkit.train(path / "train.txt", model=model, out=path / f"{name}-sound", **common)
        assert isinstance(trained.run.model, torch.nn.Module)
        for weight in trained.run.model.parameters():
            torch.nn.init.constant_(weight, float("nan"))
        runs.make_run(
            path / name, trained.run.model, trained.tokenizer,
            model_choice=trained.run.model_choice, tokenizer_choice=trained.run.tokenizer_choice, data={},
        )  # fmt: skip
    return path


def printed(folder: Path, *words: str) -> list:
    """The JSON values that a command prints, each parsed as RFC 8259 has it."""
    arguments = [str(folder / word) if (folder / word).exists() else word for word in words]
    result = CliRunner().invoke(cli, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if line]
    assert lines
    return [json.loads(line, parse_constant=pytest.fail) for line in lines]


@pytest.mark.parametrize("run", ["mle", "nan"])
@pytest.mark.parametrize(
    "words",
    [
        ("eval", "RUN", "test.txt"),
        ("surprisal", "RUN", "test.txt", "--entropy", "--rank"),
        ("surprisal", "RUN", "test.txt", "--by", "line"),
        ("minimal-pairs", "RUN", "pairs.jsonl"),
        ("fill", "RUN", "the cat ____ on the mat", "--candidates", "sat,ran,the the", "--why"),
        ("context", "RUN", "test.txt", "--longest", "3", "--windows", "4", "--shuffle"),
        ("compare", "RUN", "--data", "test.txt"),
        ("distances", "RUN", "--language", "en", "--farthest", "1", "--count", "2"),
    ],
    ids=lambda words: words[0],
)
def test_json_is_sound(folder, run, words):
    """What a model without smoothing, or with NaN in it, makes of a text is still JSON."""
    arguments = [run if word == "RUN" else word for word in words]
    if run == "nan":
        arguments.append("--allow-nonfinite")
    assert printed(folder, *arguments)


def test_null_has_its_reason(folder):
    """A surprisal and a log-probability that JSON cannot write say why beside the null."""
    (score,) = printed(folder, "eval", "mle", "test.txt")
    assert score["log_prob"] is None
    assert "probability zero" in score["withheld"]["log_prob"]
    records = printed(folder, "surprisal", "mle", "test.txt")
    impossible = [record for record in records if record["surprisal"] is None]
    assert impossible
    assert all(record["withheld"]["surprisal"].startswith("infinite") for record in impossible)
    (rows,) = printed(folder, "fill", "mle", "the cat ____ on the mat", "--candidates", "sat,ran")
    assert [row["log_prob"] is None for row in rows] == [False, True]
    assert rows[1]["withheld"].keys() == {"log_prob", "score"}


def test_a_mixture_with_an_impossible_part(folder, tmp_path):
    """The perplexity of a part that cannot say a text is infinite: null."""
    lmkit.train(
        folder / "train.txt", model="ngram", order=2, tokenizer={"name": "word", "min_count": 1},
        out=tmp_path / "smooth",
    )  # fmt: skip
    out = str(tmp_path / "both")
    (facts,) = printed(
        folder, "interpolate", "mle", str(tmp_path / "smooth"), "--data", "test.txt", "--out", out
    )
    assert facts["parts"]["mle"]["perplexity"] is None
    assert facts["parts"]["mle"]["withheld"]["perplexity"].startswith("infinite")


def test_both_directions_of_an_encoder(folder):
    """An encoder's scores are of two models: both objects say why."""
    (scores,) = printed(folder, "eval", "elmo", "test.txt", "--allow-nonfinite")
    assert all(scores[direction]["withheld"]["log_prob"] for direction in ("forward", "backward"))
