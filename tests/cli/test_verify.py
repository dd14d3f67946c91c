"""`lmkit verify`: every file of a run, whatever its size, is compared with what was saved."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lmkit import manifest
from lmkit.cli import cli


def verify(*line: object) -> Result:
    return CliRunner().invoke(cli, ["verify", *map(str, line)])


def flip(path: Path) -> None:
    """Change a bit near the end of a file."""
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def test_whole_runs(run: Path, trained: Path) -> None:
    """The model's files and those of its checkpoints are counted; nothing is reported."""
    result = verify(run, trained)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("as they were saved") == 2
    (row,) = json.loads(verify(run, "--json").stdout)
    paths = [*run.glob("*.*"), *(run / "tokenizer").iterdir(), *run.glob("checkpoints/*/*")]
    own = {"lmkit.json", "recipe.toml", "metrics.jsonl", ".lock", "manifest.json"}
    assert row["files"] == sum(path.name not in own for path in paths)
    assert row["problems"] == []


def test_large_files_are_read(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed byte of weights that loading compares by size alone is found, with everything else that is wrong."""
    monkeypatch.setattr(manifest, "HASHED_LIMIT", 0)
    flip(run / "model.safetensors")
    flip(max((run / "checkpoints").glob("step-*")) / "optimiser.safetensors")
    next((run / "tokenizer").iterdir()).unlink()
    result = verify(run)
    assert result.exit_code == 4
    assert result.stdout == ""
    for words in ("model.safetensors: has changed", "optimiser.safetensors has changed", "missing"):
        assert words in result.stderr, result.stderr
    assert len(json.loads(verify(run, "--json").stdout)[0]["problems"]) == 3
