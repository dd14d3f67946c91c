"""The command that grows options: those of the parts that its own line names."""

import copy
import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from lmkit.aliases import ALIASES
from lmkit.cli.completion import PartName, display_name
from lmkit.errors import LmkitError, PluginError
from lmkit.option_fields import OptionField, fields_of
from lmkit.options import listed_names
from lmkit.plugins import registry
from lmkit.recipe import as_table, long_form
from lmkit.specs import MOST_IDS

log = logging.getLogger(__name__)

HELP = "--help"
"""The key under which a Grow sees that help was asked for."""

_OPTIONS = "lmkit.options"
_SECTIONS = "lmkit.sections"
_GIVEN = "lmkit.given"

METAVARS = {int: "N", float: "X", str: "TEXT"}


@dataclass(frozen=True)
class Section:
    """The options of one owner.

    path: of its table in a recipe, ("model", "cell") for `[model.cell]`.
    table: what the recipe says already; it beats the defaults, and flags beat it.
    shown: whether help lists it. implied: its table exists only if one of its flags is given.
    """

    title: str
    path: tuple[str, ...]
    options: type
    table: Mapping[str, Any]
    shown: bool = True
    implied: bool = False


Grow = Callable[[Mapping[str, str]], list[Section]]
"""From what the line says so far (`key` of each option, or the name of the command's own) to its sections."""


class SpecCommand(click.Command):
    """A command that reads its line for names of parts first, adds their options, then parses as ever.

    A bare flag belongs to the outermost owner: the command itself, then the sections in order. Every option
    also has its dotted flag. note: gives the last lines of the help.
    """

    def __init__(self, *args: Any, grow: Grow, note: Callable[[], str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.grow = grow
        self.note = note

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        seen: list[list[Section]] = []
        while (found := self._grown(ctx, args)) not in seen:
            seen.append(found)
            self._set_sections(ctx, found)
        # An option without its value takes the next one for it, which may take its own section away.
        settled = found == seen[-1]
        self._set_sections(ctx, found)
        ctx.meta[_GIVEN] = {}
        rest = super().parse_args(ctx, list(args))
        if not settled:
            raise click.UsageError("an option lacks its value: it took the next option for it", ctx)
        return rest

    def _grown(self, ctx: click.Context, args: list[str]) -> list[Section]:
        """The sections for the line so far."""
        try:
            return self.grow(self._scan(ctx, args))
        except LmkitError:
            if not ctx.resilient_parsing:
                raise
            return []  # a shell completes a line that is not right yet

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Options to complete to; dotted ones when a dot is typed."""
        found = super().shell_complete(ctx, incomplete)
        return [item for item in found if "." in incomplete or "." not in item.value or item.type != "plain"]

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *ctx.meta.get(_OPTIONS, [])]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [p for p in super().get_params(ctx) if not isinstance(p, click.Argument)]
        _write_section(ctx, formatter, "Options", own)
        for section in ctx.meta.get(_SECTIONS, []):
            if section.shown:
                options = [o for o in ctx.meta[_OPTIONS] if o.section is section]
                _write_section(ctx, formatter, section.title, options)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [option for option in ctx.meta.get(_OPTIONS, []) if option.section.shown]
        if options:
            formatter.write_paragraph()
            # textwrap would break a flag with a hyphen in it over two lines.
            flag = min((option.dotted for option in options), key=lambda dotted: dotted.count("-"))
            formatter.write_text(
                f"Options in the sections above can also be written with their owner, such as {flag}."
            )
        if self.note:
            formatter.write_paragraph()
            formatter.write_text(self.note())

    def _set_sections(self, ctx: click.Context, sections: list[Section]) -> None:
        ctx.meta[_SECTIONS] = sections
        ctx.meta[_OPTIONS] = make_options(sections, self._own_flags(ctx))

    def _scan(self, ctx: click.Context, args: list[str]) -> dict[str, str]:
        """The values that the options known so far have on the line; the others are passed over."""
        parser = self.make_parser(ctx)
        parser.ignore_unknown_options = True
        values, _, _ = parser.parse_args(list(args))
        given = {name: value for name, value in values.items() if isinstance(value, str)}
        help_option = self.get_help_option(ctx)
        if help_option is not None and help_option.name in values:
            given[HELP] = ""
        return given

    def _own_flags(self, ctx: click.Context) -> set[str]:
        return {flag for param in super().get_params(ctx) for flag in (*param.opts, *param.secondary_opts)}


class SpecOption(click.Option):
    """A click option made from a field of an options dataclass."""

    def __init__(self, section: Section, field: OptionField, flags: list[str], aliases: list[str]) -> None:
        self.section = section
        self.field = field
        self.aliases = aliases
        super().__init__(
            [key((*section.path, field.name)), *flags, *aliases],
            type=_click_type(field),
            metavar=_metavar(field),
            help=field.help,
            default=None,
            expose_value=False,
            callback=self._remember,
        )

    @property
    def dotted(self) -> str:
        """The flag that always means this option."""
        return "--" + ".".join((*self.section.path, self.field.flag))

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        short = copy.copy(self)
        short.opts, short.secondary_opts = [*self.opts[:1], *self.aliases], self.secondary_opts[:1]
        return click.Option.get_help_record(short, ctx)

    def get_help_extra(self, ctx: click.Context) -> Any:
        extra = super().get_help_extra(ctx)
        value = self.section.table.get(self.field.name, self.field.default)
        if value not in (None, ""):
            extra["default"] = ",".join(map(written, value)) if isinstance(value, list) else written(value)
        if self.field.min is not None and (self.field.max or 0) >= MOST_IDS:  # as good as no limit
            extra["range"] = f"x>={written(self.field.min)}"
        return extra

    @staticmethod
    def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        assert isinstance(param, SpecOption)
        # Only what was really typed may beat a recipe.
        if ctx.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE:
            ctx.meta[_GIVEN][param.name] = value


def written(value: object) -> str:
    """A value of an option as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def key(path: Sequence[str]) -> str:
    """The name under which an option is kept: `model__cell` for ("model", "cell")."""
    return "__".join(path)


def collected(ctx: click.Context) -> dict[str, Any]:
    """The tables that the line and its recipe give together, for `lmkit.recipe.build`."""
    given: dict[str, Any] = ctx.meta[_GIVEN]
    tables: dict[str, Any] = {}
    for section in ctx.meta[_SECTIONS]:
        if section.implied and not any(name.startswith(key(section.path) + "__") for name in given):
            continue
        _node(tables, section.path).update(section.table)
    for option in ctx.meta[_OPTIONS]:
        # The name of a nested part is already in its section's table.
        if option.name in given and option.field.kind is None:
            _node(tables, option.section.path)[option.field.name] = given[option.name]
    return tables


def part_sections(
    kind: str,
    table: Mapping[str, Any],
    given: Mapping[str, str],
    path: tuple[str, ...],
    *,
    shown: bool = True,
    implied: bool = False,
) -> list[Section]:
    """The section of the part that a table names, and those of the parts that its options name."""
    part = registry().find(kind, table["name"])
    own = {**table, "name": part.long_name}
    sections = [
        Section(f"Options of {kind} {display_name(part)}", path, part.spec.options, own, shown, implied)
    ]
    for item in fields_of(part.spec.options):
        if item.kind is None:
            continue
        below = (*path, item.name)
        value = given.get(key(below)) or table.get(item.name, item.default)
        if item.many and (isinstance(value, list) or listed_names(value)):
            # Several parts have flags of one name: their options are given in a recipe.
            own[item.name] = listed_names(value) or value
            continue
        base = as_table(table.get(item.name, item.default), ".".join(below))
        chosen = pick(item.kind, base, given.get(key(below)), ".".join(below))
        # Its own section brings the rest of its table.
        own[item.name] = chosen["name"]
        sections += part_sections(item.kind, chosen, given, below, shown=shown, implied=implied)
    return sections


def pick(kind: str, base: Mapping[str, Any], name: str | None, where: str) -> dict[str, Any]:
    """The table of a part once a flag may have named another; the options of the one it replaces go."""
    if name is None:
        return long_form(kind, base, where)
    chosen = long_form(kind, {"name": name}, where)
    if "name" in base:
        base = long_form(kind, base, where)
        if base["name"] != chosen["name"]:
            if base.keys() - {"name"}:
                log.warning(
                    "%s %s takes the place of %s, whose options are left out",
                    kind,
                    chosen["name"],
                    base["name"],
                )
            return chosen
    if "cell" in chosen:
        cell = as_table(base.get("cell", {}), f"{where}.cell")
        chosen["cell"] = pick("cell", cell, chosen["cell"]["name"], f"{where}.cell")
    return {**base, **chosen}


def make_options(sections: Sequence[Section], taken: set[str]) -> list[SpecOption]:
    """The options of all sections; a flag that an outer owner has is left to it.

    taken: the command's own flags. An alias goes to the outermost option that has it, unless an option is called
    so itself. Raises PluginError when two options of one owner want one flag.
    """
    named = {f"--{field.flag}" for section in sections for field in fields_of(section.options)} | taken
    owners: dict[str, tuple[str, ...]] = dict.fromkeys(taken, ())
    options = []
    for section in sections:
        for field in fields_of(section.options):
            flags = []
            for names in _candidates(section, field):
                clash = next((name for name in names if name in owners), None)
                if clash is None:
                    owners.update(dict.fromkeys(names, section.path))
                    flags.append("/".join(names))
                elif owners[clash] == section.path:
                    raise PluginError(
                        f"{section.title}: two of them want the flag {clash}; report it to its author"
                    )
            aliases = [f"--{alias.replace('_', '-')}" for alias in ALIASES.get(field.name, ())]
            aliases = [alias for alias in aliases if alias not in named]
            named.update(aliases)
            options.append(SpecOption(section, field, flags, aliases))
    return options


def _node(tables: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """The table at a path; created if it is missing or only a name."""
    for name in path:
        if not isinstance(tables.get(name), dict):
            tables[name] = {}
        tables = tables[name]
    return tables


def _candidates(section: Section, field: OptionField) -> Iterator[tuple[str, ...]]:
    """The flags that an option would like: bare, below its nearest owner, and with its whole path."""
    owners = {"": None, f"{section.path[-1]}.": None, ".".join(section.path) + ".": None}
    for owner in owners:
        name = f"{owner}{field.flag}"
        yield (f"--{name}", f"--no-{name}") if field.type is bool else (f"--{name}",)


class Several(click.ParamType):
    """One value, or several with commas between them, which become a list."""

    def __init__(self, one: click.ParamType) -> None:
        self.one = one
        self.name = one.name

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return self.one.shell_complete(ctx, param, incomplete)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if names := listed_names(value):
            return [self.one.convert(name, param, ctx) for name in names]
        return self.one.convert(value, param, ctx)


def _metavar(field: OptionField) -> str | None:
    if field.choices or field.type is bool:
        return None
    name = "NAME" if field.kind else METAVARS[field.type]
    return f"{name}[,{name}...]" if field.many else name


def _click_type(field: OptionField) -> click.ParamType:
    if field.many:
        return Several(_click_type(dataclasses.replace(field, many=False)))
    if field.kind:
        return PartName(field.kind)
    if field.choices:
        return click.Choice(field.choices)
    if field.type is int:
        low, high = (None if bound is None else int(bound) for bound in (field.min, field.max))
        return click.IntRange(low, high)
    if field.type is float:
        return click.FloatRange(field.min, field.max)
    return click.BOOL if field.type is bool else click.STRING


def _write_section(
    ctx: click.Context, formatter: click.HelpFormatter, title: str, params: Sequence[click.Parameter]
) -> None:
    rows = [record for param in params if (record := param.get_help_record(ctx)) is not None]
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)
