"""The sLSTM cell of the xLSTM (Beck et al., 2024, arXiv:2405.04517)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit.recurrence import GatedCell
from lmkit_cells.heads import count_heads
from lmkit_cells.options import XLSTMOptions


class SLSTMCell(GatedCell):
    """c_t = f c_{t-1} + i tanh(z); n_t = f n_{t-1} + i; h_t = sigmoid(o) c_t / n_t, with an exponential gate i.

    c and n are stored divided by exp(m), m_t = max(log f + m_{t-1}, log i), so that no exponential overflows. The
    recurrent matrix is block-diagonal, with one block per head. The state is (h, c, n, m).
    """

    num_gates = 4
    state_names = ("h", "c", "n", "m")
    # The engine's recurrent product would be a full matrix.
    recurrent = False

    def __init__(self, input_size: int, hidden_size: int, options: XLSTMOptions | None = None) -> None:
        super().__init__(input_size, hidden_size, options)
        self.options = options or XLSTMOptions()
        self.num_heads = count_heads(hidden_size, self.options.num_heads)
        size = hidden_size // self.num_heads
        bound = hidden_size**-0.5
        self.weight_heads = nn.Parameter(torch.empty(4, self.num_heads, size, size).uniform_(-bound, bound))

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        # m is the log scale of c and n, which are empty at the start: with 0 for m, a nearly closed first input
        # gate would make h = 0 / 0.
        zeros = self.weight_ih.new_zeros(batch_size, self.hidden_size)
        return zeros, zeros, zeros, torch.full_like(zeros, -torch.inf)

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c, n, m = state
        heads = h.unflatten(-1, (self.num_heads, -1))
        recurrent = torch.einsum("bni,gnio->bgno", heads, self.weight_heads).flatten(1)
        z, i, f, o = (x + recurrent).chunk(4, -1)
        log_f = F.logsigmoid(f) if self.options.forget_gate == "sigmoid" else f
        top = torch.maximum(log_f + m, i)
        f, i = torch.exp(log_f + m - top), torch.exp(i - top)
        c = f * c + i * torch.tanh(z)
        n = f * n + i
        return torch.sigmoid(o) * c / n, c, n, top
