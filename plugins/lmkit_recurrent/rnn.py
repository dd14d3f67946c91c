"""The simple recurrent network (Elman, 1990: Finding structure in time)."""

import torch
from torch import Tensor

from lmkit.recurrence import GatedCell
from lmkit.states import State
from lmkit_recurrent.fused import run_fused


class ElmanCell(GatedCell):
    """h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), with f tanh, relu or the logistic sigmoid."""

    num_gates = 1
    state_names = ("h",)

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        return getattr(torch, self.options.activation)(x + h)

    def sequence(self, xs: Tensor, state: State, resets: Tensor | None = None) -> tuple[Tensor, State]:
        kernel = {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu}.get(self.options.activation)
        if kernel is None or resets is not None or len(xs) == 0:
            return super().sequence(xs, state, resets)
        return run_fused(kernel, self, xs, state)
