"""`lmkit surprisal` on tables: one record a row, its place in the cell, and the columns that are kept."""

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from lmkit import api
from lmkit.cli import cli
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text

CELLS = ["the cat sat", "", "a dog\r\nthe cat\n", "<'x\\y'>\tz", None]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("rows")
    (folder / "train.txt").write_text("the cat sat on the mat\nthe dog sat\n" * 10)
    settings = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "max_steps": 2}
    api.train(
        folder / "train.txt", model="gru", tokenizer="char", out=folder / "run", device="cpu", **settings
    )
    return str(folder / "run")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """CELLS as JSON Lines, with columns of several types."""
    path = tmp_path / "items.jsonl"
    rows = [
        {"item": n, "text": text, "rating": rating, "cond": f"c\t{n}"}
        for n, (text, rating) in enumerate(zip(CELLS, [1.5, None, 2.0, math.nan, 0.0], strict=True), 10)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def surprisal(*line: object) -> str:
    result = CliRunner().invoke(cli, ["surprisal", *map(str, line)])
    assert result.exit_code == 0, result.stderr
    return result.stdout_bytes.decode()


def test_by_line_is_one_record_a_row(run: str, table: Path) -> None:
    """Every row has one record with the whole cell as its text; together they have the bits that `eval` counts."""
    rows = [json.loads(row) for row in surprisal(run, table, "--by", "line", "--json").splitlines()]
    assert [row["row"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["text"] for row in rows] == [text or "" for text in CELLS]
    assert [(row["start"], row["end"]) for row in rows] == [(0, len(text or "")) for text in CELLS]
    score = api.load(run, device="cpu").score_text(Text([str(table)], DataOptions()))
    assert sum(row["surprisal"] for row in rows) * math.log(2) == pytest.approx(-score.log_prob, rel=1e-9)


@pytest.mark.parametrize("by", ["word", "token", "char"])
def test_places_are_in_the_cell(run: str, table: Path, by: str) -> None:
    """Records of every unit say their row and where in the cell's raw text they are, and add up to the row's."""
    wanted = [json.loads(row) for row in surprisal(run, table, "--by", "line", "--json").splitlines()]
    bits = dict.fromkeys(range(1, 6), 0.0)
    for row in map(json.loads, surprisal(run, table, "--by", by, "--json").splitlines()):
        assert (CELLS[row["row"] - 1] or "")[row["start"] : row["end"]] == row["text"]
        bits[row["row"]] += row["surprisal"]
    assert list(bits.values()) == pytest.approx([row["surprisal"] for row in wanted], rel=1e-9)


def test_spans_of_a_cell_are_those_of_its_records(run: str, table: Path, tmp_path: Path) -> None:
    """A span names the line and, as records do, characters of the cell."""
    (tmp_path / "spans.jsonl").write_text('{"line": 4, "start": 7, "end": 10}\n')
    rows = surprisal(run, table, "--by", "span", "--spans", tmp_path / "spans.jsonl", "--json").splitlines()
    assert [(r["row"], r["text"]) for r in map(json.loads, rows)] == [(3, "the")]


def test_kept_columns_are_written_with_their_types(run: str, table: Path, tmp_path: Path) -> None:
    """--keep copies columns into each record: JSON and Parquet keep types, JSON has null for NaN."""
    pandas = pytest.importorskip("pandas")
    line = (run, table, "--by", "line", "--keep", "item,rating", "--keep", "cond")
    rows = [json.loads(row) for row in surprisal(*line, "--json").splitlines()]
    assert [row["item"] for row in rows] == [10, 11, 12, 13, 14]
    assert [row["rating"] for row in rows] == [1.5, None, 2.0, None, 0.0]
    header, *cells = surprisal(*line).removesuffix("\n").split("\n")
    assert header.split("\t")[-4:] == ["row", "item", "rating", "cond"]
    assert [row.split("\t")[-3:] for row in cells][:2] == [["10", "1.5", r"c\t10"], ["11", "", r"c\t11"]]
    surprisal(*line, "--format", "parquet", "--out", tmp_path / "a.parquet")
    frame = pandas.read_parquet(tmp_path / "a.parquet")
    assert frame["item"].tolist() == [10, 11, 12, 13, 14]
    assert frame["cond"].tolist()[0] == "c\t10"


def test_what_is_written_is_read_back(run: str, table: Path, tmp_path: Path) -> None:
    """The TSV of `surprisal` as its own text gives the same rows and bits."""
    surprisal(run, table, "--by", "line", "--out", tmp_path / "a.tsv")
    first = [row.split("\t") for row in (tmp_path / "a.tsv").read_text().splitlines()]
    again = [row.split("\t") for row in surprisal(run, tmp_path / "a.tsv", "--by", "line").splitlines()]
    assert [row[3] for row in again] == [row[3] for row in first]
    assert [float(row[4]) for row in again[1:]] == pytest.approx([float(row[4]) for row in first[1:]])


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--keep", "text"), 2, "lmkit has its own column of that name"),
        (("--keep", "run"), 2, "lmkit has its own column of that name"),
        (("--keep", "itm"), 3, "no field 'itm'; its fields are 'item', 'text', 'rating', 'cond'"),
    ],
)
def test_columns_that_cannot_be_kept(
    run: str, table: Path, flags: tuple[str, ...], code: int, words: str
) -> None:
    """A column that is not there, or is named like one of lmkit's, is an error with the remedy."""
    result = CliRunner().invoke(cli, ["surprisal", run, str(table), *flags])
    assert result.exit_code == code
    assert words in result.stderr


def test_tables_from_standard_input(run: str) -> None:
    """--input-format says what standard input is."""
    line = ["surprisal", run, "-", "--input-format", "csv", "--by", "line", "--keep", "id"]
    result = CliRunner().invoke(cli, line, input='id,text\n1,"a, b"\n2,\n')
    assert [row.split("\t")[3::3] for row in result.stdout.splitlines()[1:]] == [["a, b", "1"], ["", "2"]]


def test_vectors_have_a_row_each(run: str, table: Path, tmp_path: Path) -> None:
    """`embed` writes one entry a row; line ends in a cell are white space."""
    from safetensors.numpy import load_file

    out = tmp_path / "v.safetensors"
    result = CliRunner().invoke(cli, ["embed", run, str(table), "--out", str(out), "--pool", "mean"])
    assert result.exit_code == 0, result.stderr
    found = load_file(out)
    assert found["rows"].tolist() == [1, 2, 3, 4, 5]
    wanted = api.load(run, device="cpu").embed(["a dog the cat"], "mix", "mean")[0].numpy()
    assert found["vectors"][2] == pytest.approx(wanted, abs=1e-6)
