"""The sLSTM cell of the xLSTM (Beck et al., 2024, arXiv:2405.04517)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit.recurrence import GatedCell, add_forget_bias
from lmkit_cells.heads import count_heads
from lmkit_cells.options import XLSTMOptions


class SLSTMCell(GatedCell):
    """An LSTM with an exponential input gate, a normaliser n, and heads.

    Equations:
        z_t = tanh(W_z x_t + U_z h_{t-1} + b_z)
        i_t = exp(W_i x_t + U_i h_{t-1} + b_i)
        f_t = sigmoid(W_f x_t + U_f h_{t-1} + b_f), or exp
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + b_o)
        c_t = f_t * c_{t-1} + i_t * z_t
        n_t = f_t * n_{t-1} + i_t
        h_t = o_t * c_t / n_t

        rows of weight_ih (W) and bias_ih (b): z, i, f, o

    c and n are stored divided by exp(m), m_t = max(log f + m_{t-1}, log i), so that no exponential overflows. U is
    block-diagonal, with one block per head (weight_heads, transposed). The state is (h, c, n, m).
    options.forget_bias: added to the initial b_f.
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
        add_forget_bias(self.options, self.bias_ih[2 * hidden_size : 3 * hidden_size])

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
