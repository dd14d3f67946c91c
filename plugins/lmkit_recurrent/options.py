"""The options of the cells in this plugin."""

from dataclasses import dataclass

from lmkit import option


@dataclass(frozen=True)
class ElmanOptions:
    """The options of the simple recurrent network."""

    activation: str = option(
        "tanh", "what the sum of the two products goes through", choices=("tanh", "relu", "sigmoid")
    )
