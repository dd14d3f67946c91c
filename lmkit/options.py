"""Options in one place: from the dataclasses of the specs to checked values, and back to tables of a recipe."""

import dataclasses
import difflib
import reprlib
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from lmkit.errors import UsageError, listed
from lmkit.plugins import Part, Registry, registry


@dataclass(frozen=True)
class Chosen:
    """A registered part together with its resolved options: the value of a nested option, or a recipe's table."""

    kind: str
    name: str
    """The long name, `owner:name`."""
    options: Any

    def part(self) -> Part:
        return registry().find(self.kind, self.name)

    def load(self) -> Any:
        """The target class."""
        return self.part().load()


@dataclass(frozen=True)
class OptionField:
    """One option as the command line, a recipe and the docs see it."""

    name: str
    type: type
    optional: bool
    default: Any
    help: str
    min: float | None
    max: float | None
    choices: tuple[str, ...]
    kind: str | None

    @property
    def flag(self) -> str:
        return self.name.replace("_", "-")


@cache
def fields_of(options: type) -> tuple[OptionField, ...]:
    """The options that a dataclass declares, in order."""
    hints = typing.get_type_hints(options)
    found = []
    for item in dataclasses.fields(options):
        kind = item.metadata.get("kind")
        value_type, optional = (str, False) if kind else _plain_type(hints[item.name])
        found.append(
            OptionField(
                name=item.name,
                type=value_type,
                optional=optional,
                default=item.default,
                help=item.metadata.get("help", ""),
                min=item.metadata.get("min"),
                max=item.metadata.get("max"),
                choices=tuple(item.metadata.get("choices", ())),
                kind=kind,
            )
        )
    return tuple(found)


def resolve(options: type, table: Mapping[str, Any], where: str, *, parts: Registry | None = None) -> Any:
    """An instance of `options` from a table of values; all problems are reported at once, as a UsageError."""
    problems: list[str] = []
    instance = _resolve(options, table, where, parts or registry(), problems)
    if problems:
        raise UsageError(listed(problems))
    return instance


def choose(
    kind: str | tuple[str, ...], table: str | Mapping[str, Any], where: str, *, parts: Registry | None = None
) -> Chosen:
    """The part that a table names (`{"name": "gru", ...options}`) or a bare name, with its options resolved."""
    problems: list[str] = []
    chosen = _choose(kind, table, where, parts or registry(), problems)
    if problems or chosen is None:
        raise UsageError(listed(problems))
    return chosen


def to_table(value: Any) -> dict[str, Any]:
    """The table that `resolve` (or `choose`, for a Chosen) reads back; options that are None are left out."""
    if isinstance(value, Chosen):
        return {"name": value.name, **to_table(value.options)}
    table = {}
    for item in dataclasses.fields(value):
        entry = getattr(value, item.name)
        if entry is not None:
            table[item.name] = to_table(entry) if isinstance(entry, Chosen) else entry
    return table


def _plain_type(hint: Any) -> tuple[type, bool]:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        inner = [a for a in typing.get_args(hint) if a is not type(None)]
        assert len(inner) == 1, f"an option has one type, perhaps with None: {hint}"
        return inner[0], True
    assert hint in (int, float, str, bool), f"an option is an int, float, str or bool: {hint}"
    return hint, False


def _resolve(
    options: type, table: Mapping[str, Any], where: str, parts: Registry, problems: list[str]
) -> Any:
    known = {item.name: item for item in fields_of(options)}
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"it has: {', '.join(known) or 'none'}"
            problems.append(f"{where}: unknown option '{key}'; {hint}")
    values = {}
    for name, item in known.items():
        value = table.get(name, item.default)
        if item.kind:
            values[name] = _choose(item.kind, value, f"{where}.{name}", parts, problems)
        elif problem := check_value(item, value):
            problems.append(f"{where}: {name} {problem}")
        else:
            values[name] = float(value) if item.type is float and value is not None else value
    return None if problems else options(**values)


def _choose(
    kind: str | tuple[str, ...], table: Any, where: str, parts: Registry, problems: list[str]
) -> Chosen | None:
    if isinstance(table, Chosen):
        return table
    entries: dict[str, Any] = dict(table) if isinstance(table, Mapping) else {"name": table}
    name = entries.pop("name", None)
    if not isinstance(name, str):
        problems.append(f'{where}: it needs a name (name = "...")')
        return None
    part = parts.find(kind, name)
    return Chosen(part.kind, part.long_name, _resolve(part.spec.options, entries, where, parts, problems))


def check_value(item: OptionField, value: Any) -> str | None:
    """What is wrong with a value of an option, or None."""
    if value is None:
        return None if item.optional or item.default is None else "must not be empty"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    right = {
        int: is_number and isinstance(value, int),
        float: is_number,
        bool: isinstance(value, bool),
        str: isinstance(value, str),
    }[item.type]
    if not right:
        return f"must be {'an' if item.type is int else 'a'} {item.type.__name__}, not {reprlib.repr(value)}"
    if item.choices and value not in item.choices:
        return f"must be one of {', '.join(item.choices)}, not {reprlib.repr(value)}"
    if is_number and value != value:
        return "must be a number, not nan"
    if item.type is float and isinstance(value, int) and abs(value) > sys.float_info.max:
        return "is too large a number"
    if item.min is not None and value < item.min:
        return f"must be at least {item.min}, not {value}"
    if item.max is not None and value > item.max:
        return f"must be at most {item.max}, not {value}"
    return None


def nested(chosen: Chosen) -> list[Chosen]:
    """The part itself and every part that its options name, outermost first."""
    inner = (getattr(chosen.options, item.name) for item in dataclasses.fields(chosen.options))
    return [chosen, *(c for value in inner if isinstance(value, Chosen) for c in nested(value))]
