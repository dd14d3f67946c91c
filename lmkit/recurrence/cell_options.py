"""The options that cells with a forget gate share."""

from dataclasses import dataclass

from lmkit.specs import option


@dataclass(frozen=True)
class ForgetGateOptions:
    """The options of a cell with a forget gate, as they are or as a base class; see `add_forget_bias`."""

    forget_bias: float | None = option(
        None,
        "added to the initial bias of the forget gate; 1 helps to remember early on (Jozefowicz et al., 2015)",
    )
