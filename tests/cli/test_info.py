"""`lmkit info`: what a run's files say of it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lmkit import api
from lmkit.cli import cli


def info(*line: object) -> Result:
    return CliRunner().invoke(cli, ["info", *map(str, line)])


def test_facts(trained: Path) -> None:
    """Every fact is what the loaded model and its training say."""
    result = info(trained, "--json")
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    model = api.load(trained, device="cpu")
    assert facts["run"] == str(trained)
    assert (facts["model"], facts["kind"], facts["tokenizer"]) == ("gru", "causal", "word")
    assert facts["parameters"] == model.parameter_count()
    assert facts["vocabulary"] == model.tokenizer.vocabulary.size
    assert facts["text"].startswith("text.txt")
    assert facts["train"] == [str(trained.parent / "text.txt")]
    assert (facts["steps"], facts["hidden_size"], facts["reset"]) == (2, 8, "document")
    assert facts["bytes_on_disk"] >= (trained / "model.safetensors").stat().st_size
    reports = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert facts["valid_perplexity"] == pytest.approx(min(r["valid_perplexity"] for r in reports[1:]))


def test_ten_lines(trained: Path, run: Path) -> None:
    """Ten lines a run for people, with commands that work on it; several runs are a list in JSON."""
    shown = info(trained).stdout
    assert len(shown.splitlines()) == 10
    assert f"lmkit surprisal {trained} TEXT" in shown
    both = info(trained, run)
    assert both.stdout.count("trained on") == 2
    assert [facts["run"] for facts in json.loads(info(trained, run, "--json").stdout)] == [
        str(trained),
        str(run),
    ]


def test_without_recipe_and_metrics(run: Path) -> None:
    """What the files do not say is not recorded; a line of metrics that is cut off is passed over."""
    (run / "recipe.toml").unlink()
    shutil.rmtree(run / "checkpoints")
    (run / "metrics.jsonl").write_text('{"seconds": 3.5}\n{"secon')
    facts = json.loads(info(run, "--json").stdout)
    assert (facts["train"], facts["steps"], facts["training_seconds"]) == (None, None, 3.5)
    (run / "metrics.jsonl").unlink()
    assert "not recorded" in info(run).stdout


def test_unfinished_training(trained: Path, tmp_path: Path) -> None:
    """A training that stopped early says how far it came, that it is not finished, and how to finish it."""
    assert json.loads(info(trained, "--json").stdout)["finished"] is True
    api.train(
        trained.parent / "text.txt", model="gru", out=tmp_path / "early", hidden_size=8, max_steps=40, stop_after=3,
        log_every=2,
    )  # fmt: skip
    facts = json.loads(info(tmp_path / "early", "--json").stdout)
    assert (facts["steps"], facts["finished"], facts["valid_perplexity"]) == (3, False, None)
    shown = info(tmp_path / "early").stdout
    assert "3 steps" in shown
    assert "not finished" in shown
    assert "none so far" in shown
    assert f"lmkit train --resume {tmp_path / 'early'}" in shown


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_missing_or_cut_weights(run: Path, damage) -> None:
    """A run without its weights, or with a part of them, is not described as if it were sound."""
    damage(run / "model.safetensors")
    result = info(run)
    assert (result.exit_code, result.stdout) == (4, "")
    assert "model.safetensors" in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_is_no_run(run: Path, tmp_path: Path) -> None:
    """A damaged manifest, a half-trained run, a file of a run and a folder of runs say what to do."""
    for make, words in (
        (lambda: run / "model.safetensors", f"give the directory, {run}"),
        (lambda: run.parent, f"folder of runs, not a run: give one of them, {run}"),
        (lambda: run.with_name("rum"), f"did you mean {run}?"),
    ):
        result = info(make())
        assert result.exit_code in (2, 4)
        assert words in result.stderr
        assert result.stderr.count("\n") == 1
    manifest = json.loads((run / "lmkit.json").read_text())
    (run / "lmkit.json").write_text(json.dumps({**manifest, "vocabulary": 3}))
    assert "damaged" in info(run).stderr
    (run / "lmkit.json").write_text("{}")
    assert "damaged: it has no format" in info(run).stderr
    (run / "lmkit.json").unlink()
    result = info(run)
    assert result.exit_code == 4
    assert f"lmkit train --resume {run}" in result.stderr


def test_info_is_light(trained: Path) -> None:
    """No torch and no numpy is imported."""
    program = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from lmkit.cli import cli\n"
        f"assert CliRunner().invoke(cli, ['info', {str(trained)!r}]).exit_code == 0\n"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
