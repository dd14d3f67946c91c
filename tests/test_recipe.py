"""Recipes: tables to settings and back."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit import CellSpec, ModelSpec, TokenizerSpec, hookimpl, option, plugins
from lmkit.errors import UsageError
from lmkit.options import Chosen
from lmkit.plugins import Plugin
from lmkit.recipe import build, read_recipe, to_tables, write

# Chosen is a name that ruff does not know to be immutable.


@dataclass(frozen=True)
class ModelOptions:
    cell: Chosen = option("gru", "the cell", kind="cell")
    hidden_size: int = option(256, "units", min=1)
    label: str = option("", "free text")
    width: int | None = option(None, "a width")


@dataclass(frozen=True)
class CellOptions:
    rate: float = option(0.5, "a rate")
    fast: bool = option(False, "a switch")


class Parts:
    @hookimpl
    def lmkit_tokenizers(self) -> list[TokenizerSpec]:
        return [TokenizerSpec("word", "nowhere:Word")]

    @hookimpl
    def lmkit_cells(self) -> list[CellSpec]:
        return [CellSpec("gru", "nowhere:GRU", options=CellOptions), CellSpec("rnn", "nowhere:RNN")]

    @hookimpl
    def lmkit_models(self) -> list[ModelSpec]:
        return [
            ModelSpec("recurrent", "nowhere:Recurrent", options=ModelOptions),
            ModelSpec("ngram", "nowhere:N"),
        ]


@pytest.fixture(autouse=True, scope="module")
def parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            plugins, "installed", lambda *, third_party=True: [Plugin("p", "lmkit-toolkit", "1", Parts, True)]
        )
        plugins.registry.cache_clear()
        yield
    plugins.registry.cache_clear()


def test_everything_may_be_left_out():
    """An empty recipe is the default model, with the tokenizer left to the text."""
    recipe = build({})
    assert (recipe.model.name, recipe.model.options.cell.name) == ("lmkit:recurrent", "lmkit:gru")
    assert (recipe.tokenizer, recipe.train_paths, recipe.train.batch_size) == (None, (), 16)


@pytest.mark.parametrize(
    "model",
    [
        "rnn",
        {"name": "rnn"},
        {"name": "recurrent", "cell": "rnn"},
        {"name": "lmkit:rnn", "cell": {"name": "rnn"}},
    ],
)
def test_a_cell_names_a_recurrent_model(model):
    """All ways to say "recurrent with this cell" store the same long form."""
    assert to_tables(build({"model": model}))["model"]["cell"] == {"name": "lmkit:rnn"}


def test_a_cell_beside_another_cell_is_refused():
    """A model named by one cell cannot hold another."""
    with pytest.raises(UsageError, match="leave one out"):
        build({"model": {"name": "rnn", "cell": {"name": "gru"}}})


def test_all_problems_come_at_once():
    """Unknown names, wrong types and wrong values are one error, each with its table and the file."""
    tables = {
        "modle": {},
        "data": {"train": 3, "encodign": "x"},
        "train": {"batch_size": 0, "sed": 1},
        "model": {"name": "gru", "hidden_size": "big", "cell": {"rat": 1}},
        "tokenizer": {"name": "wrod"},
    }
    with pytest.raises(UsageError) as caught:
        build(tables, source="r.toml")
    lines = str(caught.value).splitlines()
    assert lines[0] == "8 problems:"
    assert all(line.startswith("  r.toml: ") for line in lines[1:])
    for word in (
        "'model'?",
        "data: train",
        "'encoding'?",
        "at least 1",
        "'seed'?",
        "must be an int",
        "'rate'?",
        "'word'?",
    ):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["data", "train", "model", "tokenizer"])
def test_a_table_must_be_one(name):
    """`train = 3` is a usage error, not a crash."""
    with pytest.raises(UsageError, match=name):
        build({name: 3})


def test_files_that_cannot_be_read_are_usage_errors(tmp_path):
    """Missing, a directory, not UTF-8, not TOML: one line with the path."""
    (tmp_path / "latin").write_bytes(b"# \xe9\n")
    (tmp_path / "broken").write_text("[train\n")
    for name, said in (
        ("absent", "No such file"),
        ("", "directory"),
        ("latin", "byte 2"),
        ("broken", "line 1"),
    ):
        with pytest.raises(UsageError, match=said):
            read_recipe(tmp_path / name)


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)


@given(
    paths=st.lists(TEXT.filter(lambda path: path != "-"), max_size=3),
    label=TEXT,
    rate=st.floats(allow_nan=False, allow_infinity=False),
    fast=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
    steps=st.none() | st.integers(1, 9),
    tokenizer=st.booleans(),
)
def test_what_is_written_reads_back(tmp_path_factory, paths, label, rate, fast, seed, steps, tokenizer):
    """write, read_recipe and build give the same recipe, whatever is in it."""
    tables = {
        "data": {"train": paths},
        "train": {"seed": seed, **({} if steps is None else {"max_steps": steps})},
        "model": {"name": "gru", "label": label, "cell": {"rate": rate, "fast": fast}},
        **({"tokenizer": {"name": "word"}} if tokenizer else {}),
    }
    recipe = build(tables)
    assert build(to_tables(recipe)) == recipe
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    write(recipe, path)
    assert build(read_recipe(path)) == recipe


def test_a_written_recipe_explains_itself(tmp_path):
    """Every option is in the file with its help; options without a value are comments."""
    write(build({}), tmp_path / "r.toml")
    text = (tmp_path / "r.toml").read_text()
    assert "batch_size = 16 # parallel streams" in text
    assert "\n# width =  # a width\n" in text
    assert tomllib.loads(text)["model"]["cell"]["name"] == "lmkit:gru"


def test_standard_input_is_no_text_of_a_run():
    """A run reads its text again when it is resumed or repeated, which "-" cannot be."""
    for name in ("train", "valid"):
        with pytest.raises(UsageError, match=f"data: {name} names standard input.*write it to a file"):
            build({"data": {name: ["a.txt", "-"]}})


def test_an_unknown_table_without_a_like_is_told_what_there_is():
    """A table that resembles none gets the list of those that a recipe has."""
    with pytest.raises(
        UsageError, match=r"unknown table \[zzz\]; known: data, init, tokenizer, train, model"
    ):
        build({"zzz": {}})
