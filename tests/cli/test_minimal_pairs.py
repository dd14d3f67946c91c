"""`lmkit minimal-pairs`: files in, a table, JSON and a row a pair out."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lmkit import api
from lmkit.cli import cli
from lmkit.corpus.sources import read_rows

LINES = ["the cat sees a dog .", "the cats see a dog .", "a dog sees the cats ."]
PAIRS = [
    ("The cat sees a dog.", "The cat see a dog.", "agreement"),
    ("the mouse sees.", "the mice sees.", "agreement"),
    ("a dog sees the cats.", "sees the cats a dog.", "order"),
    ("the cat sees \\n it.", "see cat the.", "order"),
]


def run(*line: object) -> Result:
    return CliRunner().invoke(cli, [str(part) for part in line])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "text.txt").write_text("\n".join(LINES * 20), encoding="utf-8")
    word = {"name": "word", "min_count": 1}
    sizes = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "max_steps": 3, "device": "cpu"}
    api.train(folder / "text.txt", model="ngram", order=3, tokenizer=word, out=folder / "kn")
    api.train(
        folder / "text.txt", model="elmo", inputs="tokens", tokenizer=word, out=folder / "elmo", **sizes
    )
    rows = [{"sentence_good": good, "sentence_bad": bad, "UID": name} for good, bad, name in PAIRS]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    table = [("right", "wrong", "kind"), *PAIRS]
    (folder / "pairs.csv").write_text(
        "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in table), encoding="utf-8"
    )
    return folder


def test_table_and_notice(folder: Path) -> None:
    """Accuracy with its standard error, ties and unknown words a paradigm; a notice on stderr says what they are."""
    result = run("minimal-pairs", folder / "kn", folder / "pairs.jsonl")
    assert result.exit_code == 0, result.stderr
    header, _, agreement, order, mean = result.stdout.splitlines()
    titles = [cell.strip() for cell in header.strip("|").split("|")]
    assert titles == ["paradigm", "pairs", "accuracy", "ties", "identical", "unknown words"]
    assert [cell.strip() for cell in agreement.strip("|").split("|")] == [
        "agreement", "2", "75.0 ± 25.0", "1", "1", "4",
    ]  # fmt: skip
    assert "100.0 ± 0.0" in order
    assert "87.5 ± 12.5" in mean
    assert "kn: 6 words outside the vocabulary, in 3 of 4 pairs" in result.stderr
    assert "pairs that differ only in these words: 1, each counts one half" in result.stderr


def test_json_and_rows_agree(folder: Path, tmp_path: Path) -> None:
    """The accuracy is the mean of the rows' `correct`, for each run; scores are those of the sentences."""
    out = tmp_path / "rows.jsonl"
    line = ["minimal-pairs", folder / "kn", folder / "elmo", folder / "pairs.jsonl"]
    result = run(*line, "--json", "--out", out)
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["kn"]["paradigms"] == {"agreement": 75, "order": 100}
    assert facts["kn"]["by_paradigm"]["agreement"]["identical"] == 1
    assert facts["kn"]["withheld"] == {}
    assert [facts[name]["two_sided"] for name in ("kn", "elmo")] == [False, True]
    rows = [json.loads(row) for row in out.read_text(encoding="utf-8").splitlines()]
    assert [(row["run"], row["pair"]) for row in rows] == [
        (run, n) for run in ("kn", "elmo") for n in (1, 2, 3, 4)
    ]
    for name in ("kn", "elmo"):
        own = [row for row in rows if row["run"] == name]
        for paradigm, percent in facts[name]["paradigms"].items():
            correct = [row["correct"] for row in own if row["paradigm"] == paradigm]
            assert percent == pytest.approx(100 * sum(correct) / len(correct))
        scores = api.load(folder / name).sentence_scores([good for good, _, _ in PAIRS])
        assert [row["score_good"] for row in own] == pytest.approx(scores.tolist(), rel=1e-5)
        assert [row["tie"] for row in own][:2] == [False, True]


@pytest.mark.parametrize("ending", ["tsv", "csv", "parquet"])
def test_rows_come_back(folder: Path, tmp_path: Path, ending: str) -> None:
    """Every format has the sentences as they were given; a table with other names for columns gives the same."""
    out = tmp_path / f"rows.{ending}"
    fields = ["--good", "right", "--bad", "wrong", "--group", "kind"]
    result = run("minimal-pairs", folder / "kn", folder / "pairs.csv", *fields, "--out", out)
    assert result.exit_code == 0, result.stderr
    found = [cells for _, cells in read_rows(out)]
    assert [(row["sentence_good"], row["sentence_bad"], row["paradigm"]) for row in found] == PAIRS
    again = run("minimal-pairs", folder / "kn", out, "--group", "paradigm")
    assert again.stdout == result.stdout


def test_splitting_is_an_option(folder: Path) -> None:
    """Under --split-unknown never the full stop stays on its word, which no pair's words are then known in."""
    line = ["minimal-pairs", folder / "kn", folder / "pairs.jsonl", "--json", "--split-unknown"]
    words = [json.loads(run(*line, rule).stdout)["kn"]["unknown_words"] for rule in ("auto", "never")]
    assert words[0] < words[1]


def test_what_is_refused(folder: Path, tmp_path: Path) -> None:
    """A format that nobody can tell, one without a file, a column that is missing: one line, nothing written."""
    out = tmp_path / "rows.txt"
    line = ["minimal-pairs", folder / "kn", folder / "pairs.jsonl"]
    for more, code in (
        (["--out", out], 2),
        (["--format", "csv"], 2),
        (["--good", "right", "--out", tmp_path / "rows.tsv"], 3),
        (["--encoding", "nonsense"], 2),
    ):
        result = run(*line, *more)
        assert result.exit_code == code, result.output
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""
    assert not list(tmp_path.iterdir())


def test_causal_models_and_encoders(several: dict[str, Path], tmp_path: Path) -> None:
    """A row a paradigm and their mean, for causal models and encoders."""
    rows = [{"sentence_good": "the cat sat", "sentence_bad": "sat the cat", "UID": name} for name in "ab"]
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    result = run("minimal-pairs", several["gru"], several["elmo"], file)
    assert result.exit_code == 0, result.stderr
    assert len(result.stdout.splitlines()) == 5
    facts = json.loads(run("minimal-pairs", several["chars"], file, "--json").stdout)
    assert facts["chars"]["paradigms"].keys() == {"a", "b"}
