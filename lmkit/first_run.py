"""The settings of a training without text: those of the recipe that ships for it."""

from typing import Any

from lmkit.option_owners import MODEL, TOKENIZER, Named
from lmkit.recipe import RECURRENT, as_table, long_form, read_recipe
from lmkit.shipped import FIRST_RUN, find


def first_run(named: Named) -> dict[str, Any]:
    """The tables of the recipe, without the parts that are named.

    For a model of another kind: its text, its tokenizer, so that the two can be mixed, and its length.
    """
    tables = read_recipe(find(FIRST_RUN))
    if TOKENIZER in named:
        del tables["tokenizer"]
    if MODEL in named and not _is_recurrent(named[MODEL]):
        del tables["model"]
        tables["train"] = {"max_steps": tables["train"]["max_steps"]}
    return tables


def _is_recurrent(model: Any) -> bool:
    return long_form("model", as_table(model, "model"), "model")["name"] == RECURRENT
