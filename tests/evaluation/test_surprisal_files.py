"""Files of surprisal: spans that come in, and records that go out, read back by pandas."""

import json
import math

import pytest

from lmkit.errors import DataError
from lmkit.evaluation.records import LineRecords, Record, column_names
from lmkit.evaluation.spans import read_spans
from lmkit.evaluation.writers import ROW_GROUP, write_records
from lmkit.files import new_file

pandas = pytest.importorskip("pandas")

NAMES = column_names(entropy=True, rank=True)
LINES = [
    LineRecords(
        1,
        {
            "start": [0, 4, 9],
            "end": [3, 9, 9],
            "text": ["NA", 'a\t"b\\n', ""],
            "surprisal": [0.1 + 0.2, 12.5, 1e-17],
            "oov": [False, True, False],
            "entropy": [1.0, 2.0, 0.0],
            "rank": [1, 200, 3],
        },
        row=1,
    ),
    LineRecords(2, {name: [] for name in NAMES[1:-1]}, row=2),
    LineRecords(
        3,
        {
            "start": [0],
            "end": [3],
            "text": ["天\r\0"],
            "surprisal": [math.inf],
            "oov": [True],
            "entropy": [0.5],
            "rank": [9],
        },
        row=7,
    ),
]
RECORDS = [record for line in LINES for record in line.records()]


def unescaped(text: str) -> str:
    for written, character in (("\\t", "\t"), ("\\n", "\n"), ("\\r", "\r"), ("\\0", "\0")):
        text = text.replace("\\\\", "\1").replace(written, character).replace("\1", "\\\\")
    return text.replace("\\\\", "\\")


def read(path, form):
    if form == "parquet":
        return pandas.read_parquet(path)
    if form == "jsonl":
        return pandas.read_json(path, lines=True, dtype={"text": str})
    frame = pandas.read_csv(path, sep="\t", quoting=3, keep_default_na=False, encoding="utf-8")
    frame["text"] = frame["text"].map(unescaped)
    return frame


@pytest.mark.parametrize("form", ["tsv", "jsonl", "parquet"])
def test_pandas_reads_back_what_was_written(tmp_path, form):
    """All three formats give the records back: places, texts with anything in them, and every digit."""
    path = tmp_path / "records"
    with new_file(path, overwrite=True) as file:
        write_records(LINES, NAMES, form, file)
    frame = read(path, form)
    assert tuple(frame.columns) == (*NAMES, *(["withheld"] if form == "jsonl" else []))
    rows = [Record(*row) for row in frame[list(NAMES)].itertuples(index=False)]
    assert [r[:4] + r[5:] for r in rows] == [r[:4] + r[5:] for r in RECORDS]
    if form == "jsonl":  # pandas rounds what it reads from JSON
        rows = [json.loads(line, parse_constant=pytest.fail) for line in path.read_text("utf-8").splitlines()]
        finite = [None if math.isinf(r.surprisal) else r.surprisal for r in RECORDS]
        assert [row["surprisal"] for row in rows] == finite
        assert [row.get("withheld", {}).keys() for row in rows] == [{}.keys()] * 3 + [{"surprisal": 0}.keys()]
    else:
        assert [r.surprisal for r in rows] == [r.surprisal for r in RECORDS]


def test_a_record_is_a_line(tmp_path):
    """TSV has as many lines as records, and a header, for any texts."""
    with new_file(tmp_path / "a") as file:
        write_records(LINES, NAMES, "tsv", file)
    rows = (tmp_path / "a").read_bytes().decode().split("\n")
    assert rows[0] == "line\tstart\tend\ttext\tsurprisal\toov\tentropy\trank\trow"
    assert rows[1] == "1\t0\t3\tNA\t0.30000000000000004\tFalse\t1.0\t1\t1"
    assert rows[2].split("\t")[3] == r'a\t"b\\n'
    assert len(rows) == len(RECORDS) + 2


def test_columns_that_were_not_asked_for_are_left_out():
    """Entropy and rank are in records only on request."""
    assert column_names(entropy=False, rank=False) == (
        "line",
        "start",
        "end",
        "text",
        "surprisal",
        "oov",
        "row",
    )
    assert column_names(entropy=False, rank=True)[-2:] == ("rank", "row")


def test_parquet_is_written_in_row_groups(tmp_path):
    """A table larger than memory is written part by part."""
    parquet = pytest.importorskip("pyarrow.parquet")
    names = column_names(entropy=False, rank=False)
    size = ROW_GROUP // 2
    columns = {"start": [0] * size, "end": [1] * size, "text": ["a"] * size, "surprisal": [1.0] * size}
    columns["oov"] = [False] * size
    with new_file(tmp_path / "a.parquet") as file:
        write_records((LineRecords(n, columns) for n in range(5)), names, "parquet", file)
    found = parquet.ParquetFile(tmp_path / "a.parquet")
    assert (found.metadata.num_rows, found.num_row_groups) == (5 * size, 3)


def test_nothing_is_left_of_a_file_that_fails(tmp_path):
    """A file gets its name when it is whole: a failure leaves the older one, and no part of the new."""
    path = tmp_path / "a.tsv"
    path.write_text("older")

    def broken():
        yield LINES[0]
        raise DataError("bad text")

    with pytest.raises(DataError), new_file(path, overwrite=True) as file:
        write_records(broken(), NAMES, "tsv", file)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "text",
    [
        "word\tline\tstart\tend\ncat\t1\t4\t7\r\n\nx\t2\t0\t5\n",
        '{"line": 1, "start": 4, "end": 7, "word": "cat"}\n{"line": 2, "start": 0, "end": 5}\n',
        "\ufeffline\tstart\tend\n1\t4\t7\n2\t0\t5",
    ],
)
def test_spans_are_read_by_their_names(tmp_path, text):
    """TSV with a header and JSONL: other columns, blank lines and a byte-order mark are passed over."""
    path = tmp_path / "spans"
    path.write_text(text, encoding="utf-8", newline="")
    assert read_spans(path).spans == [(1, 4, 7), (2, 0, 5)]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "no spans"),
        (b"1\t2\t3\n", "line 1: the header must have"),
        (b"line\tstart\tend\n1\t2\n", "line 2: .* whole numbers"),
        (b"line\tstart\tend\n1\t2\t-3\n", "line 2: .* whole numbers"),
        (b'{"line": 1, "start": 4, "end": 7}\n{"line": 1, "start"\n', "line 2: not a JSON object"),
        (b'{"line": 1, "start": true, "end": 7}\n', "line 1: .* whole numbers"),
        (b"\xff\xfe", "it is not UTF-8"),
        (None, "No such file"),
    ],
)
def test_damaged_spans_are_errors_of_data(tmp_path, data, problem):
    """What cannot be read is named with the file and the line."""
    path = tmp_path / "spans"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(DataError, match=f"spans: {problem}"):
        read_spans(path)
