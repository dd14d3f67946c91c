"""The cell itself."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lmkit.recurrence import GatedCell


class MyCell(GatedCell):
    """f = sigmoid(f + c + bias); c = f c + (1 - f) silu(g); h = sigmoid(o) tanh(c)."""

    num_gates = 3
    state_names = ("h", "c")

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        f, g, o = (x + h).chunk(3, -1)
        c = state[1]
        f = torch.sigmoid(f + c + self.options.forget_bias)
        c = f * c + (1 - f) * F.silu(g)
        return torch.sigmoid(o) * torch.tanh(c), c
