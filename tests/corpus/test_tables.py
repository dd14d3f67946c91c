"""Tables: every row of every format comes back as it was written, or is told with its line."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmkit.corpus import delimited, json_array
from lmkit.corpus.lines import BadLines
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text
from lmkit.corpus.sources import read_rows
from lmkit.corpus.tsv import escaped, unescaped
from lmkit.errors import DataError, UsageError
from lmkit.notes import NOTE

CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def rows(path: Path, content: bytes, **options: Any) -> list[tuple[int, str]]:
    """The number and text of each row of a file."""
    path.write_bytes(content)
    found: dict[int, str] = {}
    for line in Text([str(path)], DataOptions(**options)):
        found[line.row] = found.get(line.row, "") + line.text + line.ending
    return list(found.items())


def test_tsv_has_no_quoting(tmp_path: Path) -> None:
    """A quote in TSV is a character: the three rows of a stimulus file come back, with empty cells and CRLF too."""
    table = 'item\ttext\r\n1\t"Oh no, she said.\r\n2\t"Yes" he said.\r\n3\t\r\n4\tC:\\new\r\n'
    assert rows(tmp_path / "a.tsv", table.encode()) == [
        (1, '"Oh no, she said.'),
        (2, '"Yes" he said.'),
        (3, ""),
        (4, "C:\\new"),
    ]


def test_tsv_with_quoting_has_a_format(tmp_path: Path) -> None:
    """--input-format tsv-quoted reads the TSV that spreadsheets write."""
    table = 'item\ttext\n1\t"two\nlines ""x"""\n'
    found = rows(tmp_path / "a.tsv", table.encode(), input_format="tsv-quoted")
    assert found == [(1, 'two\nlines "x"')]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=6))
def test_csv_comes_back_as_python_wrote_it(cells: list[tuple[str, str]]) -> None:
    """What Python's csv writes is read to the same cells, in blocks of any size."""
    sink = io.StringIO(newline="")
    csv.writer(sink).writerows([("a", "text"), *cells])
    raw = sink.getvalue().encode()
    blocks = [raw[at : at + 7] for at in range(0, len(raw), 7)]
    found = [tuple(row.cells.values()) for row in delimited.read_csv(blocks, "a", BadLines("error"))]
    assert found == cells


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=20))
def test_escapes_of_tsv_are_undone(text: str) -> None:
    """A cell that lmkit writes has one line, and is read back as it was."""
    assert unescaped(escaped(text)) == text
    assert not set(escaped(text)) & set("\t\n\r\0")


def test_own_tsv_is_read_back(tmp_path: Path) -> None:
    """The escapes of surprisal's own TSV are read; in a stranger's file a backslash is a backslash."""
    header = "line\tstart\tend\ttext\tsurprisal\trow\n"
    assert rows(tmp_path / "a.tsv", (header + "1\t0\t3\tC:\\\\new\\n\t2.5\t1\n").encode()) == [
        (1, "C:\\new\n")
    ]
    assert rows(tmp_path / "b.tsv", b"id\ttext\n1\tC:\\new\\n\n") == [(1, "C:\\new\\n")]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", 'id,text\n1,"Oh no, she said.\n2,x\n', r"line 2: a quote is never closed"),
        (
            "a.csv",
            'id,text\n1,ok\n2,"Yes" he said.\n',
            r"line 3: a quoted cell continues after its closing quote",
        ),
        ("a.csv", "id,text\n1,Oh no, she said.\n", r"line 2, row 1: 3 cells, but the header has 2 columns"),
        ("a.csv", 'id,text\n\n""\n', r"line 3, row 1: 1 cell, but the header has 2 columns"),
        ("a.csv", "id,text\n1\n", r"line 2, row 1: 1 cell, but the header has 2 columns"),
        ("a.csv", "id,text\n1,a\rb\n", r"line 2: a carriage return outside of quotes"),
        ("a.csv", "id,text,text\n1,2,3\n", r"line 1: two columns are named 'text'"),
        ("a.csv", "id,text\n1,a\0b\n", r"line 2 \(byte 11\): a NUL"),
        ("a.tsv", "id\ttext\n1\ta\tb\n", r"line 2, row 1: 3 cells, but the header has 2 columns"),
        ("a.tsv", "id\ttext\n\n1\n", r"line 3, row 1: 1 cell, but the header has 2 columns"),
        ("a.json", "[[1]]", r"line 1, row 1: a list, not an object or a string"),
        ("a.json", '[{"text": "a"},\n{"text": x}]', r"line 2: not JSON: Expecting value"),
        ("a.json", '[{"text": "a"}\n', r"line 2: the array has no end"),
        ("a.json", '["a"] ["b"]', r"line 1: data after the end of the array"),
        ("a.json", '["a\\ud800"]', r"line 1, row 1, field 'text': half a surrogate pair"),
        ("a.json", '{"data": [{"text": "a"}]}', r"line 1: no field 'text'.*write one per line"),
        (
            "a.jsonl",
            '{"text": [{"text": "a"}]}',
            r"line 1: the field 'text' is a list that contains an object",
        ),
        (
            "a.jsonl",
            '{"text": "a", "id": 1, "text": "b"}',
            r"line 1: the field 'text' is in it twice; remove one",
        ),
        (
            "a.json",
            '["a", {"id": 1,\n"id": 2, "text": "b"}]',
            r"line 1, row 2: the field 'id' is in it twice",
        ),
        ("a.jsonl", '[\n"a"\n]', r"line 1: not JSON.*--input-format json"),
        ("a.json", '{\n"text": "a"\n}', r"line 1: not JSON.*write each object on one line"),
    ],
)
def test_rows_that_do_not_add_up(tmp_path: Path, name: str, content: str, words: str) -> None:
    """A row that cannot be read is an error of data with its line."""
    with pytest.raises(DataError, match=rf"{name}: {words}"):
        rows(tmp_path / name, content.encode())


def test_skipping_keeps_the_numbers_of_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """--on-bad-line skip leaves bad rows out, counts them, and the rows after them keep their numbers."""
    table = b'id,text\n1,"Oh no, she said.\n2,"Yes" he said.\n3,He left.\n4,a,b\n5,\xff\n6,fine\n'
    caplog.set_level(NOTE)
    assert rows(tmp_path / "a.csv", table, on_bad_line="skip") == [(3, "He left."), (6, "fine")]
    assert "4 bad lines skipped" in caplog.text
    assert rows(tmp_path / "a.txt", b"one\n\xff\nthree\n", on_bad_line="skip") == [(1, "one"), (3, "three")]


def test_a_quote_that_is_never_closed_takes_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken row is given up at a limit, and reading can go on at the next line."""
    monkeypatch.setattr(delimited, "ROW_LIMIT", 100)
    table = b'text\n"never\n' + b"plain\n" * 50
    with pytest.raises(DataError, match="line 2: a quote is not closed"):
        rows(tmp_path / "a.csv", table)
    assert len(rows(tmp_path / "a.csv", table, on_bad_line="skip")) == 50


def test_one_row_a_row(tmp_path: Path) -> None:
    """Empty cells, nulls and cells with line ends are a row each in every format, with the raw text of the cell."""
    texts: list[str | None] = ["a", "", None, "b\r\nc\n", "\n", " "]
    raw = ["" if text is None else text for text in texts]
    wanted = list(enumerate(raw, 1))
    objects = [{"text": text} for text in texts]
    jsonl = "".join(json.dumps(row) + "\n" for row in objects)
    assert rows(tmp_path / "a.jsonl", jsonl.encode()) == wanted
    assert rows(tmp_path / "a.json", json.dumps(objects, indent=1).encode()) == wanted
    assert rows(tmp_path / "a.json.gz", gzip.compress(json.dumps(objects).encode())) == wanted
    sink = io.StringIO(newline="")
    csv.writer(sink, quoting=csv.QUOTE_ALL).writerows([["text"], *([text] for text in raw)])
    assert rows(tmp_path / "a.csv", sink.getvalue().encode()) == wanted
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    sink = io.BytesIO()
    parquet.write_table(pa.table({"text": texts}), sink)
    assert rows(tmp_path / "a.parquet", sink.getvalue()) == wanted
    assert rows(tmp_path / "a.parquet.gz", gzip.compress(sink.getvalue())) == wanted


def test_rows_count_over_all_that_is_read(tmp_path: Path) -> None:
    """Lines of plain text are rows too, and the numbers go on from file to file, skipped rows included."""
    (tmp_path / "a.csv").write_text("text\na\n\nb\n1,2\n")
    (tmp_path / "b.txt").write_text("one\ntwo\n")
    (tmp_path / "c.jsonl").write_text('{"text": "x\\ny"}\n\n{"text": "z"}\n')
    text = Text(
        [str(tmp_path / name) for name in ("a.csv", "b.txt", "c.jsonl")], DataOptions(on_bad_line="skip")
    )
    assert [(line.row, line.text) for line in text] == [
        (1, "a"), (2, ""), (3, "b"), (5, "one"), (6, "two"), (7, "x"), (7, "y"), (8, "z"),
    ]  # fmt: skip


def test_json_arrays_and_nested_fields(tmp_path: Path) -> None:
    """An array of strings, a list of lines in a field, and a field within an object are read."""
    poem = ["床前明月光", "疑是地上霜"]
    assert rows(tmp_path / "a.json", json.dumps(poem).encode()) == list(enumerate(poem, 1))
    nested = json.dumps([{"meta": {"text": poem}, "text": "no"}]).encode()
    assert rows(tmp_path / "b.json", nested, text_field="meta.text") == [(1, "\n".join(poem))]
    dotted = b'{"meta.text": "yes", "meta": {"text": "no"}}'
    assert rows(tmp_path / "c.jsonl", dotted, text_field="meta.text") == [(1, "yes")]
    with pytest.raises(DataError, match=r"no field 'meta.body'; its fields are 'meta.text', 'text'"):
        rows(tmp_path / "b.json", nested, text_field="meta.body")
    assert rows(tmp_path / "d.txt", b'["x", "y"]', input_format="json") == [(1, "x"), (2, "y")]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.dictionaries(CELL, CELL | st.floats(allow_nan=False) | st.booleans(), max_size=3)),
    st.integers(1, 9),
)
def test_arrays_come_in_blocks_of_any_size(items: list[dict[str, Any]], size: int) -> None:
    """An array is read to the values that Python's json gives, wherever blocks end."""
    raw = json.dumps(items, indent=2, ensure_ascii=False).encode()
    blocks = (raw[at : at + size] for at in range(0, len(raw), size))
    found = [row.cells for row in json_array.read_array(blocks, "a", "text", BadLines("error"))]
    assert found == items


def test_kept_columns_travel_with_the_lines(tmp_path: Path) -> None:
    """Each line of a row carries the values of the columns that are kept, of their types; plain text has none."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x\\ny", "item": 7, "meta": {"ok": true}}\n')
    text = Text([str(path)], DataOptions(), keep=("item", "meta.ok"))
    assert [line.kept for line in text] == [(7, True)] * 2
    with pytest.raises(
        DataError, match=r"no field 'itm'; its fields are 'text', 'item', 'meta.ok'; choose one with --keep"
    ):
        list(Text([str(path)], DataOptions(), keep=("itm",)))
    (tmp_path / "a.txt").write_text("x\n")
    with pytest.raises(UsageError, match="plain text has no columns"):
        Text([str(tmp_path / "a.txt")], DataOptions(), keep=("item",))


def test_read_rows_gives_numbers_and_cells(tmp_path: Path) -> None:
    """`read_rows` is the reader for whoever wants whole rows: numbers from 1, cells by column."""
    path = tmp_path / "pairs.csv"
    path.write_text("good,bad\nShe left.,She leave.\na,b,c\n,x\n")
    with pytest.raises(DataError, match="3 cells"):
        list(read_rows(path))
    assert list(read_rows(path, DataOptions(on_bad_line="skip"))) == [
        (1, {"good": "She left.", "bad": "She leave."}),
        (3, {"good": "", "bad": "x"}),
    ]
    with pytest.raises(DataError, match="no such file"):
        list(read_rows(tmp_path / "nowhere.csv"))
    (tmp_path / "a.txt").write_text("x\n")
    with pytest.raises(DataError, match="--input-format"):
        list(read_rows(tmp_path / "a.txt"))


def test_fingerprints_of_plain_text_stay(tmp_path: Path) -> None:
    """A text whose reading did not change keeps its fingerprint, so that old runs can be resumed."""
    (tmp_path / "a.txt").write_text("one\n")
    text = Text([str(tmp_path / "a.txt")], DataOptions())
    assert text.fingerprint() == "de49a92d0b9567fa0c0292391521983755f8b6e7313b78727fdda9be10e715e8"
    other = Text([str(tmp_path / "a.txt")], DataOptions(input_format="tsv"))
    assert other.fingerprint() != text.fingerprint()
