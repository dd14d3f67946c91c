"""The gated recurrent unit (Cho et al., 2014, arXiv:1406.1078v1), as in torch.nn."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lmkit.recurrence import GatedCell


class GRUCell(GatedCell):
    """r, z = sigmoid(x + h); n = tanh(x_n + r h_n); h_t = (1 - z) n + z h_{t-1}.

    The reset gate acts after the recurrent product, which has a separate bias, so x and h are separate.
    """

    num_gates = 3
    state_names = ("h",)

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        x_r, x_z, x_n = x.chunk(3, -1)
        h_r, h_z, h_n = h.chunk(3, -1)
        z = torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + torch.sigmoid(x_r + h_r) * h_n)
        return (1 - z) * n + z * state[0]

    def torch_kernel(self) -> Callable[..., Any]:
        return torch.gru
