"""Files of minimal pairs: BLiMP's and other tables, and errors for other files."""

import json
from pathlib import Path

import pytest

from lmkit.corpus.options import DataOptions
from lmkit.errors import DataError, UsageError
from lmkit.evaluation.pair_files import Pair, PairFields, read_pairs


def line(good: object, bad: object, **more: object) -> str:
    return json.dumps({"sentence_good": good, "sentence_bad": bad, **more}) + "\n"


def test_paradigms_come_from_the_file_or_its_name(tmp_path: Path) -> None:
    """A folder's files are read in order; "UID" names a pair's paradigm, else the file does."""
    (tmp_path / "b.jsonl").write_text(line("x", "y") + "\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text(line("g", "h", UID="agreement"), encoding="utf-8")
    (tmp_path / "README.md").write_text("not pairs", encoding="utf-8")
    assert read_pairs([tmp_path]) == [Pair("g", "h", "agreement"), Pair("x", "y", "b")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pairs.csv", 'right,wrong,kind\n"He said ""no"", so.",He say so.,a\nx y,y x,b\n'),
        ("pairs.tsv", 'right\twrong\tkind\nHe said "no", so.\tHe say so.\ta\nx y\ty x\tb\n'),
        (
            "pairs.json",
            '[{"right": "He said \\"no\\", so.", "wrong": "He say so.", "kind": "a"},'
            ' {"right": "x y", "wrong": "y x", "kind": "b"}]',
        ),
    ],
)
def test_other_tables_and_other_names(tmp_path: Path, name: str, content: str) -> None:
    """Columns of any name, in every format that tables have."""
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    wanted = [('He said "no", so.', "He say so."), ("x y", "y x")]
    pairs = read_pairs([file], PairFields("right", "wrong", "kind"))
    assert pairs == [Pair(*sentences, kind) for sentences, kind in zip(wanted, "ab", strict=True)]
    by_file = read_pairs([file], PairFields("right", "wrong"))
    assert {pair.paradigm for pair in by_file} == {"pairs"}


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Two files of one name in two folders are two paradigms; one file given twice is refused."""
    for folder in ("en", "zh"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "verbs.jsonl").write_text(line(folder, "y"), encoding="utf-8")
    pairs = read_pairs([tmp_path / "en", tmp_path / "zh"])
    assert [pair.paradigm for pair in pairs] == ["en/verbs", "zh/verbs"]
    with pytest.raises(UsageError, match="twice"):
        read_pairs([tmp_path / "en", tmp_path / "en" / "verbs.jsonl"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no readable rows"),
        ("no json\n", "not JSON"),
        ("[]\n", "not an object"),
        ('{"sentence_good": "x", "ungrammatical": "y"}\n', "'ungrammatical'; choose one with --bad"),
        (line("x", None), "null, not a sentence"),
        (line("x", 3), "a number, not a sentence"),
        (line("x", " "), "'sentence_bad' is empty"),
        (line("x", "y\nz"), "line end"),
        ("\udcff", "UTF-8"),
    ],
)
def test_what_is_not_a_pair(tmp_path: Path, content: str, says: str) -> None:
    """One line says where and what to do."""
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"pairs\.jsonl") as error:
        read_pairs([file])
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_rows_can_be_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rows that are not pairs are left out with a count; a file of nothing else is an error."""
    skip = DataOptions(on_bad_line="skip")
    file = tmp_path / "pairs.jsonl"
    file.write_text(line("x", "y") + line("x", "") + line("z", "w"), encoding="utf-8")
    assert read_pairs([file], options=skip) == [Pair("x", "y", "pairs"), Pair("z", "w", "pairs")]
    assert "row 2" in caplog.text
    file.write_text(line("x", ""), encoding="utf-8")
    with pytest.raises(DataError, match="no readable pairs"):
        read_pairs([file], options=skip)


def test_missing_files(tmp_path: Path) -> None:
    """A missing file, a folder without tables and a missing column for --group."""
    with pytest.raises(DataError, match=r"nothing\.jsonl"):
        read_pairs([tmp_path / "nothing.jsonl"])
    with pytest.raises(DataError, match=r"no \.jsonl"):
        read_pairs([tmp_path])
    (tmp_path / "a.jsonl").write_text(line("x", "y"), encoding="utf-8")
    with pytest.raises(DataError, match="--group"):
        read_pairs([tmp_path / "a.jsonl"], PairFields(group="kind"))
