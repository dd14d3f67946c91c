"""The options of the cells in this plugin."""

from dataclasses import dataclass

from lmkit import option


@dataclass(frozen=True)
class ElmanOptions:
    """The options of the simple recurrent network."""

    activation: str = option(
        "tanh", "what the sum of the two products goes through", choices=("tanh", "relu", "sigmoid")
    )


@dataclass(frozen=True)
class LSTMOptions:
    """The options of the LSTM."""

    clip: float | None = option(
        None, "bound of the memory c before the output is taken from it; the original ELMo's is 3", min=0
    )
    forget_bias: float | None = option(
        None,
        "added to the forget gate's bias at the start, 1 to remember from the start (Jozefowicz et al., 2015)",
    )
