"""Long short-term memory (Hochreiter and Schmidhuber, 1997; forget gate: Gers et al., 2000), as in torch.nn."""

import torch
from torch import Tensor

from lmkit.recurrence import GatedCell
from lmkit.states import State
from lmkit_recurrent.fused import run_fused


class LSTMCell(GatedCell):
    """i, f, o = sigmoid(x + h); g = tanh(x + h); c_t = f c_{t-1} + i g; h_t = o tanh(c_t)."""

    num_gates = 4
    state_names = ("h", "c")

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        i, f, g, o = (x + h).chunk(4, -1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def sequence(self, xs: Tensor, state: State, resets: Tensor | None = None) -> tuple[Tensor, State]:
        if resets is not None or len(xs) == 0:
            return super().sequence(xs, state, resets)
        return run_fused(torch.lstm, self, xs, state)
