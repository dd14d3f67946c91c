"""The options of the cells in this plugin."""

from dataclasses import dataclass

from lmkit import option
from lmkit.recurrence import ForgetGateOptions


@dataclass(frozen=True)
class ElmanOptions:
    """The options of the simple recurrent network."""

    activation: str = option(
        "tanh", "activation of the sum of the two products", choices=("tanh", "relu", "sigmoid")
    )


@dataclass(frozen=True)
class LSTMOptions(ForgetGateOptions):
    """The options of the LSTM."""

    clip: float | None = option(
        None, "clip the memory c to this bound before the output is computed; the original ELMo uses 3", min=0
    )
