"""`lmkit surprisal`: what it writes where, and what it refuses."""

import json
import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner

from lmkit import api
from lmkit.cli import cli

LINES = ["the cat sat on the mat", "the dog sat", "a cat and a dog"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, str]:
    """A word and a character model of a few steps, and a text."""
    folder = tmp_path_factory.mktemp("surprisal")
    text = folder / "train.txt"
    text.write_text("\n".join(LINES * 20), encoding="utf-8")
    test = folder / "test.txt"
    test.write_text("\n".join(LINES), encoding="utf-8")
    paths = {"text": str(test)}
    for tokenizer in ("word", "char"):
        out = folder / tokenizer
        sizes: dict[str, Any] = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "max_steps": 2}
        api.train(text, model="gru", tokenizer=tokenizer, out=out, device="cpu", **sizes)
        paths[tokenizer] = str(out)
    return paths


def run(*line):
    return CliRunner().invoke(cli, ["surprisal", *map(str, line)])


def test_tsv_on_stdout_is_the_default(trained):
    """One line a word, `</s>` included, with exact sums."""
    result = run(trained["word"], trained["text"])
    assert result.exit_code == 0, result.stderr
    header, *rows = [row.split("\t") for row in result.stdout.removesuffix("\n").split("\n")]
    assert header == ["line", "start", "end", "text", "surprisal", "oov", "row"]
    assert [row[3] for row in rows] == [w for line in LINES for w in [*line.split(), ""]]
    score = api.load(trained["word"], device="cpu").score(LINES)
    bits = sum(float(row[4]) for row in rows)
    assert bits * 0.6931471805599453 == pytest.approx(-score.log_prob, rel=1e-9)


def test_json_has_the_fields_that_scripts_rely_on(trained):
    """--json is --format jsonl; entropy and rank are included on request."""
    line = (trained["char"], trained["text"], "--by", "char", "--entropy", "--rank", "--json")
    rows = [json.loads(row) for row in run(*line).stdout.splitlines()]
    assert list(rows[0]) == ["line", "start", "end", "text", "surprisal", "oov", "entropy", "rank", "row"]
    assert "".join(row["text"] for row in rows) == "".join(LINES)
    assert run(*line[:-1], "--format", "jsonl").stdout == run(*line).stdout


def test_api_gives_the_same_records(trained):
    """Model.surprisal is the command in memory."""
    found = api.load(trained["word"], device="cpu").surprisal("\n".join(LINES))
    rows = [json.loads(row) for row in run(trained["word"], trained["text"], "--json").stdout.splitlines()]
    assert [r._asdict() for r in found] == [{**row, "entropy": None, "rank": None} for row in rows]


def test_out_is_a_whole_file_or_none(trained, tmp_path):
    """--out gets what stdout would; when the text turns out bad, no file appears."""
    out = tmp_path / "out.tsv"
    result = run(trained["word"], trained["text"], "--out", out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert out.read_bytes() == run(trained["word"], trained["text"]).stdout_bytes
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"the cat\n" * 100 + b"\xff\n")
    assert run(trained["word"], bad, "--out", tmp_path / "bad.tsv").exit_code == 3
    assert {path.name for path in tmp_path.iterdir()} == {"out.tsv", "bad.txt"}


def test_parquet_needs_a_file(trained, tmp_path):
    """Parquet is not for a terminal."""
    pandas = pytest.importorskip("pandas")
    out = tmp_path / "a.parquet"
    assert run(trained["word"], trained["text"], "--format", "parquet").exit_code == 2
    assert run(trained["word"], trained["text"], "--format", "parquet", "--out", out).exit_code == 0
    assert pandas.read_parquet(out)["text"].iloc[0] == "the"


def test_spans_come_from_a_file(trained, tmp_path):
    """--by span reads places, and refuses one that cuts a token with the file's exit code."""
    spans = tmp_path / "spans.tsv"
    spans.write_text("line\tstart\tend\n2\t4\t11\n")
    result = run(trained["word"], trained["text"], "--by", "span", "--spans", spans, "--json")
    assert json.loads(result.stdout)["text"] == "dog sat"
    spans.write_text("line\tstart\tend\n2\t5\t7\n")
    refused = run(trained["word"], trained["text"], "--by", "span", "--spans", spans)
    assert refused.exit_code == 3
    assert "span 5-7 of line 2" in refused.stderr


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (("--by", "char"), "--tokenizer char or byte"),
        (("--by", "span"), "--spans FILE"),
        (("--by", "verse"), "is not one of"),
        (("--json", "--format", "tsv"), "contradict"),
        (("--batch-size", "0"), "x>=1"),
    ],
)
def test_what_cannot_be_is_a_usage_error(trained, flags, problem):
    """Exit code 2 and one line that says what to do."""
    result = run(trained["word"], trained["text"], *flags)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert result.stdout == ""


def test_text_without_spaces_is_refused_by_word(trained, tmp_path):
    """--by word of Chinese text names what can be asked instead; --by char answers."""
    text = tmp_path / "zh.txt"
    text.write_text("今天天气很好\n我去打球\n", encoding="utf-8")
    result = run(trained["char"], text)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "give --by char" in result.stderr
    assert run(trained["char"], text, "--by", "char").exit_code == 0


def test_help_says_whose_probability_it_is():
    """Help says that the score is that of the tokenizer's segmentation."""
    text = " ".join(run("--help").stdout.split())
    assert "that of the tokenizer's segmentation" in text
    assert "--encoding" in text


def test_help_imports_nothing_heavy():
    """`lmkit surprisal --help` answers at once."""
    code = (
        "import sys\nfrom lmkit.cli import cli\n"
        "try:\n    cli.main(['surprisal', '--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'pyarrow', 'datasets')))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
