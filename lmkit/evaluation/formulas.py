"""Parse and evaluate the predictions of SyntaxGym suites, such as (2;%match%) < (2;%mismatch%)."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from lmkit.errors import DataError

Region = tuple[int | None, str]
"""The number of a region, or None for the sum over all regions, and the name of a condition."""
Values = Mapping[Region, float]

ABSOLUTE, RELATIVE = 1e-3, 1e-5
"""`=` holds if two values, in bits, differ by at most ABSOLUTE + RELATIVE * the larger magnitude."""
ROUNDING = 1e-9
"""`<` and `>` do not hold if two values differ by at most this share of the larger magnitude."""

_TOKEN = re.compile(
    r"\s*(?:\(\s*(?P<number>\d+|\*)\s*;\s*%(?P<condition>[^%]+)%\s*\)|(?P<sign>[][()<>=&|+-]))", re.ASCII
)
_CLOSING = {"(": ")", "[": "]"}


class Formula:
    """A prediction: comparisons of sums and differences of regions, joined by `&`, which binds first, and `|`.

    `a > b > c` compares all three, as in mathematics. Round or square brackets group.
    """

    def __init__(self, text: str) -> None:
        """Parse `text`; DataError, with the place of the mistake, if it is not a formula."""
        self.text = text
        try:
            self._root = _Parser(text).parse()
        except RecursionError:
            raise DataError(f"formula '{text[:60]}...': nested too deeply; fix the formula") from None
        self.regions: frozenset[Region] = frozenset(_regions_of(self._root))

    def holds(self, values: Values) -> bool | None:
        """Whether it holds, given the surprisal of each of `regions`; None if a value is not a number.

        That is so for NaN in a model, and for the difference of two impossible regions.
        """
        try:
            return _truth(self._root, values)
        except _NotANumberError:
            return None


class _NotANumberError(Exception):
    """A value that cannot be compared."""


@dataclass(frozen=True)
class _Sum:
    """signs: 1 or -1 for each term."""

    signs: tuple[int, ...]
    terms: "tuple[_Sum | Region, ...]"


@dataclass(frozen=True)
class _Comparison:
    """operators: one fewer than operands; operator n stands between the operands n and n + 1."""

    operators: tuple[str, ...]
    operands: "tuple[_Sum | Region, ...]"


@dataclass(frozen=True)
class _Joined:
    """operator: "&" or "|"."""

    operator: str
    parts: "tuple[_Joined | _Comparison, ...]"


_Number = _Sum | tuple
_Node = _Joined | _Comparison | _Sum | tuple


class _Token(NamedTuple):
    place: int
    sign: str
    region: Region | None = None


class _Parser:
    """Recursive descent, loosest operator first; brackets hold anything, and operators check what they join."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._at = 0

    def parse(self) -> _Node:
        found = self._joined("|")
        if self._sign:
            raise self._error(f"unexpected '{self._sign}'")
        return self._truth(found, 0)

    @property
    def _sign(self) -> str:
        return self._tokens[self._at].sign

    @property
    def _place(self) -> int:
        return self._tokens[self._at].place

    def _joined(self, operator: str) -> _Node:
        start = self._place
        inner = (lambda: self._joined("&")) if operator == "|" else self._comparison
        parts = [inner()]
        while self._sign == operator:
            self._at += 1
            second = self._place
            parts[-1] = self._truth(parts[-1], start)
            parts.append(self._truth(inner(), second))
        return parts[0] if len(parts) == 1 else _Joined(operator, tuple(parts))  # pyright: ignore[reportArgumentType]

    def _comparison(self) -> _Node:
        start = self._place
        operands, operators = [self._sum()], []
        while self._sign and self._sign in "<>=":
            operators.append(self._sign)
            operands[-1] = self._number(operands[-1], start)
            self._at += 1
            start = self._place
            operands.append(self._number(self._sum(), start))
        return operands[0] if not operators else _Comparison(tuple(operators), tuple(operands))  # pyright: ignore[reportArgumentType]

    def _sum(self) -> _Node:
        start = self._place
        terms, signs = [self._primary()], [1]
        while self._sign and self._sign in "+-":
            signs.append(1 if self._sign == "+" else -1)
            terms[-1] = self._number(terms[-1], start)
            self._at += 1
            start = self._place
            terms.append(self._number(self._primary(), start))
        return terms[0] if len(terms) == 1 else _Sum(tuple(signs), tuple(terms))  # pyright: ignore[reportArgumentType]

    def _primary(self) -> _Node:
        token = self._tokens[self._at]
        if token.region is not None:
            self._at += 1
            return token.region
        if token.sign not in _CLOSING:
            raise self._error(
                f"a region such as (2;%condition%) is missing before '{token.sign or 'the end'}'"
            )
        self._at += 1
        found = self._joined("|")
        if self._sign != _CLOSING[token.sign]:
            raise self._error(f"the '{token.sign}' at character {token.place + 1} is not closed")
        self._at += 1
        return found

    def _number(self, node: _Node, place: int) -> _Node:
        if isinstance(node, (_Comparison, _Joined)):
            raise self._error("a comparison stands where a value is needed", place)
        return node

    def _truth(self, node: _Node, place: int) -> _Node:
        if not isinstance(node, (_Comparison, _Joined)):
            raise self._error("a value stands where a comparison is needed", place)
        return node

    def _error(self, problem: str, place: int | None = None) -> DataError:
        at = self._place if place is None else place
        return DataError(f"formula '{self._text}', character {at + 1}: {problem}; fix the formula")


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text.rstrip()):
        found = _TOKEN.match(text, at)
        if found is None:
            place = len(text) - len(text[at:].lstrip())
            raise DataError(
                f"formula '{text}', character {place + 1}: '{text[place : place + 10]}' is neither a region such as "
                "(2;%condition%) nor one of < > = & | + - ( ) [ ]; fix the formula"
            )
        place = len(text) - len(text[at:].lstrip())
        if sign := found["sign"]:
            yield _Token(place, sign)
        else:
            number = None if found["number"] == "*" else int(found["number"])
            yield _Token(place, "a region", (number, found["condition"]))
        at = found.end()
    yield _Token(len(text), "")


def _regions_of(node: _Node) -> Iterator[Region]:
    if isinstance(node, tuple):
        yield node
        return
    inner = (
        node.terms
        if isinstance(node, _Sum)
        else node.operands
        if isinstance(node, _Comparison)
        else node.parts
    )
    for part in inner:
        yield from _regions_of(part)


def _truth(node: _Node, values: Values) -> bool:
    if isinstance(node, _Joined):
        truths = [_truth(part, values) for part in node.parts]
        return all(truths) if node.operator == "&" else any(truths)
    assert isinstance(node, _Comparison)
    numbers = [_value(operand, values) for operand in node.operands]
    if any(map(math.isnan, numbers)):
        raise _NotANumberError
    return all(map(_compares, numbers, node.operators, numbers[1:]))


def _value(node: _Number, values: Values) -> float:
    if isinstance(node, _Sum):
        signed = zip(node.signs, node.terms, strict=True)
        return sum(sign * _value(term, values) for sign, term in signed)
    return values[node]


def _compares(left: float, operator: str, right: float) -> bool:
    larger = max(abs(left), abs(right))
    if math.isinf(larger):
        return {"=": left == right, "<": left < right, ">": left > right}[operator]
    if operator == "=":
        return abs(left - right) <= ABSOLUTE + RELATIVE * larger
    difference = left - right if operator == ">" else right - left
    return difference > ROUNDING * larger
