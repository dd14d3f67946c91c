"""The quasi-recurrent network (Bradbury, Merity, Xiong and Socher, 2016, arXiv:1611.01576).

A convolution of width 2 with biases, then fo-pooling; no zoneout.
"""

from typing import Any

import torch
from torch import Tensor

from lmkit.recurrence import LinearCell, add_forget_bias


class QRNNCell(LinearCell):
    """A convolution over two inputs, then gates that pool: fo-pooling.

    Equations:
        z_t = tanh(W_z x_t + V_z x_{t-1} + b_z)
        f_t = sigmoid(W_f x_t + V_f x_{t-1} + b_f)
        o_t = sigmoid(W_o x_t + V_o x_{t-1} + b_o)
        c_t = f_t * c_{t-1} + (1 - f_t) * z_t
        y_t = o_t * c_t

        rows of weight ([W V]) and bias (b): z, f, o

    options.forget_bias: added to the initial b_f.
    """

    num_gates = 3
    input_width = 2

    def __init__(self, input_size: int, hidden_size: int, options: Any = None) -> None:
        super().__init__(input_size, hidden_size, options)
        add_forget_bias(options, self.bias[hidden_size : 2 * hidden_size])

    def coefficients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        z, f, _ = z.chunk(3, -1)
        f = torch.sigmoid(f)
        return f, (1 - f) * torch.tanh(z)

    def output(self, h: Tensor, z: Tensor) -> Tensor:
        *_, o = z.chunk(3, -1)
        return torch.sigmoid(o) * h
