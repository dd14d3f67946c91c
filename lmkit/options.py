"""Convert tables of a recipe to checked dataclasses of options, and back."""

import dataclasses
import math
import reprlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmkit.errors import UsageError, listed, suggest
from lmkit.option_fields import OptionField, fields_of
from lmkit.plugins import Part, Registry, registry


@dataclass(frozen=True)
class Chosen:
    """A registered part together with its resolved options: the value of a nested option, or a recipe's table."""

    kind: str
    name: str
    """The long name, `owner:name`."""
    options: Any
    source: str = ""
    """`Part.source`: tells parts from files apart that have one name."""

    def part(self) -> Part:
        return registry().preferring((self.source,)).find(self.kind, self.name)

    def load(self) -> Any:
        """The target class."""
        return self.part().load()


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
    """The table from which `resolve` (or `choose`, for a Chosen) gives the same; options that are None are omitted."""
    if isinstance(value, Chosen):
        return {"name": value.name, **to_table(value.options)}
    table = {}
    for item in dataclasses.fields(value):
        entry = getattr(value, item.name)
        if entry is not None:
            table[item.name] = _plain(entry)
    return table


def _plain(value: Any) -> Any:
    """The value of an option as a recipe stores it."""
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return to_table(value) if isinstance(value, Chosen) else value


def listed_names(value: Any) -> list[str] | None:
    """The names in "a,b"; None for anything else."""
    return [name.strip() for name in value.split(",")] if isinstance(value, str) and "," in value else None


def with_file(
    kind: str | tuple[str, ...], table: Mapping[str, Any], *, parts: Registry | None = None
) -> dict[str, Any]:
    """The table, with the file of a short form such as "word:FILE" in its option `file`.

    A registered name is never a short form: "lmkit:word" is the tokenizer. Raises UsageError for a part that reads no
    file.
    """
    name = table.get("name")
    if not isinstance(name, str) or ":" not in name:
        return dict(table)
    parts = parts or registry()
    kinds = (kind,) if isinstance(kind, str) else kind
    found = [part for kind in kinds for part in parts.parts(kind)]
    known = {name for part in found for name in (part.long_name, part.spec.name)}
    heads = (name[:place] for place, character in enumerate(name) if character == ":")
    head = None if name in known else next((head for head in heads if head in known), None)
    if head is None:
        return dict(table)
    part, file = parts.find(kinds, head), name[len(head) + 1 :]
    if all(item.name != "file" for item in fields_of(part.spec.options)):
        raise UsageError(f"the {part.kind} {head} cannot be read from a file; leave out ':{file}'")
    if not file:
        raise UsageError(f"'{name}' ends with a colon; add the file, or leave out the colon")
    return {**table, "name": head, "file": file}


def _resolve(
    options: type, table: Mapping[str, Any], where: str, parts: Registry, problems: list[str]
) -> Any:
    known = {item.name: item for item in fields_of(options)}
    for key in table:
        if key not in known:
            problems.append(f"{where}: unknown option '{key}'; {suggest(key, known)}")
    values = {}
    for name, item in known.items():
        value = table.get(name, item.default)
        several = (listed_names(value) if item.kind else None) or value
        if item.many and isinstance(several, (list, tuple)):
            values[name] = _several(item, several, where, parts, problems)
        elif item.kind:
            values[name] = _choose(item.kind, value, f"{where}.{name}", parts, problems)
        elif problem := check_value(item, value):
            problems.append(f"{where}: {name} {problem}")
        else:
            values[name] = float(value) if item.type is float and value is not None else value
    return None if problems else options(**values)


def _several(
    item: OptionField, entries: Sequence[Any], where: str, parts: Registry, problems: list[str]
) -> tuple[Any, ...]:
    """The values of an option that has a list."""
    if not entries:
        problems.append(f"{where}.{item.name} must not be an empty list")
    if item.kind:
        return tuple(_choose(item.kind, entry, f"{where}.{item.name}", parts, problems) for entry in entries)
    wrong = (check_value(item, entry) if entry is not None else "must not be empty" for entry in entries)
    problems += [f"{where}: each {item.name} {problem}" for problem in wrong if problem]
    return tuple(entries)


def _choose(
    kind: str | tuple[str, ...], table: Any, where: str, parts: Registry, problems: list[str]
) -> Chosen | None:
    if isinstance(table, Chosen):
        return table
    entries: dict[str, Any] = dict(table) if isinstance(table, Mapping) else {"name": table}
    entries = with_file(kind, entries, parts=parts)
    name = entries.pop("name", None)
    if not isinstance(name, str):
        problems.append(f'{where}: it needs a name (name = "...")')
        return None
    part = parts.find(kind, name)
    options = _resolve(part.spec.options, entries, where, parts, problems)
    return Chosen(part.kind, part.long_name, options, part.source)


def check_value(item: OptionField, value: Any) -> str | None:
    """The problem with a value of an option, or None."""
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
    if isinstance(value, float) and not math.isfinite(value):
        return f"must be a finite number, not {value}"
    if item.type is float and isinstance(value, int) and abs(value) > sys.float_info.max:
        return "is too large"
    if item.min is not None and value < item.min:
        return f"must be at least {item.min}, not {value}"
    if item.max is not None and value > item.max:
        return f"must be at most {item.max}, not {value}"
    return None


def nested(chosen: Chosen) -> list[Chosen]:
    """The part itself and every part that its options name, outermost first."""
    values = (getattr(chosen.options, item.name) for item in dataclasses.fields(chosen.options))
    inner = (one for value in values for one in (value if isinstance(value, tuple) else (value,)))
    return [chosen, *(c for value in inner if isinstance(value, Chosen) for c in nested(value))]
