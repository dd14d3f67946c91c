"""The minimal LSTM (Feng et al., 2024: Were RNNs all we needed?, arXiv:2410.01201).

The form whose candidate may be negative, not the paper's log-space scan: here the recurrence runs
step by step and needs no logarithm.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lmkit.recurrence import LinearCell


class MinLSTMCell(LinearCell):
    """f, i, n = W x + b; f and i go through sigmoids; h_t = f/(f + i) h_{t-1} + i/(f + i) n."""

    num_gates = 3

    def coefficients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        f, i, n = z.chunk(3, -1)
        # f/(f + i) = sigmoid(log f - log i), which does not divide 0 by 0 if both gates are closed.
        log_ratio = F.logsigmoid(f) - F.logsigmoid(i)
        return torch.sigmoid(log_ratio), torch.sigmoid(-log_ratio) * n
