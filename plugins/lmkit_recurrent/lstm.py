"""Long short-term memory (Hochreiter and Schmidhuber, 1997; forget gate: Gers et al., 2000), as in torch.nn."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lmkit.recurrence import GatedCell, add_forget_bias
from lmkit_recurrent.options import LSTMOptions


class LSTMCell(GatedCell):
    """The LSTM of torch, keras, flax, equinox and MLX.

    Equations:
        i_t = sigmoid(W_i x_t + U_i h_{t-1} + b_i)
        f_t = sigmoid(W_f x_t + U_f h_{t-1} + b_f)
        g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + b_o)
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * tanh(c_t)

        rows of weight_ih (W) and weight_hh (U): i, f, g, o
        b = bias_ih + bias_hh

    options.clip: bound of c_t, applied before h_t is computed. options.forget_bias: added to the initial b_f.
    """

    num_gates = 4
    state_names = ("h", "c")
    family = "lstm"

    def __init__(self, input_size: int, hidden_size: int, options: LSTMOptions | None = None) -> None:
        super().__init__(input_size, hidden_size, options)
        options = options or LSTMOptions()
        self.clip = options.clip
        add_forget_bias(options, self.bias_ih[hidden_size : 2 * hidden_size])

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        i, f, g, o = (x + h).chunk(4, -1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        if self.clip is not None:
            c = c.clamp(-self.clip, self.clip)
        return torch.sigmoid(o) * torch.tanh(c), c

    def torch_kernel(self) -> Callable[..., Any] | None:
        return torch.lstm if self.clip is None else None
