"""The gated recurrent unit whose reset gate acts before the recurrent product (Cho et al., 2014, arXiv:1406.1078v3).

With biases. torch's GRU and lmkit's `gru` follow the paper's first version.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit.recurrence import GatedCell


class GRUv3Cell(GatedCell):
    """The GRU of haiku and of keras with reset_after=False: r acts before the recurrent product.

    Equations:
        r_t = sigmoid(W_r x_t + U_r h_{t-1} + b_r)
        z_t = sigmoid(W_z x_t + U_z h_{t-1} + b_z)
        n_t = tanh(W_n x_t + U_n (r_t * h_{t-1}) + b_n)
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

        rows of weight_ih (W) and bias_ih (b): r, z, n
        weight_rz = [U_r; U_z], weight_n = U_n
    """

    num_gates = 3
    state_names = ("h",)
    # The candidate's product needs the reset state, so both recurrent products are in `gates`.
    recurrent = False
    family = "gru-v3"

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

    def load_weights(self, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> None:
        split = [2 * self.hidden_size, self.hidden_size]
        self.weight_ih.copy_(weight_ih)
        self.bias_ih.copy_(bias_ih + bias_hh)
        for parameter, rows in zip((self.weight_rz, self.weight_n), weight_hh.split(split), strict=True):
            parameter.copy_(rows)
