"""The simple recurrent network (Elman, 1990: Finding structure in time)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lmkit.recurrence import GatedCell


class ElmanCell(GatedCell):
    """h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), with f tanh, relu or the logistic sigmoid."""

    num_gates = 1
    state_names = ("h",)

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        return getattr(torch, self.options.activation)(x + h)

    def torch_kernel(self) -> Callable[..., Any] | None:
        return {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu}.get(self.options.activation)
