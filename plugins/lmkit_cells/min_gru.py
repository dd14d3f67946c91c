"""The minimal GRU (Feng et al., 2024: Were RNNs all we needed?, arXiv:2410.01201).

The form whose candidate may be negative, not the paper's log-space scan: here the recurrence runs
step by step and needs no logarithm.
"""

import torch
from torch import Tensor

from lmkit.recurrence import LinearCell


class MinGRUCell(LinearCell):
    """A GRU whose gate and candidate depend only on x.

    Equations:
        z_t = sigmoid(W_z x_t + b_z)
        h_t = (1 - z_t) * h_{t-1} + z_t * (W_n x_t + b_n)

        rows of weight (W) and bias (b): z, n
    """

    num_gates = 2

    def coefficients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        z, n = z.chunk(2, -1)
        z = torch.sigmoid(z)
        return 1 - z, z * n
