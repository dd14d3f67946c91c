"""Long short-term memory (Hochreiter and Schmidhuber, 1997; forget gate: Gers et al., 2000), as in torch.nn."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lmkit.recurrence import GatedCell
from lmkit_recurrent.options import LSTMOptions


class LSTMCell(GatedCell):
    """i, f, o = sigmoid(x + h); g = tanh(x + h); c_t = f c_{t-1} + i g; h_t = o tanh(c_t).

    options.clip: bound of c_t, applied before h_t is computed. options.forget_bias: initial bias of f.
    """

    num_gates = 4
    state_names = ("h", "c")

    def __init__(self, input_size: int, hidden_size: int, options: LSTMOptions | None = None) -> None:
        super().__init__(input_size, hidden_size, options)
        options = options or LSTMOptions()
        self.clip = options.clip
        if options.forget_bias is not None:
            with torch.no_grad():
                self.bias_ih[hidden_size : 2 * hidden_size] += options.forget_bias

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        i, f, g, o = (x + h).chunk(4, -1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        if self.clip is not None:
            c = c.clamp(-self.clip, self.clip)
        return torch.sigmoid(o) * torch.tanh(c), c

    def torch_kernel(self) -> Callable[..., Any] | None:
        return torch.lstm if self.clip is None else None
