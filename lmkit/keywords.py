"""From options that Python code gives as keywords to the tables of a recipe."""

from collections.abc import Sequence
from typing import Any

from lmkit.aliases import CANONICAL
from lmkit.corpus.options import DataOptions
from lmkit.errors import UsageError, suggest
from lmkit.option_fields import fields_of
from lmkit.options import listed_names
from lmkit.plugins import registry
from lmkit.recipe import WORD, as_table, long_form, note_word_tokenizer
from lmkit.training.options import TrainOptions


def distribute(options: dict[str, Any], tables: dict[str, dict[str, Any]]) -> None:
    """Put options without their owner's name where they belong: each to the outermost table that has it.

    An option may have one of its other names (`lmkit.aliases`), as on the command line. Raises UsageError for a name
    that nothing has, and for an option that is given under two names.
    """
    left = dict(options)
    owners: list[tuple[type, dict[str, Any]]] = [
        (TrainOptions, tables["train"]),
        (DataOptions, tables["data"]),
    ]
    tokenizer = tables.get("tokenizer", {"name": WORD})
    for kind, table in (("model", tables["model"]), ("tokenizer", tokenizer)):
        owners += _owners(kind, table, left)
    for given, value in left.items():
        name = given if _owner(given, owners) is not None else CANONICAL.get(given, given)
        table = _owner(name, owners)
        if table is None:
            known = [item.name for owner, _ in owners for item in fields_of(owner)]
            raise UsageError(f"unknown option '{given}'; {suggest(given, known)}")
        if name != given and name in left:
            raise UsageError(f"'{given}' is another name of '{name}', which is given too; leave one out")
        table[name] = value
    if "tokenizer" not in tables and (chosen_by := tokenizer.keys() - {"name"}):
        tables["tokenizer"] = tokenizer
        note_word_tokenizer(sorted(chosen_by))


def _owner(name: str, owners: Sequence[tuple[type, dict[str, Any]]]) -> dict[str, Any] | None:
    """The outermost table whose owner has an option of this name."""
    has = (table for owner, table in owners if any(item.name == name for item in fields_of(owner)))
    return next(has, None)


def _owners(kind: str, table: dict[str, Any], options: dict[str, Any]) -> list[tuple[type, dict[str, Any]]]:
    """A part's table and those of the parts that its options name; such names are taken out of `options`."""
    spec_options = registry().find(kind, table["name"]).spec.options
    found = [(spec_options, table)]
    for item in fields_of(spec_options):
        if item.kind:
            chosen = options.pop(item.name, table.get(item.name, item.default))
            if item.many and (isinstance(chosen, (list, tuple)) or listed_names(chosen)):
                table[item.name] = listed_names(chosen) or chosen
                continue
            table[item.name] = long_form(item.kind, as_table(chosen, item.name), item.name)
            found += _owners(item.kind, table[item.name], options)
    return found
