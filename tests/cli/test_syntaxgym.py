"""`lmkit syntaxgym`: its tables, its JSON and its files."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lmkit.cli import cli

EXAMPLE = Path(__file__).parents[2] / "examples" / "syntaxgym" / "agreement.json"


def invoke(*line: object) -> Result:
    return CliRunner().invoke(cli, ["syntaxgym", *map(str, line)])


def test_a_row_for_each_prediction(several: dict[str, Path]) -> None:
    """And one for all of them; a column for each run; unknown words in a note."""
    result = invoke(several["gru"], several["chars"], EXAMPLE)
    assert result.exit_code == 0, result.stderr
    header, _, *rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in result.stdout.splitlines()]
    assert header == ["suite", "prediction", "items", "gru", "chars"]
    assert [row[1] for row in rows] == [
        "(5;%match_sing%) < (5;%mismatch_sing%)",
        "(5;%match_plural%) < (5;%mismatch_plural%)",
        "all predictions",
    ]
    assert "gru: agreement_across_a_phrase: 8 of 8 items have words outside the vocabulary" in result.stderr


def test_json_and_rows_by_item(several: dict[str, Path]) -> None:
    """--by item says of each item which predictions hold; JSON has the signature."""
    table = json.loads(invoke(several["chars"], EXAMPLE, "--json", "--by", "item").stdout)["chars"]
    suite = table["suites"]["agreement_across_a_phrase"]
    assert table["mean"] == suite["accuracy"]
    assert "state:independent-lines" in table["signature"]
    assert suite["items"] == 8
    held = list(suite["by_item"].values())
    assert suite["predictions"][0]["accuracy"] == 100 * sum(one[0] for one in held) / 8
    rows = invoke(several["chars"], EXAMPLE, "--by", "item").stdout.splitlines()[2:]
    assert len(rows) == 16
    assert ["yes" in row for row in rows] == [truth for one in held for truth in one]


def test_a_row_for_each_region(several: dict[str, Path], tmp_path: Path) -> None:
    """--out writes the surprisal of every region."""
    out = tmp_path / "regions.tsv"
    assert invoke(several["chars"], EXAMPLE, "--out", out).exit_code == 0
    header, *rows = out.read_text(encoding="utf-8").splitlines()
    assert header == "run\tsuite\titem\tcondition\tregion_number\tregion\tcontent\tsurprisal\twords\toov"
    assert len(rows) == 192


@pytest.mark.parametrize(
    ("paths", "code", "message"),
    [
        (("gru", "absent.json"), 3, "absent.json: not a suite in JSON (No such file or directory)"),
        (("elmo", EXAMPLE), 4, "holds an encoder"),
        (("gru", EXAMPLE, EXAMPLE), 2, "two suites have the same name"),
        (("gru",), 2, "syntaxgym has runs but no SUITE"),
    ],
)
def test_what_is_refused(
    several: dict[str, Path], paths: tuple[object, ...], code: int, message: str
) -> None:
    """Each error says where and what to do."""
    result = invoke(*(several.get(str(path), path) for path in paths))
    assert result.exit_code == code
    assert message in result.stderr
