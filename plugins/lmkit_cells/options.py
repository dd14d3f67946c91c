"""The options of the cells in this plugin, for choices that their papers leave open."""

from dataclasses import dataclass

from lmkit import option
from lmkit.recurrence import ForgetGateOptions


@dataclass(frozen=True)
class MogrifierOptions(ForgetGateOptions):
    """The options of the Mogrifier LSTM."""

    rounds: int = option(
        5, "number of times that input and state gate one another; 0 gives the LSTM", min=0, max=64
    )
    rank: int | None = option(None, "rank of the gates' matrices (default: full)", min=1, max=65536)


@dataclass(frozen=True)
class XLSTMOptions(ForgetGateOptions):
    """The options of both cells of the xLSTM."""

    num_heads: int | None = option(
        None, "number of heads (default: 4, or 2 or 1 if 4 does not divide the units)", min=1, max=4096
    )
    forget_gate: str = option("sigmoid", "activation of the forget gate", choices=("sigmoid", "exponential"))
