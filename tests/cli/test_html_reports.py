"""`--html`: a report in one file of each command that shows something to people, with any text in it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lmkit.cli import cli

ReadPage = Callable[[str], Any]
ODD = "gru <b>&amp;"
"""A name of a run that is markup."""


def run(*line: object) -> Result:
    return CliRunner().invoke(cli, [str(part) for part in line])


@pytest.fixture(scope="module")
def odd(several: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(several["gru"], tmp_path_factory.mktemp("odd") / ODD)


def test_compare_writes_its_table(
    several: dict[str, Path], odd: Path, tmp_path: Path, read_page: ReadPage
) -> None:
    """The page has the rows of --json, a bar for each ranked run, and the notes."""
    page = tmp_path / "page.html"
    line = ["compare", odd, several["backoff"], "--data", several["train.txt"], "--html", page, "--json"]
    result = run(*line)
    assert result.exit_code == 0, result.stderr
    found = read_page(page.read_text(encoding="utf-8"))
    for row in json.loads(result.stdout):
        assert row["run"] in found.text
        assert f"{row['tokens_per_second']:,.0f}" in found.text
    assert f"{ODD} is not ranked" not in found.text
    assert "backoff is not ranked" in found.text
    assert page.read_text(encoding="utf-8").count('class="bar"') == 1


def test_context_writes_a_chart_and_tables(
    several: dict[str, Path], odd: Path, tmp_path: Path, read_page: ReadPage
) -> None:
    """Perplexities, shuffled contexts and gradients, a section each."""
    page = tmp_path / "page.html"
    data = ["--data", several["train.txt"], "--longest", 8, "--windows", 5]
    result = run("context", odd, *data, "--shuffle", "--html", page)
    assert result.exit_code == 0, result.stderr
    found = read_page(page.read_text(encoding="utf-8"))
    assert found.tags.count("svg") == 2
    assert found.tags.count("table") == 3
    cells = [part.strip() for part in result.stdout.split("|") if part.strip()]
    assert [cell for cell in cells if cell not in found.text and not cell.startswith("-")] == []


def test_distances_writes_a_chart_and_a_table(
    several: dict[str, Path], odd: Path, tmp_path: Path, read_page: ReadPage
) -> None:
    """The accuracies of the table, and chance as a line of its own."""
    page = tmp_path / "page.html"
    result = run("distances", odd, several["chars"], "--farthest", 2, "--count", 3, "--html", page)
    assert result.exit_code == 0, result.stderr
    found = read_page(page.read_text(encoding="utf-8"))
    assert found.tags.count("table") == 1
    assert ODD in found.text
    assert "chance is 4.2" in found.text


def test_fill_writes_candidates_and_reasons(odd: Path, tmp_path: Path, read_page: ReadPage) -> None:
    """The line of the blank may look like markup, and so may a candidate."""
    page = tmp_path / "page.html"
    result = run("fill", odd, "the <i>cat</i> ____ sat", "--candidates", "cat,<script>", "--html", page)
    assert result.exit_code == 0, result.stderr
    found = read_page(page.read_text(encoding="utf-8"))
    assert "<script>" in found.text
    assert "the <i>cat</i> ____ sat" in found.text
    assert "per character (normalize char)" in found.text
    assert found.tags.count("table") == 3
    assert found.tags.count("b") == 1


def test_surprisal_writes_coloured_text(
    several: dict[str, Path], odd: Path, tmp_path: Path, read_page: ReadPage
) -> None:
    """A section for each run; the records on stdout are the same as without a page."""
    page, text = tmp_path / "page.html", tmp_path / "text.txt"
    text.write_text("the cat <b>sat\na dog\n", encoding="utf-8")
    line = ["surprisal", odd, several["chars"], "--data", text]
    plain, result = run(*line), run(*line, "--html", page)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == plain.stdout
    found = read_page(page.read_text(encoding="utf-8"))
    assert found.tags.count("section") == 2
    assert "<b>sat" in found.text
    assert "outside the vocabulary" in page.read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written_is_refused_at_once(several: dict[str, Path], tmp_path: Path) -> None:
    """One line, exit code 2, before anything is scored."""
    for line in (
        ["compare", several["gru"], several["train.txt"]],
        ["context", several["gru"], several["train.txt"]],
        ["distances", several["gru"]],
        ["fill", several["gru"], "the ____"],
        ["surprisal", several["gru"], several["train.txt"]],
    ):
        result = run(*line, "--html", tmp_path / "nowhere" / "page.html")
        assert result.exit_code == 2
        assert "there is no folder" in result.stderr
        assert result.stdout == ""
