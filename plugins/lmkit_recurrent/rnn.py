"""The simple recurrent network (Elman, 1990: Finding structure in time)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lmkit.recurrence import GatedCell


class ElmanCell(GatedCell):
    """Elman's network, as torch.nn.RNN and keras' SimpleRNN.

    Equations:
        h_t = f(W x_t + U h_{t-1} + b)

        W = weight_ih, U = weight_hh, b = bias_ih + bias_hh

    f (options.activation) is tanh, relu or the logistic sigmoid.
    """

    num_gates = 1
    state_names = ("h",)
    family = "rnn"

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        return getattr(torch, self.options.activation)(x + h)

    def torch_kernel(self) -> Callable[..., Any] | None:
        return {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu}.get(self.options.activation)
