"""Long short-term memory (Hochreiter and Schmidhuber, 1997; forget gate: Gers et al., 2000), as in torch.nn."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lmkit.recurrence import GatedCell


class LSTMCell(GatedCell):
    """i, f, o = sigmoid(x + h); g = tanh(x + h); c_t = f c_{t-1} + i g; h_t = o tanh(c_t)."""

    num_gates = 4
    state_names = ("h", "c")

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        i, f, g, o = (x + h).chunk(4, -1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def torch_kernel(self) -> Callable[..., Any]:
        return torch.lstm
