"""`lmkit surprisal` on tables of regions, with prefixes, and with columns for regressions."""

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lmkit import api
from lmkit.cli import cli

TABLE = """item,condition,region,text,context
1,a,subject,the cat,a dog sat
1,a,verb,sat on,
1,a,object,the mat,
1,b,subject,the dog,
1,b,verb,,
1,b,object,sat,
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, their text, and a table of two sentences in three regions."""
    path = tmp_path_factory.mktemp("regions")
    (path / "train.txt").write_text("the cat sat on the mat\nthe dog sat\n" * 10, encoding="utf-8")
    (path / "items.csv").write_text(TABLE, encoding="utf-8")
    for tokenizer in ("word", "char"):
        api.train(path / "train.txt", model="ngram", order=2, tokenizer=tokenizer, out=path / tokenizer)
    return path


def invoke(folder: Path, *line: object) -> Result:
    paths = [
        str(folder / one) if str(one) in ("word", "char", "items.csv", "train.txt") else one for one in line
    ]
    return CliRunner().invoke(cli, ["surprisal", *map(str, paths)])


def rows(folder: Path, *line: object) -> list[dict[str, object]]:
    result = invoke(folder, *line, "--json")
    assert result.exit_code == 0, result.stderr
    return [json.loads(row) for row in result.stdout.splitlines()]


def test_by_region_is_a_record_a_row(folder: Path) -> None:
    """Regions of the long format: one record each, sums and means over words, conditioned on the earlier ones."""
    flags = ("--by", "region", "--sentence", "item,condition", "--keep", "item,condition,region")
    result = invoke(folder, "word", "items.csv", *flags)
    header, *lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert " ".join(header) == "line start end text surprisal oov words mean row item condition region"
    assert [line[3] for line in lines] == ["the cat", "sat on", "the mat", "the dog", "", "sat"]
    assert [line[8:] for line in lines][1:5:3] == [["2", "1", "a", "verb"], ["5", "1", "b", "verb"]]
    assert lines[4][4:8] == ["0.0", "False", "0", ""]
    words = [row["surprisal"] for row in rows(folder, "word", "items.csv", "--sentence", "item,condition")]
    (folder / "plain.txt").write_text("the cat sat on the mat\nthe dog sat\n", encoding="utf-8")
    whole = [row["surprisal"] for row in rows(folder, "word", folder / "plain.txt")]
    assert words == pytest.approx(whole)
    sums = [math.fsum(whole[a:b]) for a, b in ((0, 2), (2, 4), (4, 6), (7, 9), (9, 9), (9, 10))]
    assert [float(line[4]) for line in lines] == pytest.approx(sums)
    assert float(lines[0][7]) == pytest.approx(sums[0] / 2)


def test_several_models_have_rows_each(folder: Path) -> None:
    """Two runs of different tokenizers have records of the same regions."""
    flags = ("--by", "region", "--sentence", "item,condition")
    found = rows(folder, "word", "char", "items.csv", *flags)
    places = [(row["row"], row["text"], row["words"]) for row in found]
    assert len(found) == 12
    assert places[:6] == places[6:]
    assert [row["run"] for row in found] == ["word"] * 6 + ["char"] * 6


def test_prefixes_condition(folder: Path) -> None:
    """A prefix has no record, and the records after it have places in their own cells."""
    flags = ("--by", "region", "--sentence", "item,condition")
    plain = rows(folder, "word", "items.csv", *flags)
    found = rows(folder, "word", "items.csv", *flags, "--prefix-field", "context")
    same = [a["surprisal"] == b["surprisal"] for a, b in zip(plain, found, strict=True)]
    assert same == [False, *[True] * 5]
    assert [(row["start"], row["end"], row["text"]) for row in found] == [
        (row["start"], row["end"], row["text"]) for row in plain
    ]
    every = rows(folder, "word", "train.txt", "--prefix", "a dog sat", "--by", "line")
    assert every[0]["text"] == "the cat sat on the mat"
    assert every[0]["surprisal"] != rows(folder, "word", "train.txt", "--by", "line")[0]["surprisal"]


def test_spans_have_their_columns_and_means(folder: Path, tmp_path: Path) -> None:
    """--by region --spans FILE is --by span with sums and means; --keep takes the columns of the file too."""
    (tmp_path / "spans.tsv").write_text("line\tstart\tend\tname\n2\t4\t11\tpredicate\n1\t0\t7\tsubject\n")
    flags = ("--spans", tmp_path / "spans.tsv", "--keep", "name")
    found = rows(folder, "word", "train.txt", "--by", "region", *flags)
    assert [(row["name"], row["text"], row["words"]) for row in found] == [
        ("subject", "the cat", 2),
        ("predicate", "dog sat", 2),
    ]
    assert found[0]["mean"] == pytest.approx(found[0]["surprisal"] / 2)
    plain = rows(folder, "word", "train.txt", "--by", "span", *flags)
    assert [row["surprisal"] for row in plain] == [row["surprisal"] for row in found]
    assert list(plain[0]) == ["line", "start", "end", "text", "surprisal", "oov", "name", "row"]


def test_columns_for_regressions(folder: Path, tmp_path: Path) -> None:
    """--add and --spillover: the training text of the run is counted; every format has the same values."""
    pandas = pytest.importorskip("pandas")
    flags = ("items.csv", "--sentence", "item,condition", "--add", "word,length", "--add", "log_frequency",
             "--spillover", "1", "--keep", "region")  # fmt: skip
    train = ("--frequencies", folder / "train.txt")
    found = rows(folder, "word", *flags)
    assert found == rows(folder, "word", *flags, *train)
    names = "word length log_frequency surprisal_1 oov_1 length_1 log_frequency_1 row region"
    assert " ".join(found[0]) == f"line start end text surprisal oov {names}"
    assert [row["word"] for row in found] == [1, 2, 3, 4, 5, 6, None, 1, 2, 3, None]
    assert [row["length_1"] for row in found] == [None, 3, 3, 3, 2, 3, 3, None, 3, 3, 3]
    assert found[1]["log_frequency"] == pytest.approx(math.log2(11 / (90 + 6)))
    out = tmp_path / "a.parquet"
    assert invoke(folder, "word", *flags, *train, "--format", "parquet", "--out", out).exit_code == 0
    frame = pandas.read_parquet(out)
    assert frame["surprisal_1"].isna().tolist() == [row["surprisal_1"] is None for row in found]
    tsv = invoke(folder, "word", *flags).stdout.splitlines()
    assert tsv[1].split("\t")[9:13] == ["", "", "", ""]
    assert tsv[2].split("\t")[9:13] == [
        str(found[1]["surprisal_1"]),
        "False",
        "3",
        str(found[0]["log_frequency"]),
    ]


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--by", "region"), 2, "--by region needs to know the regions: give --sentence"),
        (("--sentence", "itm"), 3, "no field 'itm'"),
        (("--sentence", "condition,text", "--keep", "run"), 2, "lmkit has its own column"),
        (("--keep", "length", "--add", "length"), 2, "--keep length: lmkit adds a column of that name"),
        (("--add", "lenght"), 2, "--add lenght: no such column"),
        (("--add", "log_frequency", "--by", "token"), 2, "--add log_frequency is the frequency of a word"),
        (("--frequencies", "train.txt"), 2, "--frequencies has no effect alone"),
        (("--by", "line", "--spillover", "1"), 2, "--spillover needs several units in a row"),
        (("--add", "log_frequency", "--frequencies", "absent.txt"), 3, "absent.txt"),
        (("--by", "span", "--spans", "items.csv", "--sentence", "item"), 3, "the header must have"),
    ],
)
def test_options_that_do_not_fit(folder: Path, flags: tuple[str, ...], code: int, words: str) -> None:
    """Each is an error that says what to do."""
    result = invoke(folder, "word", "items.csv", *flags)
    assert result.exit_code == code
    assert words in result.stderr


def test_training_text_that_is_gone(folder: Path, tmp_path: Path) -> None:
    """The error says how to give another text."""
    (tmp_path / "gone.txt").write_text("the cat sat\n" * 5, encoding="utf-8")
    api.train(tmp_path / "gone.txt", model="ngram", order=2, tokenizer="word", out=tmp_path / "run")
    (tmp_path / "gone.txt").unlink()
    result = invoke(folder, tmp_path / "run", "items.csv", "--add", "log_frequency")
    assert result.exit_code == 3
    assert "gone.txt" in result.stderr
    assert "--frequencies TEXT" in result.stderr
