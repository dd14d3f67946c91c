"""The ranges of a sweep: the table [sweep] of a recipe, with the values that its settings may take."""

import copy
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from lmkit.errors import UsageError, listed, problems_of, suggest
from lmkit.option_fields import OptionField
from lmkit.option_owners import owned_options, training_owners
from lmkit.recipe import DEFAULT_MODEL, SWEEP, Recipe, as_table, build, long_form

SWEPT = ("train", "model", "tokenizer")
"""The tables whose settings may have ranges. Other texts or starts would make the scores incomparable."""

KEYS = ("low", "high", "step", "log")
"""The keys of a range of numbers."""

EXAMPLE = "train.learning_rate = { low = 0.001, high = 0.02, log = true }"


@dataclass(frozen=True)
class Choices:
    """A setting with a list of values."""

    values: tuple[Any, ...]

    @property
    def tried(self) -> tuple[Any, ...]:
        """The values that are checked before the sweep."""
        return self.values

    def draw(self, trial: Any, name: str) -> Any:
        """The value of this setting in a trial of optuna."""
        return trial.suggest_categorical(name, self.values)

    def to_table(self) -> dict[str, Any]:
        """What a study stores about the range."""
        return {"values": list(self.values)}


@dataclass(frozen=True)
class Numbers:
    """A setting with the numbers from low to high, both included.

    step: only low plus multiples of it. log: drawn evenly on a logarithmic scale.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    whole: bool = False

    @property
    def tried(self) -> tuple[float, float]:
        """The values that are checked before the sweep."""
        return self.low, self.high

    def draw(self, trial: Any, name: str) -> float:
        """The value of this setting in a trial of optuna."""
        if self.whole:
            return trial.suggest_int(name, self.low, self.high, step=self.step or 1, log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def to_table(self) -> dict[str, Any]:
        """What a study stores about the range."""
        return asdict(self)


Range = Choices | Numbers


@dataclass(frozen=True)
class Space:
    """The recipes of a sweep. tables: those of the recipe, without [sweep]. ranges: by the settings' dotted names."""

    tables: Mapping[str, Any]
    ranges: Mapping[str, Range]

    def recipe(self, values: Mapping[str, Any]) -> Recipe:
        """The recipe with these values of the settings; UsageError if they do not go together."""
        return build(with_values(self.tables, values))

    def first(self) -> dict[str, Any]:
        """The first value of each range."""
        return {name: found.tried[0] for name, found in self.ranges.items()}

    @property
    def changes_tokenizer(self) -> bool:
        """Whether trials have different tokenizers, so that only their bits per byte can be compared."""
        return any(name.startswith("tokenizer.") for name in self.ranges)


def read_space(tables: Mapping[str, Any], source: str | Path) -> Space:
    """The ranges of a recipe's tables, each value or end of a range checked in a recipe.

    source: the recipe's file, for messages. Raises UsageError with all problems at once.
    """
    rest = {name: table for name, table in tables.items() if name != SWEEP}
    given = dict(_settings(as_table(tables.get(SWEEP, {}), SWEEP)))
    if not given:
        raise UsageError(f"{source} has no ranges; add a table [{SWEEP}], such as {EXAMPLE}")
    problems: list[str] = []
    ranges: dict[str, Range] = {}
    for name, value in given.items():
        try:
            ranges[name] = _range(value)
        except ValueError as error:
            problems.append(f"{name} {error}")
    if not problems:
        known = _known(rest, ranges)
        for name, found in ranges.items():
            try:
                ranges[name] = _typed(name, found, known)
            except ValueError as error:
                problems.append(str(error))
    space = Space(rest, ranges)
    if not problems:
        problems = list(_wrong_values(space))
    if problems:
        raise UsageError(listed([f"{source}: {SWEEP}: {problem}" for problem in problems]))
    return space


def with_values(tables: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of a recipe with other values of some settings, by their dotted names."""
    found = copy.deepcopy(dict(tables))
    if "model.name" not in values:
        # [model] name = "gru" is the recurrent model with that cell, and model.cell.name may have a range.
        model = {"name": DEFAULT_MODEL, **as_table(found.get("model", {}), "model")}
        found["model"] = long_form("model", model, "model")
    for dotted, value in values.items():
        *outer, name = dotted.split(".")
        table = found
        for place, key in enumerate(outer, 1):
            table[key] = as_table(table.get(key, {}), ".".join(outer[:place]))
            table = table[key]
        table[name] = value
    return found


def _settings(table: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """The entries by dotted names: `train.bptt = [...]`, `"train.bptt" = [...]` and [sweep.train] are the same."""
    for key, value in table.items():
        name = f"{where}{key}"
        if isinstance(value, Mapping) and not value.keys() & set(KEYS):
            yield from _settings(value, f"{name}.")
        else:
            yield name, value


def _range(value: Any) -> Range:
    """The range that an entry describes; ValueError with the problem."""
    if isinstance(value, list):
        if len(value) < 2:
            raise ValueError("needs at least two values")
        for one in value:
            if not isinstance(one, (str, int, float)):
                raise ValueError(f"has the value {reprlib.repr(one)}; give words, numbers, true or false")
        if len(set(value)) < len(value):
            raise ValueError("has a value twice")
        return Choices(tuple(value))
    if not isinstance(value, Mapping):
        raise ValueError(f"is {reprlib.repr(value)}; give a list of values, or {{ low = ..., high = ... }}")
    for key in value:
        if key not in KEYS:
            raise ValueError(f"has an unknown key '{key}'; {suggest(key, KEYS)}")
    for key in ("low", "high", "step"):
        if key in value and (isinstance(value[key], bool) or not isinstance(value[key], (int, float))):
            raise ValueError(f"has {key} = {reprlib.repr(value[key])}; give a number")
        if key not in value and key != "step":
            raise ValueError(f"lacks {key}; a range of numbers needs low and high")
    if not isinstance(value.get("log", False), bool):
        raise ValueError(f"has log = {reprlib.repr(value['log'])}; give true or false")
    found = Numbers(**value)
    _check_numbers(found)
    return found


def _check_numbers(found: Numbers) -> None:
    """Raise ValueError with the problem of a range of numbers."""
    # Also false for NaN.
    if not (float("-inf") < found.low < found.high < float("inf")):
        raise ValueError(
            f"has low = {found.low} and high = {found.high}; high must be larger, and both finite"
        )
    if found.log and found.low <= 0:
        raise ValueError(f"has low = {found.low}; a logarithmic scale needs numbers above 0")
    if found.step is None:
        return
    if found.log:
        raise ValueError("has step and log; leave one out")
    low, high, step = (Decimal(str(number)) for number in (found.low, found.high, found.step))
    if not (step.is_finite() and step > 0 and (high - low) % step == 0):
        raise ValueError(f"has step = {found.step}; high must be low plus a multiple of it")


def _known(tables: Mapping[str, Any], ranges: Mapping[str, Range]) -> dict[str, OptionField | None]:
    """The settings that may have ranges, by their dotted names; None for the name of a part."""
    names = {name: found.tried[0] for name, found in ranges.items() if name.endswith(".name")}
    parts = {name: value for name, value in names.items() if isinstance(value, str)}
    known: dict[str, OptionField | None] = {"model.name": None, "tokenizer.name": None}
    for option in owned_options(training_owners(with_values(tables, parts), {})):
        dotted = ".".join(option.path)
        if option.path[0] in SWEPT:
            known |= {f"{dotted}.name": None} if option.field.kind else {dotted: option.field}
    return known


def _typed(name: str, found: Range, known: Mapping[str, OptionField | None]) -> Range:
    """The range with the type of its setting; ValueError if there is no such setting, or it has other values."""
    if name.partition(".")[0] not in SWEPT:
        raise ValueError(f"{name} cannot have a range; only settings of {', '.join(SWEPT)} can")
    if f"{name}.name" in known:
        raise ValueError(f"unknown setting '{name}'; did you mean '{name}.name'?")
    if name not in known:
        raise ValueError(f"unknown setting '{name}'; {suggest(name, known)}")
    if isinstance(found, Choices):
        return found
    item = known[name]
    if item is None or item.type not in (int, float):
        raise ValueError(f"{name} is not a number; give a list of values")
    if item.type is float:
        return found
    numbers = (found.low, found.high, found.step)
    if any(isinstance(number, float) for number in numbers):
        raise ValueError(f"{name} is a whole number; give whole numbers")
    return Numbers(found.low, found.high, found.step, found.log, whole=True)


def _wrong_values(space: Space) -> Iterator[str]:
    """The problems of values, each tried with the first values of the other settings."""
    first = space.first()
    try:
        space.recipe(first)
    except UsageError as error:
        yield from problems_of(error)
        return
    for name, found in space.ranges.items():
        for value in found.tried[1:]:
            try:
                space.recipe({**first, name: value})
            except UsageError as error:
                yield from (f"{name} = {value!r}: {line}" for line in problems_of(error))
