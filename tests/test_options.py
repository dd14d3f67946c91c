"""Options: from tables to checked values and back."""

from dataclasses import dataclass, fields, make_dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit import CellSpec, TokenizerSpec, hookimpl, option
from lmkit.errors import PluginError, UsageError
from lmkit.option_fields import fields_of
from lmkit.options import Chosen, choose, nested, resolve, to_table, with_file
from lmkit.plugins import Plugin, Registry


@dataclass(frozen=True)
class CellOptions:
    slope: float = option(0.5, "slope", min=0, max=1)


@dataclass(frozen=True)
class Options:
    size: int = option(4, "size", min=1, max=100)
    rate: float = option(0.5, "rate", min=0)
    limit: int | None = option(None, "limit", min=0)
    shape: str = option("round", "shape", choices=("round", "square"))
    deep: bool = option(False, "deep")


@dataclass(frozen=True)
class Nested:
    cell: Chosen = option("mine", "the cell", kind="cell")
    layers: int = option(1, "layers", min=1)


@pytest.fixture
def parts() -> Registry:
    """A registry with two cells of one distribution."""
    specs = [CellSpec("mine", "m:C", options=CellOptions), CellSpec("plain", "m:D")]
    module = SimpleNamespace(lmkit_cells=hookimpl(lambda: specs))
    return Registry([Plugin("entry", "dist", "1", lambda: module)])


def test_fields() -> None:
    """The dataclass is the one source of types, defaults, bounds, choices and help."""
    size, rate, limit, shape, deep = fields_of(Options)
    assert (size.type, size.default, size.min, size.max, size.help) == (int, 4, 1, 100, "size")
    assert (limit.type, limit.optional, limit.default) == (int, True, None)
    assert (rate.type, shape.choices, deep.type) == (float, ("round", "square"), bool)
    assert fields_of(Nested)[0].kind == "cell"


def test_defaults() -> None:
    """An empty table gives the defaults."""
    assert resolve(Options, {}, "[model]") == Options()


@given(
    st.builds(
        Options,
        size=st.integers(1, 100),
        rate=st.floats(0, allow_infinity=False),
        limit=st.none() | st.integers(0),
        shape=st.sampled_from(["round", "square"]),
        deep=st.booleans(),
    )
)
def test_round_trip(options: Options) -> None:
    """Any legal options, written as a table and read back, are the same; None is left out of the table."""
    table = to_table(options)
    assert None not in table.values()
    assert resolve(Options, table, "[model]") == options


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"size": 0}, "size must be at least 1, not 0"),
        ({"size": 101}, "size must be at most 100"),
        ({"size": 2.5}, "size must be an int, not 2.5"),
        ({"size": True}, "size must be an int, not True"),
        ({"size": "4"}, "size must be an int, not '4'"),
        ({"size": None}, "size must not be empty"),
        ({"rate": float("nan")}, "rate must be a finite number, not nan"),
        ({"rate": float("inf")}, "rate must be a finite number, not inf"),
        ({"rate": "fast"}, "rate must be a float"),
        ({"deep": 1}, "deep must be a bool"),
        ({"shape": "oval"}, "shape must be one of round, square, not 'oval'"),
        ({"siez": 3}, "unknown option 'siez'; did you mean 'size'?"),
        ({"zzz": 3}, "unknown option 'zzz'; known: size, rate"),
    ],
)
def test_problems(table: dict[str, Any], said: str) -> None:
    """A wrong value or name is a usage error that says where, what and what would be right."""
    with pytest.raises(UsageError) as caught:
        resolve(Options, table, "[model]")
    assert str(caught.value).startswith("[model]: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("annotation", [list[int], bytes, int | str, int | str | None, None, "Absent"])
def test_an_annotation_that_no_option_can_have(annotation: Any) -> None:
    """An option is an int, float, str or bool, or one of these or None: anything else is named, not asserted."""
    made = make_dataclass("Made", [("odd", annotation, option(0, ""))], frozen=True)
    with pytest.raises((TypeError, NameError), match=r"'odd' is annotated|'Absent'"):
        fields_of(made)


def test_all_problems_at_once(parts: Registry) -> None:
    """Every problem is reported in one error, nested ones with their place."""
    table = {"cell": {"name": "mine", "slope": 2, "colour": 1}, "layers": 0}
    with pytest.raises(UsageError) as caught:
        resolve(Nested, table, "[model]", parts=parts)
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 problems:"
    assert [line.strip().split(":")[0] for line in lines[1:]].count("[model].cell") == 2


def test_integers_are_numbers() -> None:
    """An integer is a legal float and becomes one."""
    assert isinstance(resolve(Options, {"rate": 2}, "x").rate, float)


def test_nested_part(parts: Registry) -> None:
    """A registered name as an option: a bare name or a table, stored by its long name, and back."""
    options = resolve(Nested, {"cell": {"name": "mine", "slope": 1}}, "[model]", parts=parts)
    assert options.cell == Chosen("cell", "dist:mine", CellOptions(1.0))
    assert to_table(options) == {"cell": {"name": "dist:mine", "slope": 1.0}, "layers": 1}
    assert resolve(Nested, to_table(options), "[model]", parts=parts) == options
    assert resolve(Nested, {"cell": "plain"}, "[model]", parts=parts).cell.name == "dist:plain"
    assert resolve(Nested, {}, "[model]", parts=parts).cell == Chosen("cell", "dist:mine", CellOptions())


def test_choose(parts: Registry) -> None:
    """A recipe's table names a part; without a name it says so, and a chosen part passes through."""
    chosen = choose("cell", {"name": "mine"}, "[model.cell]", parts=parts)
    assert choose("cell", to_table(chosen), "[model.cell]", parts=parts) == chosen
    with pytest.raises(UsageError, match="needs a name"):
        choose("cell", {"slope": 1}, "[model.cell]", parts=parts)
    with pytest.raises(PluginError, match="pip install 'other'"):
        choose("cell", "other:mine", "[model.cell]", parts=parts)


def test_nested_lists_the_outermost_first(parts: Registry) -> None:
    """Every part that a model's options name, after the model itself."""
    options = resolve(Nested, {}, "[model]", parts=parts)
    outer = Chosen("model", "dist:outer", options)
    assert nested(outer) == [outer, options.cell]


def test_every_option_is_reachable() -> None:
    """A flag is the option's name with dashes."""
    assert [item.flag for item in fields_of(Options)] == [
        item.name.replace("_", "-") for item in fields(Options)
    ]  # type: ignore[arg-type]


@dataclass(frozen=True)
class FileOptions:
    file: str | None = option(None, "file")


@pytest.fixture
def readers() -> Registry:
    """Two distributions: "a" with the tokenizers "words", which reads files, and "plain"; "words" with "plain"."""
    words, plain = TokenizerSpec("words", "m:T", options=FileOptions), TokenizerSpec("plain", "m:U")
    modules = [SimpleNamespace(lmkit_tokenizers=hookimpl(lambda: [words, plain]))]
    modules.append(SimpleNamespace(lmkit_tokenizers=hookimpl(lambda: [plain])))
    return Registry(
        [Plugin("x", "a", "1", lambda: modules[0]), Plugin("y", "words", "1", lambda: modules[1])]
    )


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("words", {"name": "words"}),
        ("a:words", {"name": "a:words"}),
        ("words:plain", {"name": "words:plain"}),
        ("words:list.txt", {"name": "words", "file": "list.txt"}),
        ("a:words:list.txt", {"name": "a:words", "file": "list.txt"}),
        ("words:C:\\list.txt", {"name": "words", "file": "C:\\list.txt"}),
        ("missing:words", {"name": "missing:words"}),
    ],
)
def test_a_name_may_have_a_file(readers: Registry, name: str, table: dict[str, str]) -> None:
    """NAME:FILE for a short or a long name; a registered long name wins over a file."""
    assert with_file("tokenizer", {"name": name}, parts=readers) == table


def test_a_file_for_a_part_without_files_is_refused(readers: Registry) -> None:
    """As is a colon without a file."""
    with pytest.raises(UsageError, match=r"a:plain cannot be read from a file; leave out ':list\.txt'"):
        choose("tokenizer", "a:plain:list.txt", "tokenizer", parts=readers)
    with pytest.raises(UsageError, match="ends with a colon"):
        choose("tokenizer", "words:", "tokenizer", parts=readers)
