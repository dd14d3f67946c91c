import torch
import torch.nn.functional as F

from lmkit.recurrence import GatedCell


class FirstCell(GatedCell):
    num_gates = 3
    state_names = ("h", "c")

    def gates(self, x, h, state):
        f, g, o = (x + h).chunk(3, -1)
        c = state[1]
        f = torch.sigmoid(f + c)
        c = f * c + (1 - f) * F.silu(g)
        return torch.sigmoid(o) * torch.tanh(c), c
