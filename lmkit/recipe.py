"""Recipes: convert every setting of a run from TOML tables, and back."""

import reprlib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lmkit.corpus.options import STDIN, DataOptions
from lmkit.errors import UsageError, listed, problems_of, reason_of, suggest
from lmkit.files import write_text
from lmkit.manifest import part_tables
from lmkit.option_fields import OptionField, fields_of
from lmkit.options import Chosen, choose, listed_names, resolve, to_table, with_file
from lmkit.plugins import registry
from lmkit.run_code import names_in, require
from lmkit.run_paths import recipe_to_resume
from lmkit.shipped import ABOUT
from lmkit.specs import ModelSpec
from lmkit.training.options import InitOptions, TrainOptions

if TYPE_CHECKING:
    import tomlkit.items

DEFAULT_MODEL = "gru"
RECURRENT = "lmkit:recurrent"
"""The model of a bare cell name: `--model gru` means `--model recurrent --cell gru`."""

BY_TEXT = ("lmkit:word", "lmkit:char")
"""The tokenizers to choose from by the text if none is named: words between spaces, or characters."""

TABLES = ("data", "init", "tokenizer", "train", "model")

SWEEP = "sweep"
"""The table with ranges of settings, for `lmkit sweep`."""

T = TypeVar("T")


@dataclass(frozen=True)
class Recipe:
    """The settings of a run.

    tokenizer: None if the text decides (`BY_TEXT`); tokenizer_options: in that case, the options of the chosen one.
    init: the trained model to start from, or None.
    """

    train_paths: tuple[str, ...]
    valid_paths: tuple[str, ...]
    data: DataOptions
    tokenizer: Chosen | None
    train: TrainOptions
    model: Chosen
    tokenizer_options: Mapping[str, Any] = field(default_factory=dict)
    init: InitOptions | None = None


def read_recipe(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file, for `build`; UsageError when it cannot be read or is not TOML."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: byte {error.start} is not UTF-8; save the recipe as UTF-8") from error
    except OSError as error:
        raise UsageError(f"the recipe {path} cannot be read: {reason_of(error)}; check the path") from error
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}; fix that line") from error
    except RecursionError:
        raise UsageError(f"{path} cannot be parsed: nested too deeply; simplify it") from None


def recipe_of_run(directory: Path) -> dict[str, Any]:
    """The tables of the recipe of a training to resume.

    Raises CheckpointError if there is none, PluginError if it needs code of a file that nobody named.
    """
    tables = read_recipe(recipe_to_resume(directory))
    require(directory, names_in(tables))
    return tables


def with_start(tables: Mapping[str, Any], run: str | Path | None) -> dict[str, Any]:
    """The tables, with the model and the tokenizer of the run that the training starts from.

    run: of --init-from, whose tables replace others; None: the run of the table [init], if no model is named.
    """
    if run is None and "model" not in tables:
        run = as_table(tables.get("init", {}), "init").get("run")
    if run is None:
        return dict(tables)
    start = part_tables(Path(run))
    require(Path(run), names_in(start))
    return {**tables, **start}


def build(tables: Mapping[str, Any], *, source: str | Path | None = None) -> Recipe:
    """Build the recipe that tables describe, with every option resolved.

    tables: {"data": {"train": [...], "valid": [...], ...DataOptions}, "tokenizer": {"name": ...},
    "train": {...}, "model": {"name": ..., "cell": {"name": ...}}}; each may be omitted.
    source: the file with the tables, for messages. Raises UsageError with all problems at once.
    """
    problems: list[str] = []
    for name in tables:
        if name == SWEEP:
            problems.append(f"the table [{SWEEP}] has ranges for lmkit sweep; to train once, leave it out")
        elif name not in (*TABLES, ABOUT):
            problems.append(f"unknown table [{name}]; {suggest(name, TABLES)}")
    data = _collect(problems, lambda: as_table(tables.get("data", {}), "data")) or {}
    train_paths = _paths(data, "train", problems)
    valid_paths = _paths(data, "valid", problems)
    data_options = _collect(problems, lambda: resolve(DataOptions, data, "data"))
    train = _collect(
        problems, lambda: resolve(TrainOptions, as_table(tables.get("train", {}), "train"), "train")
    )
    init = _collect(problems, lambda: _init(tables["init"])) if "init" in tables else None
    model = _collect(problems, lambda: _model(tables.get("model", {})))
    tokenizer, open_options = None, {}
    if "tokenizer" in tables:
        table = _collect(problems, lambda: as_table(tables["tokenizer"], "tokenizer")) or {}
        if "name" in table:
            tokenizer = _collect(problems, lambda: choose_tokenizer(table, model))
        elif table:
            open_options = table
            _collect(problems, lambda: _check_for_each(table, model))
    if problems:
        prefix = f"{source}: " if source else ""
        raise UsageError(listed([prefix + problem for problem in problems]))
    assert data_options is not None
    assert train is not None
    assert model is not None
    return Recipe(train_paths, valid_paths, data_options, tokenizer, train, model, open_options, init)


def choose_tokenizer(value: Any, model: Chosen | None) -> Chosen:
    """The tokenizer that a recipe's table or bare name describes; other options get the model's defaults for it."""
    table = with_file("tokenizer", as_table(value, "tokenizer"))
    return choose("tokenizer", table if model is None else suited(table, model.name), "tokenizer")


def _check_for_each(options: Mapping[str, Any], model: Chosen | None) -> None:
    """Raise UsageError unless every tokenizer that the text may choose has these options."""
    for name in BY_TEXT:
        choose_tokenizer({**options, "name": name}, model)


def suited(tokenizer: Mapping[str, Any], model: str) -> dict[str, Any]:
    """A tokenizer's table with the model's defaults for it (`ModelSpec.tokenizers`)."""
    spec = registry().find(("model", "cell"), model).spec
    if not isinstance(spec, ModelSpec) or not isinstance(tokenizer.get("name"), str):
        return dict(tokenizer)
    return {**spec.tokenizers.get(registry().find("tokenizer", tokenizer["name"]).long_name, {}), **tokenizer}


def to_tables(recipe: Recipe) -> dict[str, Any]:
    """The tables from which `build` gives the same recipe, with every setting."""
    paths = {"train": list(recipe.train_paths), "valid": list(recipe.valid_paths)}
    tables: dict[str, Any] = {"data": {**paths, **to_table(recipe.data)}}
    if recipe.tokenizer is not None:
        tables["tokenizer"] = to_table(recipe.tokenizer)
    elif recipe.tokenizer_options:
        tables["tokenizer"] = dict(recipe.tokenizer_options)
    if recipe.init is not None:
        tables["init"] = to_table(recipe.init)
    return {**tables, "train": to_table(recipe.train), "model": to_table(recipe.model)}


def write(recipe: Recipe, path: str | Path) -> None:
    """Write a recipe as TOML, with the help of each option; options without a value are comments."""
    import tomlkit

    document = tomlkit.document()
    document.add(tomlkit.comment("lmkit train --recipe FILE repeats this run"))
    data = tomlkit.table()
    for name, paths in (("train", recipe.train_paths), ("valid", recipe.valid_paths)):
        data.add(name, list(paths))
    document.add("data", _write_options(data, recipe.data))
    if recipe.init is not None:
        document.add("init", _write_options(tomlkit.table(), recipe.init))
    if recipe.tokenizer is not None:
        document.add("tokenizer", _write_chosen(recipe.tokenizer))
    document.add("train", _write_options(tomlkit.table(), recipe.train))
    document.add("model", _write_chosen(recipe.model))
    write_text(Path(path), tomlkit.dumps(document))


def as_table(value: Any, where: str) -> dict[str, Any]:
    """A new table from a recipe's entry: a table, a bare name or a Chosen."""
    if isinstance(value, Chosen):
        return to_table(value)
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} must be a table, not {reprlib.repr(value)}")
    return dict(value)


def long_form(kind: str, table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The same table with the long name of its part; the name of a cell becomes the recurrent model with it."""
    table = with_file(kind, table)
    name = table.get("name")
    if not isinstance(name, str):
        raise UsageError(f'{where}: it needs a name (name = "...")')
    part = registry().find(("model", "cell") if kind == "model" else kind, name)
    if part.kind == kind:
        return {**table, "name": part.long_name}
    cell = table.get("cell", {})
    if isinstance(cell, (list, tuple)) or listed_names(cell):
        raise UsageError(f"{where}: the name '{name}' is a cell, but {where}.cell lists cells; leave one out")
    cell = as_table(cell, f"{where}.cell")
    given = cell.get("name", part.long_name)
    if registry().find("cell", given).long_name != part.long_name:
        raise UsageError(
            f"{where}: the name '{name}' is a cell, but {where}.cell names '{given}'; leave one out"
        )
    return {**table, "name": RECURRENT, "cell": {**cell, "name": part.long_name}}


def _model(value: Any) -> Chosen:
    table = {"name": DEFAULT_MODEL, **as_table(value, "model")}
    return choose("model", long_form("model", table, "model"), "model")


def _init(value: Any) -> InitOptions:
    options: InitOptions = resolve(InitOptions, as_table(value, "init"), "init")
    if options.run is None:
        raise UsageError("init: it needs the directory of a run (run = ...)")
    return options


def _paths(data: dict[str, Any], name: str, problems: list[str]) -> tuple[str, ...]:
    value = data.pop(name, ())
    paths = (value,) if isinstance(value, str) else value
    if isinstance(paths, (list, tuple)) and all(isinstance(p, str) for p in paths):
        if STDIN in paths:
            problems.append(
                f"data: {name} names standard input, which cannot be read again; write it to a file"
            )
        return tuple(paths)
    problems.append(f"data: {name} must be a list of paths, not {reprlib.repr(value)}")
    return ()


def _collect(problems: list[str], make: Callable[[], T]) -> T | None:
    """The result of `make`; problems of its UsageError are added to the others."""
    try:
        return make()
    except UsageError as error:
        problems.extend(problems_of(error))
        return None


def _write_chosen(chosen: Chosen) -> "tomlkit.items.Table":
    import tomlkit

    table = tomlkit.table()
    table.add("name", chosen.name)
    return _write_options(table, chosen.options)


def _write_options(table: "tomlkit.items.Table", options: Any) -> "tomlkit.items.Table":
    import tomlkit

    # Nested tables come last: in TOML, every line after a header belongs to it.
    for item in sorted(fields_of(type(options)), key=lambda item: item.kind is not None):
        value = getattr(options, item.name)
        if isinstance(value, Chosen):
            table.add(item.name, _write_chosen(value))
        elif isinstance(value, tuple) and item.kind:
            array = tomlkit.aot()
            for chosen in value:
                array.append(_write_chosen(chosen))
            table.add(item.name, array)
        elif value is None:
            table.add(tomlkit.comment(f"{item.name} =  # {_help(item)}"))
        else:
            entry = tomlkit.item(value)
            table.add(item.name, entry.comment(_help(item)) if item.help else entry)
    return table


def _help(item: OptionField) -> str:
    return " ".join(item.help.split())
