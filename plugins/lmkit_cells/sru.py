"""The simple recurrent unit (Lei, Zhang, Wang, Dai and Artzi, 2018, arXiv:1709.02755)."""

from typing import Any

import torch
from torch import Tensor, nn

from lmkit.recurrence import GatedCell


class SRUCell(GatedCell):
    """f = sigmoid(W_f x + v_f c_{t-1} + b_f), r alike; c_t = f c_{t-1} + (1 - f) W x; h_t = r c_t + (1 - r) x'.

    The paper's x' is x, which must have as many features as h. Here x' is a matrix times x that starts as the
    identity, for any sizes; W x and x' have a bias, which starts at zero.
    """

    num_gates = 4
    state_names = ("h", "c")
    recurrent = False

    def __init__(self, input_size: int, hidden_size: int, options: Any = None) -> None:
        super().__init__(input_size, hidden_size, options)
        bound = hidden_size**-0.5
        self.v_f = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound))
        self.v_r = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound))
        with torch.no_grad():
            nn.init.eye_(self.weight_ih[3 * hidden_size :])
            self.bias_ih.view(4, hidden_size)[[0, 3]] = 0

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        _, c = state
        candidate, f, r, skip = x.chunk(4, -1)
        f = torch.sigmoid(f + self.v_f * c)
        r = torch.sigmoid(r + self.v_r * c)
        c = f * c + (1 - f) * candidate
        return r * c + (1 - r) * skip, c
