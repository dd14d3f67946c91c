"""A command that adds the options of the parts named on its command line."""

import copy
import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from lmkit.cli.completion import PartFile, PartName
from lmkit.errors import LmkitError
from lmkit.option_fields import OptionField
from lmkit.option_owners import OwnedOption, Owner, TablePath, owned_options, tables_of
from lmkit.options import listed_names
from lmkit.part_files import is_file, use
from lmkit.specs import MOST_IDS

HELP = ("--help",)
"""The key that tells a Grow that help was requested."""

_OPTIONS = "lmkit.options"
_OWNERS = "lmkit.owners"
_GIVEN = "lmkit.given"
_BARE = "lmkit.bare"

METAVARS = {int: "N", float: "X", str: "TEXT"}

Grow = Callable[[Mapping[TablePath, str]], list[Owner]]
"""Maps the current values, by the path of each option or (name,) for the command's own, to the owners."""


class SpecCommand(click.Command):
    """A command that first reads the names of parts on its line, adds their options, then parses as usual.

    A bare flag belongs to the outermost owner: the command itself, then the owners in order. Every option
    also has a dotted flag. note: returns the last lines of the help.
    """

    def __init__(self, *args: Any, grow: Grow, note: Callable[[], str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.grow = grow
        self.note = note

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            take_cells(args)
        seen: list[list[Owner]] = []
        while (found := self._grown(ctx, args)) not in seen:
            seen.append(found)
            self._set_owners(ctx, found)
        # An option without a value uses the next flag as its value, which may remove its own section.
        settled = found == seen[-1]
        self._set_owners(ctx, found)
        ctx.meta[_GIVEN] = {}
        rest = super().parse_args(ctx, list(args))
        if not settled:
            raise click.UsageError(
                "an option has no value and read the next option as its value; add the value", ctx
            )
        return rest

    def _grown(self, ctx: click.Context, args: list[str]) -> list[Owner]:
        """The owners for the line so far."""
        try:
            return self.grow(self._scan(ctx, args))
        except LmkitError:
            if not ctx.resilient_parsing:
                raise
            return []  # shell completion of an unfinished line

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Options for completion; dotted ones if a dot is typed."""
        found = super().shell_complete(ctx, incomplete)
        return [item for item in found if "." in incomplete or "." not in item.value or item.type != "plain"]

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *ctx.meta.get(_OPTIONS, [])]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [p for p in super().get_params(ctx) if not isinstance(p, click.Argument)]
        _write_section(ctx, formatter, "Options", own)
        for owner in ctx.meta.get(_OWNERS, []):
            if owner.shown:
                options = [o for o in ctx.meta[_OPTIONS] if o.owned.owner is owner]
                _write_section(ctx, formatter, owner.title, options)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [option for option in ctx.meta.get(_OPTIONS, []) if option.owned.owner.shown]
        if options:
            formatter.write_paragraph()
            # textwrap would break a flag with a hyphen across lines.
            flag = min((option.dotted for option in options), key=lambda dotted: dotted.count("-"))
            formatter.write_text(
                f"Options in the sections above can also be written with their owner, such as {flag}."
            )
        if self.note:
            formatter.write_paragraph()
            formatter.write_text(self.note())

    def _set_owners(self, ctx: click.Context, owners: list[Owner]) -> None:
        ctx.meta[_OWNERS] = owners
        ctx.meta[_OPTIONS] = make_options(owners, self._own_flags(ctx))

    def _scan(self, ctx: click.Context, args: list[str]) -> dict[TablePath, str]:
        """The values on the line of the options known so far; others are ignored."""
        parser = self.make_parser(ctx)
        parser.ignore_unknown_options = True
        values, _, _ = parser.parse_args(list(args))
        # The parts of files have options too, and runs to resume may need them.
        for param in self.get_params(ctx):
            if _may_be_file(param) and (value := values.get(param.name)):
                names = param.type_cast_value(ctx, value)
                values[param.name] = names if isinstance(names, str) else ",".join(names)
        paths = {option.name: option.owned.path for option in ctx.meta.get(_OPTIONS, [])}
        given: dict[TablePath, str] = {
            paths.get(name, (name,)): value for name, value in values.items() if isinstance(value, str)
        }
        # Arguments, and options that may be repeated: whether there is any. A value of an option that is not known yet
        # looks like an argument, so a line once read without arguments has none.
        lists = {(name,): "" for name, value in values.items() if isinstance(value, (list, tuple)) and value}
        if not lists:
            ctx.meta[_BARE] = True
        if _BARE not in ctx.meta:
            given |= lists
        help_option = self.get_help_option(ctx)
        if help_option is not None and help_option.name in values:
            given[HELP] = ""
        return given

    def _own_flags(self, ctx: click.Context) -> set[str]:
        return {flag for param in super().get_params(ctx) for flag in (*param.opts, *param.secondary_opts)}


class SpecOption(click.Option):
    """A click option made from a field of an options dataclass."""

    def __init__(self, owned: OwnedOption) -> None:
        self.owned = owned
        self.field = owned.field
        self.aliases = [flag(alias) for alias in owned.aliases]
        super().__init__(
            ["__".join(owned.path), *map(self._declared, owned.names), *self.aliases],
            type=_click_type(owned.field),
            metavar=_metavar(owned.field),
            help=owned.field.help,
            default=None,
            expose_value=False,
            callback=self._remember,
        )

    def _declared(self, name: str) -> str:
        return f"{flag(name)}/{flag(f'no_{name}')}" if self.field.type is bool else flag(name)

    @property
    def dotted(self) -> str:
        """The flag that always means this option."""
        return flag(".".join(self.owned.path))

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        short = copy.copy(self)
        short.opts, short.secondary_opts = [*self.opts[:1], *self.aliases], self.secondary_opts[:1]
        return click.Option.get_help_record(short, ctx)

    def get_help_extra(self, ctx: click.Context) -> Any:
        extra = super().get_help_extra(ctx)
        value = self.owned.owner.table.get(self.field.name, self.field.default)
        if value not in (None, ""):
            extra["default"] = ",".join(map(written, value)) if isinstance(value, list) else written(value)
        if self.field.min is not None and (self.field.max or 0) >= MOST_IDS:  # in effect no limit
            extra["range"] = f"x>={written(self.field.min)}"
        return extra

    @staticmethod
    def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        assert isinstance(param, SpecOption)
        # Only explicit values may override a recipe.
        if ctx.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE:
            ctx.meta[_GIVEN][param.owned.path] = value


def written(value: object) -> str:
    """A value of an option in the syntax of the command line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def flag(name: str) -> str:
    """The flag for a name of an option: `--cell.hidden-size` for "cell.hidden_size"."""
    return f"--{name.replace('_', '-')}"


def collected(ctx: click.Context) -> dict[str, Any]:
    """The tables from the command line and its recipe, for `lmkit.recipe.build`."""
    return tables_of(ctx.meta[_OWNERS], ctx.meta[_GIVEN], flag)


def make_options(owners: Sequence[Owner], taken: set[str]) -> list[SpecOption]:
    """The options of all owners. taken: the command's own flags."""
    names = {name.removeprefix("--").replace("-", "_") for name in taken if name.startswith("--")}
    return [SpecOption(owned) for owned in owned_options(owners, names)]


class Several(click.ParamType):
    """One value, or several separated by commas, which become a list."""

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


def take_cells(args: Sequence[str]) -> None:
    """Take the files of --cell, which is an option only once the recipe of a run, which may need them, is read."""
    words = [word for arg in args for word in (arg.split("=", 1) if arg.startswith("--") else [arg])]
    for name, value in itertools.pairwise(words):
        if name.startswith("--") and name.rpartition(".")[2].removeprefix("--") == "cell":
            for one in value.split(","):
                if is_file(one):
                    use(one)


def _may_be_file(param: click.Parameter) -> bool:
    """Whether a value may be FILE.py:CLASS."""
    kind = param.type.one if isinstance(param.type, Several) else param.type
    return isinstance(kind, PartFile)


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
