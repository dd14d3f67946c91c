"""The minimal LSTM (Feng et al., 2024: Were RNNs all we needed?, arXiv:2410.01201).

The form whose candidate may be negative, not the paper's log-space scan: here the recurrence runs
step by step and needs no logarithm.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lmkit.recurrence import LinearCell, add_forget_bias


class MinLSTMCell(LinearCell):
    """An LSTM without c, whose gates sum to one and depend only on x.

    Equations:
        f_t = sigmoid(W_f x_t + b_f)
        i_t = sigmoid(W_i x_t + b_i)
        h_t = (f_t * h_{t-1} + i_t * (W_n x_t + b_n)) / (f_t + i_t)

        rows of weight (W) and bias (b): f, i, n

    options.forget_bias: added to the initial b_f.
    """

    num_gates = 3

    def __init__(self, input_size: int, hidden_size: int, options: Any = None) -> None:
        super().__init__(input_size, hidden_size, options)
        add_forget_bias(options, self.bias[:hidden_size])

    def coefficients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        f, i, n = z.chunk(3, -1)
        # f/(f + i) = sigmoid(log f - log i), which does not divide 0 by 0 if both gates are closed.
        log_ratio = F.logsigmoid(f) - F.logsigmoid(i)
        return torch.sigmoid(log_ratio), torch.sigmoid(-log_ratio) * n
