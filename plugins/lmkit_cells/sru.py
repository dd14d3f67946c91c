"""The simple recurrent unit (Lei, Zhang, Wang, Dai and Artzi, 2018, arXiv:1709.02755)."""

from typing import Any

import torch
from torch import Tensor, nn

from lmkit.recurrence import GatedCell, add_forget_bias


class SRUCell(GatedCell):
    """Gates that see c instead of h, and a highway from x to the output.

    Equations:
        f_t = sigmoid(W_f x_t + v_f * c_{t-1} + b_f)
        r_t = sigmoid(W_r x_t + v_r * c_{t-1} + b_r)
        c_t = f_t * c_{t-1} + (1 - f_t) * (W_n x_t + b_n)
        h_t = r_t * c_t + (1 - r_t) * (W_s x_t + b_s)

        rows of weight_ih (W) and bias_ih (b): n, f, r, s

    In the paper x_t itself stands for W_s x_t + b_s, so it must have as many features as h. Here W_s starts as the
    identity, for any sizes; b_n and b_s start at zero. options.forget_bias: added to the initial b_f.
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
        add_forget_bias(options, self.bias_ih[hidden_size : 2 * hidden_size])

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        _, c = state
        candidate, f, r, skip = x.chunk(4, -1)
        f = torch.sigmoid(f + self.v_f * c)
        r = torch.sigmoid(r + self.v_r * c)
        c = f * c + (1 - f) * candidate
        return r * c + (1 - r) * skip, c
