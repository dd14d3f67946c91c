"""The options of the cells in this plugin."""

from dataclasses import dataclass

from lmkit import option


@dataclass(frozen=True)
class ElmanOptions:
    """The options of the simple recurrent network."""

    activation: str = option(
        "tanh", "activation of the sum of the two products", choices=("tanh", "relu", "sigmoid")
    )


@dataclass(frozen=True)
class LSTMOptions:
    """The options of the LSTM."""

    clip: float | None = option(
        None, "clip the memory c to this bound before the output is computed; the original ELMo uses 3", min=0
    )
    forget_bias: float | None = option(
        None,
        "added to the initial bias of the forget gate; 1 helps to remember early on (Jozefowicz et al., 2015)",
    )
