"""The settings of a training without text: the recipe that ships for it, unless another kind of model is named."""

from typing import Any

from lmkit.option_owners import MODEL, TOKENIZER, Named
from lmkit.recipe import RECURRENT, as_table, long_form, read_recipe
from lmkit.shipped import FIRST_RUN, find


def first_run(named: Named) -> dict[str, Any]:
    """The tables of the recipe without the parts that are named; empty if a model that is not recurrent is."""
    tables = read_recipe(find(FIRST_RUN))
    if TOKENIZER in named:
        del tables["tokenizer"]
    if MODEL in named:
        model = long_form("model", as_table(named[MODEL], "model"), "model")
        if model["name"] != RECURRENT:
            return {}
    return tables
