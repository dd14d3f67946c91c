"""Short names of the models of runs."""

from typing import Any

import pytest

from lmkit.run_facts import model_name


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ({"name": "lmkit:recurrent", "cell": {"name": "lmkit:gru"}, "num_layers": 1}, "gru"),
        ({"name": "lmkit:recurrent", "cell": {"name": "lmkit:lstm"}, "num_layers": 2}, "2 x lstm"),
        ({"name": "lmkit:recurrent", "cell": [{"name": "lmkit:gru"}, {"name": "me:mine"}]}, "gru, mine"),
        ({"name": "lmkit:elmo", "cell": {"name": "lmkit:lstm"}, "num_layers": 2}, "elmo (2 x lstm)"),
        ({"name": "lmkit:ngram", "order": 5}, "ngram 5"),
        ({"name": "me:bigram"}, "bigram"),
    ],
)
def test_names_of_models(model: dict[str, Any], shown: str) -> None:
    """What compare's table calls a model says its cells, how many, and what is built of them."""
    assert model_name({"model": model}) == shown
