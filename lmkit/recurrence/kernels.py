"""The two kernels of a gated cell's step, and the named groups of tensors that they read and write.

G is num_gates * hidden_size. A step is *summed* if its `gates` use x and h only as x + h: then one tensor holds both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from lmkit.recurrence.native import NativeLoop

Kernel = Callable[[list[Tensor]], Any]
"""Called with its tensors in a list, which it empties; it writes to the last of them and returns nothing."""


class StepInputs(NamedTuple):
    """What a step reads.

    x: (batch, G), W_ih x_t + b_ih; of a summed step W_ih x_t + W_hh y_{t-1} + b_ih + b_hh.
    product: (batch, G), W_hh y_{t-1}; None if the step is summed or the cell has no W_hh.
    bias: (G,), b_hh; None together with product.
    state: the state of `gates` before the step, each (batch, ...).
    own: the cell's parameters and buffers that `gates` uses, each in its shape.
    """

    x: Tensor
    product: Tensor | None
    bias: Tensor | None
    state: Sequence[Tensor]
    own: Sequence[Tensor]

    def flat(self) -> list[Tensor]:
        """The tensors in this order, without the None."""
        x, product, bias, state, own = self
        if product is None or bias is None:
            return [x, *state, *own]
        return [x, product, bias, *state, *own]


class StateGradients(NamedTuple):
    """The gradients of the state between two steps, as far as they come through the later step.

    gates: (batch, hidden_size), of the first state of `gates` through the later `gates`; None unless they read it.
    product: (batch, P), of the output y through W_hh; None for a cell without W_hh. With a projection the kernel gets
    that of the first state instead, through W_hh and W_p.
    memory: of each other state, such as c of an LSTM.
    """

    gates: Tensor | None
    product: Tensor | None
    memory: Sequence[Tensor]

    def flat(self) -> list[Tensor]:
        """The tensors in this order, without the None."""
        gates, product, memory = self
        if gates is None:
            return [*memory] if product is None else [product, *memory]
        return [gates, *memory] if product is None else [gates, product, *memory]


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
        x, h, output, memory, own = self
        first = [x] if h is None else [x, h]
        return [*first, *memory, *own] if output is None else [*first, output, *memory, *own]


@dataclass(frozen=True)
class StepKernels:
    """The step of a cell for one shape of its inputs.

    forward_kernel: reads StepInputs, writes the new state.
    backward_kernel: reads StepInputs, StateGradients and the loss's gradient of the output, writes StepGradients.
    own: names of the cell's parameters and buffers that `gates` uses. trained: for each, whether it has a gradient.
    summed: the step is summed. reads_output: `gates` use the first state.
    loop: calls both kernels for all steps of a window; None if Python has to.
    """

    forward_kernel: Kernel
    backward_kernel: Kernel
    own: tuple[str, ...]
    trained: tuple[bool, ...]
    summed: bool
    reads_output: bool
    loop: NativeLoop | None = None

    def forward(self, step: StepInputs, new_state: Sequence[Tensor]) -> None:
        """Write the state after the step to new_state."""
        self.forward_kernel([*step.flat(), *new_state])

    def backward(
        self, step: StepInputs, d_new: StateGradients, d_loss: Tensor, d_step: StepGradients
    ) -> None:
        """Write the gradients of the step's inputs to d_step.

        d_new: of the new state through the next step. d_loss: (batch, hidden_size), of its first part otherwise.
        """
        self.backward_kernel([*step.flat(), *d_new.flat(), d_loss, *d_step.flat()])
