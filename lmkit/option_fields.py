"""The options that a dataclass declares with `lmkit.option`."""

import dataclasses
import functools
import operator
import types
import typing
from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True)
class OptionField:
    """One option, for the command line, recipes and the docs."""

    name: str
    type: type
    optional: bool
    default: Any
    help: str
    min: float | None
    max: float | None
    choices: tuple[str, ...]
    kind: str | None
    many: bool = False
    """Whether it accepts several values: "a,b" on the command line, a list in a recipe."""

    @property
    def flag(self) -> str:
        return self.name.replace("_", "-")


@cache
def fields_of(options: type) -> tuple[OptionField, ...]:
    """The options that a dataclass declares, in order; TypeError for an unsupported annotation."""
    hints = typing.get_type_hints(options)
    found = []
    for item in dataclasses.fields(options):
        kind = item.metadata.get("kind")
        hint, many = _without_tuple(hints[item.name])
        value_type, optional = (str, False) if kind else _plain_type(item.name, hint)
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
                many=many,
            )
        )
    return tuple(found)


def _without_tuple(hint: Any) -> tuple[Any, bool]:
    """`int | None` and True for `int | tuple[int, ...] | None`."""
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else ()
    single = [member for member in members if typing.get_origin(member) is not tuple]
    lists = [typing.get_args(member) for member in members if member not in single]
    if len(lists) != 1 or len(lists[0]) != 2 or lists[0][1] is not Ellipsis or lists[0][0] not in single:
        return hint, False
    return functools.reduce(operator.or_, single), True


def _plain_type(name: str, hint: Any) -> tuple[type, bool]:
    is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    members = typing.get_args(hint) if is_union else (hint,)
    inner = [member for member in members if member is not type(None)]
    if len(inner) != 1 or inner[0] not in (int, float, str, bool):
        written = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else hint
        raise TypeError(
            f"its option '{name}' is annotated {written}; use int, float, str or bool, optionally with | None"
        )
    return inner[0], len(members) > 1
