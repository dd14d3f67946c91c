"""A training without text: the recipe first-run, with the parts that are named in its place."""

import pytest

from lmkit.first_run import first_run
from lmkit.option_owners import MODEL, TOKENIZER
from lmkit.recipe import build


def test_nothing_named_is_the_recipe():
    """Without names, every table of the recipe is there, and it can be built."""
    recipe = build(first_run({}))
    assert recipe.train_paths == ("pydocs:train",)
    assert recipe.valid_paths == ("pydocs:valid",)
    assert recipe.tokenizer is not None
    assert recipe.train.is_limited


@pytest.mark.parametrize("name", ["lstm", "recurrent"])
def test_another_cell_keeps_the_settings(name):
    """A named cell is trained with the settings of the recipe."""
    tables = first_run({MODEL: name})
    assert tables["train"] == first_run({})["train"]


def test_another_model_keeps_text_and_tokenizer():
    """An n-gram has the text and the vocabulary of the recipe's model, so that the two can be mixed."""
    tables = first_run({MODEL: "ngram"})
    assert tables["data"] == first_run({})["data"]
    assert tables["tokenizer"] == first_run({})["tokenizer"]
    assert "model" not in tables
    assert tables["train"].keys() == {"max_steps"}


def test_a_named_tokenizer_replaces_the_recipes():
    """The options of the recipe's tokenizer do not stay where another one is named."""
    assert "tokenizer" not in first_run({TOKENIZER: "char"})
