"""The gated recurrent unit (Cho et al., 2014, arXiv:1406.1078v1), as in torch.nn."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lmkit.recurrence import GatedCell


class GRUCell(GatedCell):
    """The GRU of torch, keras (reset_after=True), flax, equinox and MLX: r acts after the recurrent product.

    Equations:
        r_t = sigmoid(W_r x_t + U_r h_{t-1} + b_r)
        z_t = sigmoid(W_z x_t + U_z h_{t-1} + b_z)
        n_t = tanh(W_n x_t + b_n + r_t * (U_n h_{t-1} + d_n))
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

        rows of weight_ih (W) and weight_hh (U): r, z, n
        b = bias_ih + bias_hh in r and z; in n, b = bias_ih and d = bias_hh

    r multiplies d_n too, so `gates` needs x and h separately.
    """

    num_gates = 3
    state_names = ("h",)
    family = "gru"

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        x_r, x_z, x_n = x.chunk(3, -1)
        h_r, h_z, h_n = h.chunk(3, -1)
        z = torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + torch.sigmoid(x_r + h_r) * h_n)
        return (1 - z) * n + z * state[0]

    def torch_kernel(self) -> Callable[..., Any]:
        return torch.gru
