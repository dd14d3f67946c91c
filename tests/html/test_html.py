"""The components of pages: text stays text, tables have headings, charts show round numbers."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from lmkit.html import (
    Html,
    Line,
    Word,
    bar,
    chart,
    coloured,
    details,
    fragment,
    joined,
    note,
    report,
    section,
    table,
    tag,
)

HOSTILE = "</td></style></title><script>alert(1)</script>\"'&<!--\x1b[31m\u202e\ud800"


def test_text_is_escaped_wherever_it_stands(read_page: Callable[[str], Any]) -> None:
    """Markup, quotes, control characters, lone surrogates and reversed text from a model or a file do nothing."""
    line = Line(HOSTILE, [1, 2], [1.0, 2.0])
    page = report(
        HOSTILE,
        section(HOSTILE, note(HOSTILE), details(HOSTILE, note(HOSTILE))),
        coloured([Word(HOSTILE, 1, HOSTILE, HOSTILE), Word(HOSTILE, marked=True)]),
        table([HOSTILE, "b"], [[HOSTILE, bar(0.5, HOSTILE)]], caption=HOSTILE),
        chart([line], title=HOSTILE, x=HOSTILE, y=HOSTILE),
    )
    found = read_page(page)
    assert found.text.count("<script>alert(1)</script>") >= 14
    assert r"\x1b[31m\u202e\ud800" in found.text
    assert page.encode()


def test_markup_is_not_escaped_twice() -> None:
    """What components made is inserted as it is."""
    inner = tag("b", "a < b")
    assert inner == "<b>a &lt; b</b>"
    assert tag("p", inner, " & ") == "<p><b>a &lt; b</b> &amp; </p>"
    assert isinstance(joined(["a"], ", "), Html)
    assert joined(["<", inner], " > ") == "&lt; &gt; <b>a &lt; b</b>"
    assert (
        tag("a", hidden=True, title=None, aria_label="x", class_="y")
        == '<a hidden aria-label="x" class="y"></a>'
    )


def test_pages_adapt_and_load_nothing(read_page: Callable[[str], Any]) -> None:
    """A page follows the reader's dark or light system, fits a narrow screen, and forbids itself scripts."""
    page = report("title", note("text"))
    assert page.startswith("<!doctype html>\n")
    assert "color-scheme: light dark" in page
    assert "width=device-width" in page
    assert "default-src &#x27;none&#x27;" in page
    assert read_page(fragment(note("text"))).text == "text"


def test_tables_name_their_columns_and_rows() -> None:
    """Screen readers get a caption and headings of both kinds; numbers are aligned to the right."""
    found = table(["run", "model", "bits"], [["a", "gru", "1.0"]], caption="Models", left=2)
    assert '<caption class="unseen">Models</caption>' in found
    assert '<th scope="col" class="text">run</th>' in found
    assert '<th scope="row" class="text">a</th><td class="text">gru</td><td>1.0</td>' in found


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 5.0])
def test_any_number_has_a_colour_and_a_bar(value: float) -> None:
    """Impossible words are as red as the reddest; NaN has no colour."""
    words = coloured([Word("a", value)])
    assert "nan" not in words
    assert ("0.65" in words) is not math.isnan(value)
    assert "nan" not in bar(value, "text")
    assert "inf" not in bar(value, "text")


@pytest.mark.parametrize(
    ("xs", "ys", "log", "shown"),
    [
        (range(1, 1001), [1000.0 / k for k in range(1, 1001)], "xy", ["1", "10", "100", "1,000"]),
        ([0.0, 5.0, 10.0], [0.0, 50.0, 100.0], "", ["0", "2", "10", "20", "100"]),
        ([1.0, 2.0], [None, math.inf], "y", ["1.2"]),
        ([3.0], [7.0], "", ["2", "3", "4", "7"]),
        ([], [], "xy", ["1", "2"]),
    ],
)
def test_axes_have_round_numbers(read_page, xs, ys, log, shown) -> None:
    """Both kinds of axes, with missing values, one value or none."""
    found = chart([Line("a", list(xs), list(ys))], title="t", x="x", y="y", log=log)
    read_page(found)
    assert "nan" not in found
    texts = [part.split("<")[0] for part in found.split('end">')[1:] + found.split('middle">')[1:]]
    assert set(shown) <= set(texts)
    assert len(texts) < 30


def test_a_missing_value_interrupts_a_line() -> None:
    """A model without a figure at some place has a gap there, not a line across it."""
    found = chart([Line("a", [1, 2, 3, 4], [1.0, 2.0, None, 4.0])], title="t", x="x", y="y")
    assert found.count("M") - found.count('d="M0 6H30"') == 2
