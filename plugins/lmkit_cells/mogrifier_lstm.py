"""The Mogrifier LSTM (Melis, Kočiský and Blunsom, 2020, arXiv:1909.01792)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit.recurrence import Cell, add_forget_bias
from lmkit.states import State
from lmkit_cells.options import MogrifierOptions


class MogrifierLSTMCell(Cell):
    """An LSTM whose input and state gate one another for some rounds first.

    Equations:
        x, h = x_t, h_{t-1}
        x = 2 sigmoid(Q_k h) * x    in the rounds k = 1, 3, 5, ...
        h = 2 sigmoid(R_k x) * h    in the rounds k = 2, 4, ...
        [i; f; g; o] = W x + U h + b
        c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
        h_t = sigmoid(o) * tanh(c_t)

        weight = [W U], bias = b

    options.forget_bias: added to the initial b of f.
    options.rank: each Q and R is a product of two matrices of that rank. The state is (h, c).
    """

    def __init__(self, input_size: int, hidden_size: int, options: MogrifierOptions | None = None) -> None:
        super().__init__(input_size, hidden_size, options)
        options = options or MogrifierOptions()
        sizes = (hidden_size, input_size)
        self.rounds = nn.ModuleList(
            _matrix(sizes[round % 2], sizes[1 - round % 2], options.rank) for round in range(options.rounds)
        )
        # [W_x W_h] and b: one product for input and state, since neither is known before the step.
        bound = hidden_size**-0.5
        width = input_size + hidden_size
        self.weight = nn.Parameter(torch.empty(4 * hidden_size, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden_size).uniform_(-bound, bound))
        add_forget_bias(options, self.bias[hidden_size : 2 * hidden_size])

    def initial_state(self, batch_size: int) -> State:
        zeros = self.weight.new_zeros(batch_size, self.hidden_size)
        return zeros, zeros

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, State]:
        h, c = state
        for round, matrix in enumerate(self.rounds, start=1):
            if round % 2:
                x = 2 * torch.sigmoid(matrix(h)) * x
            else:
                h = 2 * torch.sigmoid(matrix(x)) * h
        i, f, g, o = F.linear(torch.cat([x, h], -1), self.weight, self.bias).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, (h, c)


def _matrix(inputs: int, outputs: int, rank: int | None) -> nn.Module:
    if rank is None:
        return nn.Linear(inputs, outputs, bias=False)
    return nn.Sequential(nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=False))
