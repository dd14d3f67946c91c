"""The mLSTM cell of the xLSTM (Beck et al., 2024, arXiv:2405.04517).

A step follows the paper; a sequence uses its parallel form, a chunk of steps at once.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit.recurrence import Cell, add_forget_bias
from lmkit.states import State
from lmkit_cells.heads import count_heads
from lmkit_cells.options import XLSTMOptions

CHUNK = 64
"""Steps per chunk: the work within a chunk is quadratic; the memory is carried between chunks."""
LARGEST = 80.0
"""The largest argument of exp(-m), which float32 can still represent; h is zero there."""


class Inputs(NamedTuple):
    """Inputs of a step, computed from x: q, k, v (..., heads, size); i, log_f (..., heads); o (..., hidden_size)."""

    q: Tensor
    k: Tensor
    v: Tensor
    i: Tensor
    log_f: Tensor
    o: Tensor


class MLSTMCell(Cell):
    """An LSTM with a matrix memory C in each head, written by keys k and values v and read by queries q.

    Equations:
        q_t, v_t = W_q x_t + b_q, W_v x_t + b_v
        k_t = (W_k x_t + b_k) / sqrt(units of a head)
        i_t = exp(w_i x_t + b_i), a number for each head
        f_t = sigmoid(w_f x_t + b_f), or exp
        C_t = f_t C_{t-1} + i_t v_t k_t'
        n_t = f_t n_{t-1} + i_t k_t
        h_t = sigmoid(W_o x_t + b_o) * (C_t q_t / max(|n_t' q_t|, 1))

        rows of weight (W, w) and bias (b): q, k, v, o, i, f

    C and n are stored divided by exp(m), m_t = max(log f + m_{t-1}, log i), so that no exponential overflows.
    h does not depend on m, so m needs no gradient.
    options.forget_bias: added to the initial b_f.
    The state of each head is (C, n, m): (batch, heads, size, size), (batch, heads, size), (batch, heads).
    """

    def __init__(self, input_size: int, hidden_size: int, options: XLSTMOptions | None = None) -> None:
        super().__init__(input_size, hidden_size, options)
        self.options = options or XLSTMOptions()
        self.num_heads = count_heads(hidden_size, self.options.num_heads)
        self.head_size = hidden_size // self.num_heads
        width = 4 * hidden_size + 2 * self.num_heads
        bound = hidden_size**-0.5
        self.weight = nn.Parameter(torch.empty(width, input_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(width).uniform_(-bound, bound))
        add_forget_bias(self.options, self.bias[-self.num_heads :])

    def initial_state(self, batch_size: int) -> State:
        heads, size = self.num_heads, self.head_size
        memory = self.weight.new_zeros(batch_size, heads, size, size)
        norm = self.weight.new_zeros(batch_size, heads, size)
        return memory, norm, self.weight.new_full((batch_size, heads), -torch.inf)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, State]:
        memory, norm, m = state
        q, k, v, i, log_f, o = self.project(x)
        top = torch.maximum(log_f + m, i).detach()
        f, i = torch.exp(log_f + m - top)[..., None], torch.exp(i - top)[..., None]
        memory = f[..., None] * memory + (i * v)[..., :, None] * k[..., None, :]
        norm = f * norm + i * k
        read, total = (memory @ q[..., None])[..., 0], (norm * q).sum(-1)
        return self.output(read, total, top, o), (memory, norm, top)

    def project(self, x: Tensor) -> Inputs:
        """Queries, keys, values and gates of x (..., input_size)."""
        heads = self.num_heads
        sizes = [self.hidden_size] * 4 + [heads] * 2
        q, k, v, o, i, f = F.linear(x, self.weight, self.bias).split(sizes, -1)
        q, k, v = (t.unflatten(-1, (heads, -1)) for t in (q, k, v))
        log_f = F.logsigmoid(f) if self.options.forget_gate == "sigmoid" else f
        return Inputs(q, k * self.head_size**-0.5, v, i, log_f, o)

    def output(self, read: Tensor, total: Tensor, m: Tensor, o: Tensor) -> Tensor:
        """h (..., hidden_size) from C q (..., heads, size), n q and m (..., heads)."""
        least = torch.exp((-m).clamp(max=LARGEST))  # the paper's 1, divided by exp(m) as C and n are
        return torch.sigmoid(o) * (read / torch.maximum(total.abs(), least)[..., None]).flatten(-2)

    def sequence(self, xs: Tensor, state: State, resets: Tensor | None = None) -> tuple[Tensor, State]:
        ys = []
        for start in range(0, len(xs), CHUNK):
            part = slice(start, start + CHUNK)
            y, state = self._chunk(xs[part], state, None if resets is None else resets[part])
            ys.append(y)
        return (torch.cat(ys) if ys else xs.new_zeros(0, xs.shape[1], self.hidden_size)), state

    def _chunk(self, xs: Tensor, state: Any, resets: Tensor | None) -> tuple[Tensor, State]:
        memory, norm, m = state
        projected = self.project(xs)
        # (batch, heads, time, size) and (batch, heads, time)
        q, k, v = (t.permute(1, 2, 0, 3) for t in projected[:3])
        i, log_f = (t.permute(1, 2, 0) for t in (projected.i, projected.log_f))
        decay = log_f.cumsum(-1)
        # The logarithm of the decay from step s to step t, and of the decay of the memory before the chunk.
        written = decay[..., :, None] - decay[..., None, :] + i[..., None, :]
        carried = decay + m[..., None]
        seen, old = _visible(xs, resets)
        written, carried = written.masked_fill(~seen, -torch.inf), carried.masked_fill(~old, -torch.inf)
        top = torch.maximum(written.amax(-1), carried).detach()
        written, carried = torch.exp(written - top[..., None]), torch.exp(carried - top)

        # A selection, since a product with 0 would keep a NaN in the memory before a reset.
        zero = xs.new_zeros(())
        weights = q @ k.mT * written
        read = weights @ v + torch.where(old[..., None], carried[..., None] * (q @ memory.mT), zero)
        total = weights.sum(-1) + torch.where(old, carried * (q @ norm[..., None])[..., 0], zero)
        left, keep, old = written[..., -1, :, None], carried[..., -1, None], old[..., -1, None]
        norm = (left * k).sum(-2) + torch.where(old, keep * norm, zero)
        memory = (left * v).mT @ k + torch.where(old[..., None], keep[..., None] * memory, zero)
        read, total, tops = (t.movedim(2, 0) for t in (read, total, top))  # time first again
        return self.output(read, total, tops, projected.o), (memory, norm, top[..., -1])


def _visible(xs: Tensor, resets: Tensor | None) -> tuple[Tensor, Tensor]:
    """Whether step t reads the input of step s, (batch, 1, t, s), and the previous memory, (batch, 1, t)."""
    time, batch = xs.shape[:2]
    if resets is None:
        resets = torch.zeros(time, batch, dtype=torch.bool, device=xs.device)
    piece = resets.cumsum(0).t()[:, None]
    before = torch.ones(time, time, dtype=torch.bool, device=xs.device).tril()
    return before & (piece[..., :, None] == piece[..., None, :]), piece == 0
