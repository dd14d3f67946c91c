"""`lmkit count`: a file with a row for each n-gram, in every format."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

from lmkit.cli import cli

TEXT = "the cat sat on the mat\nthe cat sat\nthe cat ran\n"


def run(*line: object) -> Result:
    return CliRunner().invoke(cli, [str(part) for part in line])


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def test_parquet(text: Path, tmp_path: Path) -> None:
    """Columns of words and a count; --json has the figures of the file."""
    out = tmp_path / "counts.parquet"
    result = run("count", text, "--order", 2, "--min", 2, "--out", out, "--scratch", tmp_path, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == {
        "out": str(out), "order": 2, "min": 2, "tokens": 15, "vocabulary": 8, "ngrams": 2, "occurrences": 5,
    }  # fmt: skip
    rows = parquet.read_table(out).to_pylist()
    assert sorted(rows, key=lambda row: row["word1"]) == [
        {"word1": "cat", "word2": "sat", "count": 2},
        {"word1": "the", "word2": "cat", "count": 3},
    ]


def test_boundaries_in_tsv(text: Path, tmp_path: Path) -> None:
    """Ends of lines on request."""
    out = tmp_path / "counts.tsv"
    assert run("count", text, "--order", 2, "--min", 3, "--boundaries", "--out", out).exit_code == 0
    assert sorted(out.read_text().splitlines()) == ["<s>\tthe\t3", "the\tcat\t3", "word1\tword2\tcount"]


def test_refusals(text: Path, tmp_path: Path) -> None:
    """An unknown format, an existing file, no text: before the text is read."""
    assert "unknown format" in run("count", text, "--out", tmp_path / "counts.xls").stderr
    taken = tmp_path / "counts.csv"
    taken.write_text("mine")
    assert "exists already" in run("count", text, "--out", taken).stderr
    assert run("count", text, "--out", taken, "--overwrite").exit_code == 0
    result = run("count", "--out", tmp_path / "counts.tsv")
    assert (result.exit_code, result.stderr) == (2, "error: count needs a text: give TEXT\n")
