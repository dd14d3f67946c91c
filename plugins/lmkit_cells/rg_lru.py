"""The real-gated linear recurrent unit of Griffin (De et al., 2024, arXiv:2402.19427).

It includes the linear layer and the convolution over the last four inputs that precede it in Griffin's recurrent
block, as one matrix, but not the block's second branch.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit.recurrence import LinearCell

SHARPNESS = 8.0
"""The paper's constant c."""


class RGLRUCell(LinearCell):
    """A decay for each unit, raised to a power that depends on the input.

    Equations:
        u_t = W [x_t; x_{t-1}; x_{t-2}; x_{t-3}] + b
        r_t = sigmoid(V_r u_t + d_r)
        i_t = sigmoid(V_i u_t + d_i)
        a_t = sigmoid(L) ^ (8 r_t)
        h_t = a_t * h_{t-1} + sqrt(1 - a_t^2) * i_t * u_t

        W = weight, b = bias, L = decay; rows of gate (V, d): r, i
    """

    num_gates = 1
    input_width = 4

    def __init__(self, input_size: int, hidden_size: int, options: Any = None) -> None:
        super().__init__(input_size, hidden_size, options)
        self.gate = nn.Linear(hidden_size, 2 * hidden_size)
        # sigmoid(L)^c is uniform between 0.9 and 0.999 at the start, as in the paper.
        base = torch.empty(hidden_size).uniform_(0.9, 0.999) ** (1 / SHARPNESS)
        self.decay = nn.Parameter(torch.logit(base))

    def coefficients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        r, i = torch.sigmoid(self.gate(z)).chunk(2, -1)
        log_a = SHARPNESS * r * F.logsigmoid(self.decay)
        # 1 - a^2 without cancellation near a = 1, and above 0, where the root is not differentiable.
        rest = (-torch.expm1(2 * log_a)).clamp(min=torch.finfo(z.dtype).tiny)
        return log_a.exp(), rest.sqrt() * i * z
