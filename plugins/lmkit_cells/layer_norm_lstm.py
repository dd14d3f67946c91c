"""The LSTM with layer normalisation (Ba, Kiros and Hinton, 2016, arXiv:1607.06450).

As in its supplementary material: norms over all gates of each product together, and over the cell.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit.recurrence import GatedCell, add_forget_bias


class LayerNormLSTMCell(GatedCell):
    """An LSTM with layer norms over both products and over c.

    Equations:
        [f; i; o; g] = LN(W x_t) + LN(U h_{t-1}) + b
        c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
        h_t = sigmoid(o) * tanh(LN(c_t))

        LN(v) = (v - mean v) / std v * gain, over all units of v
        W = weight_ih, U = weight_hh, b = bias

    The paper adds a bias in each of the two norms and b: only their sum matters, which is `bias`. LN(c_t) has a bias.
    options.forget_bias: added to the initial b of f.
    """

    num_gates = 4
    state_names = ("h", "c")

    def __init__(self, input_size: int, hidden_size: int, options: Any = None) -> None:
        super().__init__(input_size, hidden_size, options)
        width = self.num_gates * hidden_size
        # The products have no bias under a norm: the engine gets zeros that are never learned or stored.
        for name in ("bias_ih", "bias_hh"):
            delattr(self, name)
            self.register_buffer(name, torch.zeros(width), persistent=False)
        self.gain_x = nn.Parameter(torch.ones(width))
        self.gain_h = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.gain_c = nn.Parameter(torch.ones(hidden_size))
        self.bias_c = nn.Parameter(torch.zeros(hidden_size))
        add_forget_bias(options, self.bias[:hidden_size])

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        x = F.layer_norm(x, self.gain_x.shape, self.gain_x)
        h = F.layer_norm(h, self.gain_h.shape, self.gain_h)
        f, i, o, g = (x + h + self.bias).chunk(4, -1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        normed = F.layer_norm(c, self.gain_c.shape, self.gain_c, self.bias_c)
        return torch.sigmoid(o) * torch.tanh(normed), c
