"""The quasi-recurrent network (Bradbury, Merity, Xiong and Socher, 2016, arXiv:1611.01576).

A convolution of width 2 with biases, then fo-pooling; no zoneout.
"""

import torch
from torch import Tensor

from lmkit.recurrence import LinearCell


class QRNNCell(LinearCell):
    """z, f, o = W [x_t; x_{t-1}] + b; c_t = f c_{t-1} + (1 - f) tanh(z); y_t = o c_t, f and o through sigmoids."""

    num_gates = 3
    input_width = 2

    def coefficients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        z, f, _ = z.chunk(3, -1)
        f = torch.sigmoid(f)
        return f, (1 - f) * torch.tanh(z)

    def output(self, h: Tensor, z: Tensor) -> Tensor:
        *_, o = z.chunk(3, -1)
        return torch.sigmoid(o) * h
