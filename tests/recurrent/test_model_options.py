"""The recurrent model's options: lists for layers, sizes from --params, what a saved run holds."""

import logging
import math
import tomllib
from typing import cast

import pytest
import torch
from lmkit_recurrent.model import RecurrentLanguageModel

import lmkit
from lmkit import recipe as recipes
from lmkit.cli.option_flags import Several
from lmkit.contracts import Vocabulary
from lmkit.errors import UsageError
from lmkit.neural.sizes import parse_count, solve_hidden_size
from lmkit.options import choose, to_table
from lmkit.recurrence import Cell

VOCABULARY = Vocabulary(90, 0, 1, "test")


def make(**table) -> RecurrentLanguageModel:
    torch.manual_seed(0)
    options = choose("model", {"name": "recurrent", "hidden_size": 6, **table}, "model").options
    return RecurrentLanguageModel(options, VOCABULARY)


def test_names_of_weights_stay():
    """The weights of a default model keep the names under which saved runs have them."""
    names = [name for name, _ in make(num_layers=2, tied=False).named_parameters()]
    cell = ["weight_ih", "bias_ih", "weight_hh", "bias_hh"]
    layers = [f"stack.layers.{index}.{name}" for index in (0, 1) for name in cell]
    assert names == ["start", "embedding.weight", *layers, "output.weight", "output.bias"]


def test_tables_of_older_runs_are_read():
    """A table without the younger options gives what they gave: one cell, one size, everything else off."""
    table = {
        "name": "lmkit:recurrent", "hidden_size": 16, "num_layers": 2, "dropout": 0.1, "tied": True,
        "reset": "document", "cell": {"name": "lmkit:lstm"},
    }  # fmt: skip
    model = RecurrentLanguageModel(choose("model", table, "model").options, VOCABULARY)
    assert {name: value for name, value in to_table(model.options).items() if name in table} == {
        name: value for name, value in table.items() if name != "name"
    }
    off = {"norm": "none", "residual": False, "weight_drop": 0.0, "locked": False, "output": "softmax"}
    assert {name: getattr(model.options, name) for name in off} == off


def test_sizes_left_open_are_filled_in():
    """The model's own options have the sizes that it was built with."""
    assert make(hidden_size=None).options.hidden_size == 256
    assert make(hidden_size=[8, 4], cell="lstm,gru").options.num_layers == 2
    assert make().options.num_layers == 1


def test_each_layer_has_its_cell_size_and_options():
    """A list of tables gives each layer a cell with separate options, and a recipe restores it unchanged."""
    cells = [{"name": "rnn", "activation": "relu"}, {"name": "rnn"}, {"name": "gru"}]
    tables = {"model": {"name": "recurrent", "cell": cells, "hidden_size": [8, 6, 4]}}
    recipe = recipes.build(tables)
    model = RecurrentLanguageModel(recipe.model.options, VOCABULARY)
    found = [(type(layer).__name__, layer.hidden_size) for layer in model.stack.layers]
    assert found == [("ElmanCell", 8), ("ElmanCell", 6), ("GRUCell", 4)]
    cells_made = [cast(Cell, layer) for layer in model.stack.layers]
    assert [cell.options.activation for cell in cells_made[:2]] == ["relu", "tanh"]
    assert recipes.build(recipes.to_tables(recipe)) == recipe


def test_recipe_with_a_list_of_cells_is_written_as_toml(tmp_path):
    """A recipe's file holds one [[model.cell]] for each layer."""
    recipe = recipes.build({"model": {"name": "recurrent", "cell": "lstm,gru", "hidden_size": [8, 6]}})
    recipes.write(recipe, tmp_path / "recipe.toml")
    text = (tmp_path / "recipe.toml").read_text()
    assert text.count("[[model.cell]]") == 2
    assert recipes.build(tomllib.loads(text)) == recipe


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"cell": "lstm,nonsense"}, "nonsense"),
        ({"hidden_size": [8, 0]}, "each hidden_size must be at least 1"),
        ({"hidden_size": []}, "must not be an empty list"),
        ({"hidden_size": [8, "x"]}, "each hidden_size must be an int"),
        ({"num_layers": [1, 2]}, "num_layers must be an int"),
    ],
)
def test_wrong_lists_are_refused(table, message):
    """An error names the option and the value that is wrong."""
    with pytest.raises((UsageError, lmkit.errors.PluginError), match=message):
        choose("model", {"name": "recurrent", **table}, "model")


def test_command_line_lists():
    """Commas make a list on the command line; one value stays one."""
    import click

    kind = Several(click.IntRange(1))
    assert kind.convert("400,200", None, None) == [400, 200]
    assert kind.convert("400", None, None) == 400
    with pytest.raises(click.BadParameter):
        kind.convert("400,0", None, None)


@pytest.mark.parametrize(
    ("text", "count"), [("20M", 20_000_000), ("500k", 500_000), ("1.5M", 1_500_000), ("20000000", 20_000_000)]
)
def test_numbers_of_parameters(text, count):
    """--params takes thousands, millions and plain numbers."""
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "M", "-5", "1e6", "ten", "0"])
def test_no_numbers_of_parameters(text):
    """Anything else is refused with examples."""
    with pytest.raises(UsageError, match="write 20M"):
        parse_count(text)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "lstm,gru"])
@pytest.mark.parametrize("tied", [True, False])
def test_params_solves_for_the_nearest_size(cell, tied, caplog):
    """The model is as near to the wanted number as any hidden size brings it, and says what was chosen."""
    caplog.set_level(logging.INFO, logger="lmkit")
    table = {"cell": cell, "tied": tied, "num_layers": 2}
    model = make(**table, hidden_size=None, params="50k")
    size = model.options.hidden_size
    assert isinstance(size, int)
    assert model.options.params is None
    sizes = {n: make(**table, hidden_size=n).parameter_count() for n in (size - 1, size, size + 1)}
    assert sizes[size] == model.parameter_count()
    assert min(sizes, key=lambda n: abs(sizes[n] - 50_000)) == size
    assert f"a hidden size of {size}" in caplog.text


def test_params_that_cannot_be():
    """Too few, too many, or a hidden size beside them: an error says why."""
    with pytest.raises(UsageError, match=r"a hidden size of 1 has .* already"):
        make(hidden_size=None, params="100")
    with pytest.raises(UsageError, match="leave one out"):
        make(params="50k")
    with pytest.raises(UsageError, match="too many"):
        solve_hidden_size(10**9, lambda size: size)


def test_a_run_stores_the_solved_size(tmp_path):
    """`--params` in, the hidden size out: the recipe of the run repeats it without solving."""
    text = tmp_path / "text.txt"
    text.write_text("a b c d e\n" * 50)
    model = lmkit.train(
        text, model="gru", out=tmp_path / "run", tokenizer="word", min_count=1, params="3k", max_steps=1,
        batch_size=2, bptt=4,
    )  # fmt: skip
    table = tomllib.loads((tmp_path / "run" / "recipe.toml").read_text())["model"]
    assert "params" not in table
    assert table["hidden_size"] == model.causal.options.hidden_size
    assert math.isclose(model.parameter_count(), 3000, rel_tol=0.1)


def test_dropout_of_each_place_has_its_own_rate():
    """A separate rate overrides the common one; evaluation drops nothing."""
    model = make(dropout=0.9, input_dropout=0.0, layer_dropout=0.0, output_dropout=0.0, num_layers=2).train()
    ids = torch.randint(0, 90, (2, 5))
    kept, _ = model.features(ids, model.blank_state(2))
    torch.testing.assert_close(kept, model.eval().features(ids, model.blank_state(2))[0])
    dropping = make(dropout=0.5, word_dropout=0.5, locked=True).train()
    ids[0, 0] = dropping.start_id
    first, second = (dropping.features(ids, dropping.blank_state(2))[0] for _ in range(2))
    assert not torch.equal(first, second)
