"""The two kernels of a gated cell's step, and the named groups of tensors that they read and write.

G is num_gates * hidden_size. A step is *summed* if its `gates` use x and h only as x + h: then one tensor holds both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

Kernel = Callable[[list[Tensor]], Any]
"""Called with its tensors in a list, which it empties; it writes to the last of them and returns nothing."""


class StepInputs(NamedTuple):
    """What a step reads.

    x: (batch, G), W_ih x_t + b_ih; of a summed step W_ih x_t + W_hh y_{t-1} + b_ih + b_hh.
    product: (batch, G), W_hh y_{t-1}; None if the step is summed or the cell has no W_hh.
    bias: (G,), b_hh; None together with product.
    state: the state of `gates` before the step, each (batch, ...).
    own: the cell's parameters and buffers that `gates` uses, each of its own shape.
    """

    x: Tensor
    product: Tensor | None
    bias: Tensor | None
    state: Sequence[Tensor]
    own: Sequence[Tensor]

    def flat(self) -> list[Tensor]:
        """The tensors in this order, without the None."""
        product = [] if self.product is None or self.bias is None else [self.product, self.bias]
        return [self.x, *product, *self.state, *self.own]


class NewStateGradients(NamedTuple):
    """The gradients of a step's new state, which the way back through the step reads.

    memory: of each state after the first, as the state, such as c of an LSTM.
    output: of the first state, each (batch, hidden_size), in parts that the kernel sums: from the `gates` of the
    next step if they read it, from W_hh of the next step if there is one, from the loss.
    """

    memory: Sequence[Tensor]
    output: Sequence[Tensor]

    def flat(self) -> list[Tensor]:
        """The tensors in this order."""
        return [*self.memory, *self.output]


class StepGradients(NamedTuple):
    """The gradients of what a step reads, which the way back through the step writes.

    x: (batch, G). h: (batch, G), of W_hh y_{t-1} + b_hh; None where `StepInputs.product` is None.
    output: (batch, hidden_size), of the first state before the step; None unless `gates` read it.
    memory: of each other state before the step.
    own: of the trained ones of `StepInputs.own`; added to the values that are there.
    """

    x: Tensor
    h: Tensor | None
    output: Tensor | None
    memory: Sequence[Tensor]
    own: Sequence[Tensor]

    def flat(self) -> list[Tensor]:
        """The tensors in this order, without the None."""
        given = [tensor for tensor in (self.x, self.h, self.output) if tensor is not None]
        return [*given, *self.memory, *self.own]


@dataclass(frozen=True)
class StepKernels:
    """The step of a cell for one shape of its inputs.

    forward_kernel: reads StepInputs, writes the new state.
    backward_kernel: reads StepInputs and NewStateGradients, writes StepGradients.
    own: names of the cell's parameters and buffers that `gates` uses. trained: for each, whether it has a gradient.
    summed: the step is summed. reads_output: `gates` use the first state.
    """

    forward_kernel: Kernel
    backward_kernel: Kernel
    own: tuple[str, ...]
    trained: tuple[bool, ...]
    summed: bool
    reads_output: bool

    def forward(self, step: StepInputs, new_state: Sequence[Tensor]) -> None:
        """Write the state after the step to new_state."""
        self.forward_kernel([*step.flat(), *new_state])

    def backward(self, step: StepInputs, d_new: NewStateGradients, d_step: StepGradients) -> None:
        """Write the gradients of the step's inputs to d_step, from those of its new state."""
        self.backward_kernel([*step.flat(), *d_new.flat(), *d_step.flat()])
