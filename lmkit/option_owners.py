"""Decide which table of a recipe an option belongs to, for flags on the command line and keywords in Python."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmkit.aliases import ALIASES
from lmkit.corpus.options import DataOptions
from lmkit.errors import PluginError, UsageError, suggest
from lmkit.notes import NOTE
from lmkit.option_fields import OptionField, fields_of
from lmkit.options import listed_names
from lmkit.plugins import Part, registry
from lmkit.recipe import BY_TEXT, DEFAULT_MODEL, as_table, long_form, suited
from lmkit.training.options import TrainOptions

TablePath = tuple[str, ...]
"""The place of a table or an option in a recipe: ("model", "cell") for `[model.cell]`."""

MODEL, CELL, TOKENIZER, DECODER = ("model",), ("model", "cell"), ("tokenizer",), ("decoder",)

DEFAULT_DECODER = "sample"
WORD = BY_TEXT[0]
"""A tokenizer that is chosen if one of its own options is given but no tokenizer is named."""

Named = Mapping[TablePath, Any]
"""The parts given on the command line or in a call, by the path of their table: names, or tables from Python."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owner:
    """The training, the data or a part: its options and the table of a recipe that they are in.

    title: of a list of the options. table: the values of a recipe, and the names of parts. implied: the table exists
    only if one of its options is given. shown: whether help lists the options.
    """

    title: str
    path: TablePath
    options: type
    table: Mapping[str, Any] = field(default_factory=dict)
    implied: bool = False
    shown: bool = True


DATA = Owner("Data options", ("data",), DataOptions)


@dataclass(frozen=True)
class OwnedOption:
    """An option of an owner, and its names.

    names: `activation`, `cell.activation`, `model.cell.activation`, except those of outer owners.
    aliases: those of `lmkit.aliases`.
    """

    owner: Owner
    field: OptionField
    names: tuple[str, ...]
    aliases: tuple[str, ...]

    @property
    def path(self) -> TablePath:
        return (*self.owner.path, self.field.name)


def training_owners(
    tables: Mapping[str, Any], named: Named, *, spell: Callable[[str], str] = str, default_model: bool = True
) -> list[Owner]:
    """The owners of a training's options, outermost first: training, data, the model, its parts, the tokenizer.

    tables: of a recipe; named parts replace theirs. spell: gives the user's spelling of an option, for messages.
    default_model: whether the default model has owners. Raises UsageError for two names of the cell.
    """
    named = _with_one_cell(named, spell("model"))
    owners = [
        Owner("Training options", ("train",), TrainOptions, as_table(tables.get("train", {}), "train")),
        Owner(DATA.title, DATA.path, DataOptions, as_table(tables.get("data", {}), "data")),
    ]
    said = MODEL in named or "model" in tables
    model = None
    if said or default_model:
        table = as_table(tables.get("model", {}), "model")
        model = pick("model", table, named.get(MODEL, None if "name" in table else DEFAULT_MODEL), "model")
        owners += part_owners("model", model, named, MODEL, shown=said)
    implied = TOKENIZER not in named and "tokenizer" not in tables
    if implied and all(part.long_name != WORD for part in registry().parts("tokenizer")):
        return owners
    table = {"name": WORD} if implied else as_table(tables.get("tokenizer", {}), "tokenizer")
    tokenizer = pick("tokenizer", table, named.get(TOKENIZER), "tokenizer")
    if model is not None:
        tokenizer = suited(tokenizer, model["name"])
    shown = said or not implied
    return owners + part_owners("tokenizer", tokenizer, named, TOKENIZER, shown=shown, implied=implied)


def decoder_owners(named: Named) -> list[Owner]:
    """The owners of a decoder's options."""
    return part_owners("decoder", pick("decoder", {}, named[DECODER], "decoder"), named, DECODER)


def part_owners(
    kind: str,
    table: Mapping[str, Any],
    named: Named,
    path: TablePath,
    *,
    shown: bool = True,
    implied: bool = False,
) -> list[Owner]:
    """The part in a table, and the parts in its options."""
    part = registry().find(kind, table["name"])
    own = {**table, "name": part.long_name}
    owners = [Owner(f"Options of {kind} {part.display_name}", path, part.spec.options, own, implied, shown)]
    for item in fields_of(part.spec.options):
        if item.kind is None:
            continue
        below = (*path, item.name)
        default = table.get(item.name, item.default)
        value = named.get(below, default)
        if item.many and (isinstance(value, (list, tuple)) or listed_names(value)):
            # Options of several parts would have the same names: they are given in tables.
            own[item.name] = listed_names(value) or value
            continue
        where = ".".join(below)
        chosen = pick(item.kind, as_table(default, where), named.get(below), where)
        # Its owner adds the rest of its table.
        own[item.name] = chosen["name"]
        owners += part_owners(item.kind, chosen, named, below, shown=shown, implied=implied)
    return owners


def pick(kind: str, base: Mapping[str, Any], named: Any, where: str) -> dict[str, Any]:
    """The table of a part; if another part replaces the recipe's, its options are dropped."""
    if named is None:
        return long_form(kind, base, where)
    chosen = long_form(kind, as_table(named, where), where)
    if "name" in base:
        base = long_form(kind, base, where)
        if base["name"] != chosen["name"]:
            if base.keys() - {"name"}:
                taken = (kind, chosen["name"], base["name"])
                log.warning("%s %s replaces %s, whose options are dropped", *taken)
            return chosen
    if "cell" in chosen and "cell" in base:
        cell = as_table(base["cell"], f"{where}.cell")
        chosen["cell"] = pick("cell", cell, chosen["cell"], f"{where}.cell")
    return {**base, **chosen}


def owned_options(owners: Sequence[Owner], taken: Collection[str] = ()) -> list[OwnedOption]:
    """The options of all owners; a name belongs to the outermost owner that has it.

    taken: names with another meaning. An alias belongs to the outermost option that has it, unless an option has that
    name. Raises PluginError if two options of one owner need one flag.
    """
    claimed: dict[str, TablePath] = dict.fromkeys(taken, ())
    spoken_for = {item.name for owner in owners for item in fields_of(owner.options)} | set(taken)
    found = []
    for owner in owners:
        for item in fields_of(owner.options):
            names = tuple(name for name in _names(owner, item) if _claim(name, item, owner, claimed))
            aliases = tuple(alias for alias in ALIASES.get(item.name, ()) if alias not in spoken_for)
            spoken_for.update(aliases)
            found.append(OwnedOption(owner, item, names, aliases))
    return found


def tables_of(
    owners: Sequence[Owner], values: Mapping[TablePath, Any], spell: Callable[[str], str] = str
) -> dict[str, Any]:
    """The tables of a recipe from owners and the values of their options, for `lmkit.recipe.build`.

    values: by path. spell: gives the user's spelling of an option, for the note on options that choose a tokenizer.
    """
    tables: dict[str, Any] = {}
    for owner in owners:
        given = [path[-1] for path in values if path[: len(owner.path)] == owner.path]
        if owner.implied and not given:
            continue
        if owner.implied and set(given) <= _options_of_each(BY_TEXT):
            # The text decides later which tokenizer has them.
            _node(tables, owner.path)
        else:
            if owner.implied:
                _note_implied(owner, map(spell, sorted(given)))
            _node(tables, owner.path).update(owner.table)
        for item in fields_of(owner.options):
            # The name of a nested part is in the table of its owner already.
            if item.kind is None and (*owner.path, item.name) in values:
                _node(tables, owner.path)[item.name] = values[*owner.path, item.name]
    return tables


def distribute(
    find_owners: Callable[[Named], list[Owner]],
    named: Named,
    options: Mapping[str, Any],
    keywords: Iterable[str] = (),
) -> dict[str, Any]:
    """The tables of a recipe from keywords: each option goes to the outermost owner that has it.

    find_owners: gives the owners for the named parts, like `training_owners`. keywords: the caller's own, to suggest
    for a misspelt one. Raises UsageError for an unknown name, and for an option given under two names.
    """
    owners = find_owners(named)
    # An option may name a part, which also has options.
    while (parts := {**named, **_named_parts(owners, options)}) != named:
        named = parts
        owners = find_owners(named)
    known = _by_name(owned_options(owners))
    values: dict[TablePath, Any] = {}
    used: dict[TablePath, str] = {}
    for name, value in options.items():
        if name not in known:
            names = dict.fromkeys([*(option.names[0] for option in known.values()), *keywords])
            raise UsageError(f"unknown option '{name}'; {_elsewhere(name) or suggest(name, names)}")
        option = known[name]
        if option.path in values:
            other, main = sorted((used[option.path], name), key=lambda one: one == option.field.name)
            raise UsageError(f"'{other}' is another name of '{main}', which is also given; leave one out")
        values[option.path], used[option.path] = value, name
    return tables_of(owners, values)


def _elsewhere(name: str) -> str | None:
    """Name the parts that have an option, though no part in use has it; None if there are none."""
    having = [part.display_name for part in registry().parts() if _has(part, name)]
    return f"only these parts have it: {', '.join(having)}" if having else None


def _has(part: Part, name: str) -> bool:
    return any(item.name == name for item in fields_of(part.spec.options))


def _named_parts(owners: Sequence[Owner], options: Mapping[str, Any]) -> dict[TablePath, Any]:
    known = _by_name(owned_options(owners))
    found = ((known[name], value) for name, value in options.items() if name in known)
    return {option.path: value for option, value in found if option.field.kind is not None}


def _by_name(options: Sequence[OwnedOption]) -> dict[str, OwnedOption]:
    return {name: option for option in options for name in (*option.names, *option.aliases)}


def _with_one_cell(named: Named, where: str) -> Named:
    """The same names; UsageError if the model is one cell and the cell another."""
    if MODEL not in named or CELL not in named:
        return named
    table = long_form("model", {**as_table(named[MODEL], where), "cell": named[CELL]}, where)
    return {**named, CELL: table["cell"]}


def _names(owner: Owner, item: OptionField) -> Iterator[str]:
    """The possible names of an option: bare, with its nearest owner, and with its whole path."""
    prefixes = dict.fromkeys(("", f"{owner.path[-1]}.", ".".join(owner.path) + "."))
    return (f"{prefix}{item.name}" for prefix in prefixes)


def _claim(name: str, item: OptionField, owner: Owner, claimed: dict[str, TablePath]) -> bool:
    """Reserve a name for an option if it is free; for a switch also the name with "no"."""
    wanted = (name, f"no_{name}") if item.type is bool else (name,)
    clash = next((one for one in wanted if one in claimed), None)
    if clash is None:
        claimed.update(dict.fromkeys(wanted, owner.path))
    elif claimed[clash] == owner.path:
        flag = clash.replace("_", "-")
        raise PluginError(
            f"{owner.title}: two of them need the flag --{flag}; rename one, or report it to its author"
        )
    return clash is None


def _options_of_each(tokenizers: Sequence[str]) -> set[str]:
    """The names of the options that several tokenizers share."""
    known = {part.long_name: part.spec.options for part in registry().parts("tokenizer")}
    if not known.keys() >= set(tokenizers):
        return set()
    return set.intersection(*({item.name for item in fields_of(known[name])} for name in tokenizers))


def _note_implied(owner: Owner, given: Iterator[str]) -> None:
    kind, name = owner.path[-1], owner.table["name"].rpartition(":")[2]
    text = "%s: for the %s %s, which is therefore used for any text; give a %s to choose another"
    log.log(NOTE, text, ", ".join(given), kind, name, kind)


def _node(tables: dict[str, Any], path: TablePath) -> dict[str, Any]:
    """The table at a path; created if it is missing or only a name."""
    for name in path:
        if not isinstance(tables.get(name), dict):
            tables[name] = {}
        tables = tables[name]
    return tables
