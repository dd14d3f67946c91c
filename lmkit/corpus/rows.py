"""Rows of tables, and the lines of text in one of their cells."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from lmkit.corpus.decoding import decoded, wrong_bytes
from lmkit.corpus.lines import PIECE, BadLines, Line, LineReader
from lmkit.corpus.words import count_words

KEEPING = "--keep, --sentence or --prefix-field"
"""The options that name columns whose values the lines carry."""
_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table.

    number: from 1 over the whole text, including skipped rows. where: for messages, its file and place.
    cells: values by the names of the columns.
    """

    number: int
    where: str
    cells: dict[str, Any]


class RepeatedKey(dict[str, Any]):
    """An object of JSON in which the key `key` is written twice, here or in an object within."""

    key: str


def checked_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON from its pairs (`object_pairs_hook`)."""
    found = dict(pairs)
    twice = next((value.key for value in found.values() if isinstance(value, RepeatedKey)), None)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
    if twice is None:
        return found
    repeated = RepeatedKey(found)
    repeated.key = twice
    return repeated


def repeated(value: RepeatedKey) -> tuple[str, str]:
    """The problem of such an object, and what to do."""
    return f"the field '{value.key}' is in it twice", "remove one"


class CellError(Exception):
    """A cell that cannot be used. problem, remedy: for `BadLines.report`."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


def lines_of_rows(rows: Iterable[Row], field: str, keep: tuple[str, ...], bad: BadLines) -> Iterator[Line]:
    """The lines of the field `field` of each row; each row is a document with at least one line.

    keep: the columns whose values the lines carry. A row that cannot be used is reported to `bad` and skipped.
    """
    for row in rows:
        try:
            text = text_of(row.cells, field, "--text-field")
            kept = tuple([look_up(row.cells, name, KEEPING) for name in keep]) if keep else ()
        except CellError as error:
            bad.report(row.where, error.problem, error.remedy)
            continue
        try:
            raw = text.encode()
        except UnicodeEncodeError:
            raw = _bytes(text)
        if decoded(raw) is None:
            _, problem, remedy = wrong_bytes(raw, bad.sample)
            bad.report(f"{row.where}, field '{field}'", problem, remedy)
            continue
        if "\n" in text or len(raw) > PIECE or text.endswith("\r"):
            yield from _cell_lines(text, row.number, kept)
        else:
            yield Line(text, len(raw), count_words(raw), True, False, row.number, "", kept)


def text_of(cells: dict[str, Any], name: str, option: str = "--text-field") -> str:
    """The text in a cell: a string, or the strings of a list as its lines; null is empty text. Else CellError."""
    value = look_up(cells, name, option)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        odd = next((item for item in value if not isinstance(item, str)), "")
        if not odd:
            return "\n".join(value)
        remedy = _nested({name: value}) or "a list must hold strings, which are its lines"
        raise CellError(f"the field '{name}' is a list that contains {kind_of(odd)}", remedy)
    raise CellError(
        f"the field '{name}' is {kind_of(value)}, not a string", _other_field(value, name, option)
    )


def look_up(cells: dict[str, Any], name: str, option: str) -> Any:
    """The value of a column, or within objects of a dotted name such as "meta.text"; CellError where absent."""
    if name in cells:
        return cells[name]
    value: Any = cells
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            has = ", ".join(map(repr, _names(cells))) or "none"
            raise CellError(
                f"no field '{name}'; its fields are {has}", _nested(cells) or f"choose one with {option}"
            )
        value = value[part]
    return value


def kind_of(value: Any) -> str:
    return _KINDS.get(type(value), "a number" if isinstance(value, (int, float)) else "no text")


def _names(cells: dict[str, Any]) -> Iterator[str]:
    """The columns, and the dotted names of fields of objects in them."""
    for name, value in cells.items():
        if isinstance(value, dict) and value:
            yield from (f"{name}.{inner}" for inner in value)
        else:
            yield name


def _nested(cells: dict[str, Any]) -> str:
    """The remedy for rows in a list within a row, as in {"data": [{"text": "..."}]}; "" if there are none."""
    for name, value in cells.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return (
                f"'{name}' is a list of objects: write one per line (`jq -c '.{name}[]' FILE > rows.jsonl`)"
            )
    return ""


def _other_field(value: Any, name: str, option: str) -> str:
    if isinstance(value, dict) and value:
        return f"choose a field in it, such as {option} {name}.{next(iter(value))}"
    return f"choose another field with {option}"


def _bytes(text: str) -> bytes:
    """The bytes of text that is not UTF-8: its bytes, or half a surrogate pair."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair written in JSON
        return text.encode("utf-8", "surrogatepass")


def _cell_lines(text: str, row: int, kept: tuple[object, ...]) -> Iterator[Line]:
    *whole, last = text.split("\n")
    parts = [(line, "\n") for line in whole]
    if last or not whole:
        parts.append((last, ""))
    starts = True
    for line, end in parts:
        body = line.removesuffix("\r")
        for piece in _pieces(body.encode(), body):
            ending = "" if piece.continues else line[len(body) :] + end
            yield replace(piece, starts_document=starts, row=row, ending=ending, kept=kept)
            starts = False


def _pieces(raw: bytes, text: str) -> Iterator[Line]:
    """A line, in pieces if it is very long."""
    if len(raw) <= PIECE:
        yield Line(text, len(raw), count_words(raw), False, False)
    else:
        yield from LineReader(lambda line, byte: "", BadLines("error")).read([raw])
