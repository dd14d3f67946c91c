"""The words of a line coloured by their effect on the answer, in a terminal and as a picture."""

import math
from pathlib import Path

import pytest

from lmkit import api
from lmkit.evaluation import fill_report as heat
from lmkit.evaluation.fill import Filled, fill
from lmkit.evaluation.fill_candidates import Blank
from lmkit.evaluation.fill_page import answer_section
from lmkit.evaluation.fill_why import Part, Why, why


def test_without_colours_the_terminal_says_the_cost(tmp_path: Path) -> None:
    """The answer is in brackets; the picture needs no colours of a terminal."""
    parts = [Part("<b>", 0, " ", 2.0, 1.0), None, Part("x", 1, "", 0.0, 0.0)]
    reasons = Why("a&b", " ", parts, parts)
    assert heat.terminal(reasons, colours=False) == "<b>(+2.0) [a&b] x"
    heat.picture(tmp_path / "why.png", {"run": reasons})
    assert (tmp_path / "why.png").stat().st_size > 1000


def test_impossible_answers_are_drawn(tmp_path: Path) -> None:
    """An infinite cost, as of an n-gram without smoothing, has the full colour; nothing is NaN."""
    parts = [Part("a", 0, " ", math.inf, math.inf), Part("b", 2, " ", 2.0, 0.0), None]
    reasons = Why("c", "", parts, parts)
    filled = Filled(Blank("a b ", ""), ["c"], [-math.inf], [1.0], False, "none", [-math.inf])
    assert "nan" not in answer_section("run", filled, reasons, 10)
    assert heat.terminal(reasons, colours=True).count(str(heat.REDS[-1])) == 2
    heat.picture(tmp_path / "why.png", {"run": reasons})


@pytest.mark.parametrize(
    ("name", "text"), [("char", "the\tcat ____ on !"), ("char", "a\u00a0b ____"), ("gru", "你，他 ____ 。")]
)
def test_any_white_space_and_clauses_within_words_are_drawn(
    models: dict[str, api.Model], tmp_path: Path, name: str, text: str
) -> None:
    """The picture frames clauses wherever they begin: behind tabs, and within a word that is not known."""
    model = models[name]
    filled = fill(model.directions, model.tokenizer, text, ["a", "b"])
    heat.picture(tmp_path / "why.png", {"run": why(model.directions, model.tokenizer, filled)})
    assert (tmp_path / "why.png").stat().st_size > 1000
