"""The gated recurrent unit whose reset gate acts before the recurrent product (Cho et al., 2014, arXiv:1406.1078v3).

With biases. torch's GRU and lmkit's `gru` follow the paper's first version.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit.recurrence import GatedCell


class GRUv3Cell(GatedCell):
    """r, z = sigmoid(W x + U h + b); n = tanh(W x + U (r h) + b); h_t = z h_{t-1} + (1 - z) n."""

    num_gates = 3
    state_names = ("h",)
    # The candidate's product needs the reset state, so both recurrent products are in `gates`.
    recurrent = False

    def __init__(self, input_size: int, hidden_size: int, options: Any = None) -> None:
        super().__init__(input_size, hidden_size, options)
        bound = hidden_size**-0.5
        self.weight_rz = nn.Parameter(torch.empty(2 * hidden_size, hidden_size).uniform_(-bound, bound))
        self.weight_n = nn.Parameter(torch.empty(hidden_size, hidden_size).uniform_(-bound, bound))

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        (h,) = state
        x_r, x_z, x_n = x.chunk(3, -1)
        h_r, h_z = F.linear(h, self.weight_rz).chunk(2, -1)
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + F.linear(r * h, self.weight_n))
        return z * h + (1 - z) * n
