"""Formulas of SyntaxGym: parsed by hand, and checked against Python, whose operators bind in the same order."""

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmkit.errors import DataError
from lmkit.evaluation.formulas import ABSOLUTE, RELATIVE, ROUNDING, Formula

NAMES = ("a", "b-2", "c_3")
REGION = st.builds(
    lambda number, name: f"({number};%{name}%)", st.sampled_from(["1", "2", "*"]), st.sampled_from(NAMES)
)
SPACE = st.sampled_from(["", " "])


def grouped(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(inner.map("({})".format), inner.map("[{}]".format))


def chain(part: st.SearchStrategy[str], operators: str, least: int = 1) -> st.SearchStrategy[str]:
    """Parts with operators between them, with and without spaces."""
    more = st.lists(st.tuples(SPACE, st.sampled_from(operators), SPACE, part), min_size=least - 1, max_size=2)
    return st.builds(lambda first, rest: first + "".join("".join(one) for one in rest), part, more)


TERM = st.recursive(REGION, lambda inner: grouped(chain(inner, "+-")), max_leaves=4)
COMPARISON = chain(chain(TERM, "+-"), "<>=", least=2)
FORMULA = st.recursive(COMPARISON, lambda inner: grouped(chain(chain(inner, "&"), "|")), max_leaves=4)
WHOLE = chain(chain(FORMULA, "&"), "|")


class Value(float):
    """A number whose comparisons are those of formulas; sums of Values are Values."""

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, float)
        return abs(float(self) - float(other)) <= ABSOLUTE + RELATIVE * self._larger(other)

    def __lt__(self, other: float) -> bool:
        return float(other) - float(self) > ROUNDING * self._larger(other)

    def __gt__(self, other: float) -> bool:
        return float(self) - float(other) > ROUNDING * self._larger(other)

    def __add__(self, other: float) -> "Value":
        return Value(float(self) + float(other))

    def __sub__(self, other: float) -> "Value":
        return Value(float(self) - float(other))

    def _larger(self, other: float) -> float:
        return max(abs(float(self)), abs(float(other)))

    __hash__ = float.__hash__


def by_python(text: str, values: dict[tuple[int | None, str], float]) -> bool:
    """The truth of a formula as an expression of Python, in which `and`, `or` and chains work the same."""

    def value(found: re.Match[str]) -> str:
        number = None if found[1] == "*" else int(found[1])
        return f"Value({values[number, found[2]]!r})"

    code = (
        text.replace("[", "(").replace("]", ")").replace("=", "==").replace("&", " and ").replace("|", " or ")
    )
    return eval(re.sub(r"\((\d|\*);%([^%]*)%\)", value, code), {"Value": Value})


@settings(max_examples=40)
@given(
    text=WHOLE,
    numbers=st.lists(st.sampled_from([0.0, 0.0005, 1.0, 1.0 + 1e-12, 2.5, 7.0]), min_size=9, max_size=9),
)
def test_formulas_are_those_of_python(text: str, numbers: list[float]) -> None:
    """`&` before `|`, comparisons before both, `+` and `-` first, and chains compare every pair of neighbours."""
    values = dict(zip([(n, name) for n in (1, 2, None) for name in NAMES], numbers, strict=True))
    formula = Formula(text)
    assert formula.regions <= values.keys()
    assert formula.holds(values) == by_python(text, values)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("(1;%a%) > (1;%b%) > (1;%c%)", True),
        ("(1;%a%) > (1;%c%) > (1;%b%)", False),
        ("(1;%c%) > (1;%a%) & (1;%a%) > (1;%c%) | (1;%a%) > (1;%b%)", True),
        ("(1;%c%) > (1;%a%) & ((1;%a%) > (1;%c%) | (1;%a%) > (1;%b%))", False),
        ("[(1;%a%) - (1;%b%)] = [(1;%b%) - (1;%c%)]", True),
        ("(1;%a%)-(1;%b%)-(1;%c%)=(*;%zero%)", True),
        ("(1;%a%) - ((1;%b%) - (1;%c%)) = (*;%zero%)", False),
        ("( 1 ; %a% ) > (1;%b%)", True),
    ],
)
def test_what_binds_first(text: str, holds: bool) -> None:
    """By hand: a = 3, b = 2, c = 1."""
    values = {(1, "a"): 3.0, (1, "b"): 2.0, (1, "c"): 1.0, (None, "zero"): 0.0}
    assert Formula(text).holds(values) is holds


def test_equality_has_a_tolerance_and_order_ignores_rounding() -> None:
    """Equal sentences in batches of other sizes differ in their last bits."""
    near = {(1, "a"): 8.0, (1, "b"): 8.0 * (1 + 1e-12)}
    assert Formula("(1;%a%) = (1;%b%)").holds(near) is True
    assert Formula("(1;%a%) < (1;%b%)").holds(near) is False
    apart = {(1, "a"): 8.0, (1, "b"): 8.1}
    assert Formula("(1;%a%) = (1;%b%)").holds(apart) is False
    assert Formula("(1;%a%) < (1;%b%)").holds(apart) is True


def test_values_that_are_not_numbers() -> None:
    """An impossible region is larger than any other; what is not a number has no truth."""
    values = {(1, "a"): math.inf, (1, "b"): 1.0, (1, "n"): math.nan}
    assert Formula("(1;%a%) > (1;%b%)").holds(values) is True
    assert Formula("(1;%a%) = (1;%a%)").holds(values) is True
    assert Formula("(1;%a%) > (1;%a%)").holds(values) is False
    assert Formula("(1;%a%) - (1;%a%) < (1;%b%)").holds(values) is None
    assert Formula("(1;%n%) > (1;%b%) | (1;%a%) > (1;%b%)").holds(values) is None


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("", 1, "a region such as"),
        ("(1;%a%)", 1, "a value stands where a comparison is needed"),
        ("(1;%a%) > ", 11, "a region such as (2;%condition%) is missing before 'the end'"),
        ("(1;%a%) > (1;%b%) & (1;%b%)", 21, "a value stands where a comparison is needed"),
        ("((1;%a%) > (1;%b%)) + (1;%b%) > (1;%a%)", 1, "a comparison stands where a value is needed"),
        ("(1;%a%) > ((1;%b%) > (1;%c%))", 11, "a comparison stands where a value is needed"),
        ("[(1;%a%) > (1;%b%))", 19, "the '[' at character 1 is not closed"),
        ("(1;%a%) > (1;%b%))", 18, "unexpected ')'"),
        ("(1;%a%) >= (1;%b%)", 10, "a region such as"),
        ("(1;a) > (1;%b%)", 2, "'1;a) > (1;' is neither"),
        ("(1;%a%) > 3", 11, "'3' is neither"),
    ],
)
def test_mistakes_have_a_place(text: str, place: int, problem: str) -> None:
    """The error quotes the formula and gives the character."""
    with pytest.raises(DataError) as error:
        Formula(text)
    assert f"formula '{text}', character {place}: " in str(error.value)
    assert problem in str(error.value)


def test_deep_nesting_is_an_error_too() -> None:
    """A hostile file ends no program with a traceback."""
    with pytest.raises(DataError, match="nested too deeply"):
        Formula("(" * 100_000 + "(1;%a%) > (1;%b%)")
