"""The lines of docs/surprisal.md that read the TSV of `lmkit surprisal` elsewhere keep every row, token and number."""

import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lmkit.corpus.tsv import unescaped
from lmkit.evaluation.records import LineRecords, column_names
from lmkit.evaluation.writers import write_records

PAGE = Path(__file__).parents[2] / "docs" / "surprisal.md"
LINE = re.compile(r"^\| ([\w.]+(?: R)?) \| `((?:R|pandas|polars|csv|readr|data|read)[^`]*)`", re.MULTILINE)
TEXTS = [
    *[
        "NA",
        "null",
        "nan",
        "None",
        "#N/A",
        "NULL",
        "-",
        "T",
        "True",
        "1e5",
        "007",
        "inf",
        "\\N",
        "#not a comment",
    ],
    *[
        '"one',
        'quote"',
        '"both"',
        "'single",
        "it's",
        "a,b",
        ";",
        " leading",
        "trailing ",
        " ",
        "\u00a0",
        "\u3000天",
    ],
    *["tab\there", "line\nend", "return\r", "back\\slash", "nul\0", "é", "🙂", "\u2028", "\x0b", "\x1c", ""],
]
"""Words and tokens that readers change, lose, or take for missing values."""
BITS = [0.1 + 0.2 + place / 7 if place % 5 else math.inf for place in range(len(TEXTS))]
BEFORE = [None, *BITS[:-1]]


def lines_of_the_page() -> dict[str, str]:
    return {name: code.replace("\\\\", "\\") for name, code in LINE.findall(PAGE.read_text(encoding="utf-8"))}


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """words.tsv, in the working directory."""
    monkeypatch.chdir(tmp_path)
    zeros = [0] * len(TEXTS)
    columns: dict[str, list[Any]] = {
        "start": zeros,
        "end": zeros,
        "text": TEXTS,
        "surprisal": BITS,
        "oov": [False] * len(TEXTS),
        "length": [len(text) or None for text in TEXTS],
        "surprisal_1": BEFORE,
    }
    types = {"length": int, "surprisal_1": float}
    names = column_names(entropy=False, rank=False, more=types)
    with Path("words.tsv").open("wb") as file:
        write_records([LineRecords(1, columns, row=1)], names, "tsv", file, types)
    return tmp_path / "words.tsv"


def check(
    text: list[Any], surprisal: list[Any], before: list[Any], length: list[Any], *, exact: bool
) -> None:
    """Compare columns that were read; missing values are None."""
    assert [unescaped(one or "") for one in text] == TEXTS
    assert length == [len(one) or None for one in TEXTS]
    for found, wanted in ((surprisal, BITS), (before, BEFORE)):
        assert [one is None for one in found] == [one is None for one in wanted]
        pairs = [(a, b) for a, b in zip(found, wanted, strict=True) if a is not None and b is not None]
        # The decimals of R are read in the last bit only almost.
        assert all(a == b if exact else a == pytest.approx(b, rel=1e-15) for a, b in pairs)


def test_the_page_has_a_line_for_each_reader() -> None:
    """Six readers."""
    assert list(lines_of_the_page()) == ["base R", "readr", "data.table", "pandas", "polars", "pyarrow"]


@pytest.mark.pipelines
@pytest.mark.parametrize("name", ["pandas", "polars", "pyarrow"])
def test_python(words: Path, name: str) -> None:
    """pandas, polars and pyarrow."""
    module = pytest.importorskip("pyarrow.csv" if name == "pyarrow" else name)
    space = {"csv": module} if name == "pyarrow" else {name: module}
    table = eval(lines_of_the_page()[name], space)
    columns = {}
    for column in ("text", "surprisal", "surprisal_1", "length"):
        values = table[column].to_pylist() if name == "pyarrow" else table[column].to_list()
        columns[column] = [None if value is None or value != value else value for value in values]
    check(columns["text"], columns["surprisal"], columns["surprisal_1"], columns["length"], exact=True)


SHOW = """
for (row in seq_len(nrow(d))) {
  text <- d$text[row]
  codes <- if (is.na(text)) "" else paste(utf8ToInt(enc2utf8(text)), collapse = " ")
  cat(sprintf("%s|%.17g|%.17g|%s\\n", codes, d$surprisal[row], d$surprisal_1[row], as.character(d$length[row])))
}
"""


@pytest.mark.pipelines
@pytest.mark.parametrize("name", ["base R", "readr", "data.table"])
def test_r(words: Path, name: str) -> None:
    """Base R, readr and data.table, where they are installed."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        pytest.skip("Rscript is not installed")
    package = "base" if name == "base R" else name
    code = f"if (!requireNamespace('{package}', quietly = TRUE)) quit(status = 66)\nd <- {lines_of_the_page()[name]}\n"
    words.with_name("read.R").write_text(code + SHOW, encoding="utf-8")
    result = subprocess.run(
        [rscript, "--vanilla", "read.R"], capture_output=True, text=True, check=False, encoding="utf-8"
    )
    if result.returncode == 66:
        pytest.skip(f"the R package {package} is not installed")
    assert result.returncode == 0, result.stderr
    rows = [line.split("|") for line in result.stdout.splitlines()]

    def number(cell: str) -> float | None:
        return None if cell == "NA" else float(cell)

    texts = ["".join(chr(int(code)) for code in row[0].split()) for row in rows]
    check(texts, *([number(row[place]) for row in rows] for place in (1, 2, 3)), exact=False)
