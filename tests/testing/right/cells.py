"""Cells of unusual kinds that are right: their states are integers, of other shapes, learned or complex."""

import torch
from torch import nn

from lmkit.recurrence import Cell, GatedCell, LinearCell


class Counter(GatedCell):
    """Counts its steps in an integer, and forgets more as time passes."""

    state_names = ("h", "steps")

    def initial_state(self, batch_size):
        h = self.weight_ih.new_zeros(batch_size, self.hidden_size)
        return h, torch.zeros(batch_size, dtype=torch.int64, device=h.device)

    def gates(self, x, h, state):
        steps = state[1] + 1
        return torch.tanh(x + h / steps[:, None]), steps


class PlainCounter(Cell):
    """The same in the class that owns nothing, with a bool and a number a row beside."""

    def __init__(self, input_size, hidden_size, options=None):
        super().__init__(input_size, hidden_size, options)
        self.read = nn.Linear(input_size + hidden_size, hidden_size)

    def initial_state(self, batch_size):
        h = self.read.bias.new_zeros(batch_size, self.hidden_size)
        odd = torch.zeros(batch_size, dtype=torch.bool, device=h.device)
        return h, (odd.int(), odd)

    def forward(self, x, state):
        h, (steps, odd) = state
        new = torch.tanh(self.read(torch.cat([x, h], -1)))
        h = torch.where(odd[:, None], new, 0.5 * (new + h))
        return h, (h, (steps + 1, ~odd))


class OneNumberARow(Cell):
    """Has a memory of one number a row, shape (batch,), and a matrix a row."""

    def __init__(self, input_size, hidden_size, options=None):
        super().__init__(input_size, hidden_size, options)
        self.read = nn.Linear(input_size, hidden_size)

    def initial_state(self, batch_size):
        zeros = self.read.bias.new_zeros
        return zeros(batch_size), zeros(batch_size, self.hidden_size, self.hidden_size)

    def forward(self, x, state):
        total, matrix = state
        new = torch.tanh(self.read(x))
        total = 0.9 * total + new.mean(-1)
        matrix = 0.9 * matrix + new[:, :, None] * new[:, None, :]
        return (matrix @ new[..., None])[..., 0] + total[:, None], (total, matrix)


class LearnedStart(GatedCell):
    """Learns its initial state."""

    def __init__(self, input_size, hidden_size, options=None):
        super().__init__(input_size, hidden_size, options)
        self.start = nn.Parameter(torch.randn(hidden_size))

    def initial_state(self, batch_size):
        return (self.start.expand(batch_size, -1),)

    def gates(self, x, h, state):
        return torch.tanh(x + h)


class LearnedLinearStart(LinearCell):
    """Learns its initial state and the input before the first."""

    input_width = 2

    def __init__(self, input_size, hidden_size, options=None):
        super().__init__(input_size, hidden_size, options)
        self.start = nn.Parameter(torch.randn(hidden_size))
        self.before = nn.Parameter(torch.randn(input_size))

    def initial_state(self, batch_size):
        return self.start.expand(batch_size, -1), self.before.expand(batch_size, -1)

    def coefficients(self, z):
        keep, new = z.chunk(2, -1)
        keep = torch.sigmoid(keep)
        return keep, (1 - keep) * torch.tanh(new)


class EveryThirdStep(Cell):
    """Changes its state at every third step only."""

    def __init__(self, input_size, hidden_size, options=None):
        super().__init__(input_size, hidden_size, options)
        self.read = nn.Linear(input_size + hidden_size, hidden_size)

    def initial_state(self, batch_size):
        h = self.read.bias.new_zeros(batch_size, self.hidden_size)
        return h, h.new_zeros(batch_size, dtype=torch.int32)

    def forward(self, x, state):
        h, steps = state
        new = torch.tanh(self.read(torch.cat([x, h], -1)))
        h = torch.where((steps % 3 == 0)[:, None], new, h)
        return h, (h, steps + 1)


class Spikes(Cell):
    """Fires where the potential passes a threshold, with the gradient of a sigmoid."""

    def __init__(self, input_size, hidden_size, options=None):
        super().__init__(input_size, hidden_size, options)
        self.read = nn.Linear(input_size, hidden_size)

    def initial_state(self, batch_size):
        return self.read.bias.new_zeros(batch_size, self.hidden_size)

    def forward(self, x, state):
        state = 0.9 * state + self.read(x)
        spike = Fire.apply(state - 1)
        return spike, state - spike


class Fire(torch.autograd.Function):
    """1 above 0, else 0; backward as the identity."""

    @staticmethod
    def forward(ctx, x):
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, dy):
        return dy


class DropsInTraining(GatedCell):
    """Draws a mask at each step of training."""

    def gates(self, x, h, state):
        return nn.functional.dropout(torch.tanh(x + h), 0.5, self.training)


class BeginsAtZero(GatedCell):
    """All its parameters are zero at first, and one is never trained."""

    def __init__(self, input_size, hidden_size, options=None):
        super().__init__(input_size, hidden_size, options)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        self.scale = nn.Parameter(torch.ones(hidden_size), requires_grad=False)

    def gates(self, x, h, state):
        return torch.tanh(x + h) * self.scale


class ComplexState(Cell):
    """Turns in the complex plane."""

    def __init__(self, input_size, hidden_size, options=None):
        super().__init__(input_size, hidden_size, options)
        self.read = nn.Linear(input_size, hidden_size)
        self.angle = nn.Parameter(torch.rand(hidden_size))

    def initial_state(self, batch_size):
        return torch.complex(*2 * [self.read.bias.new_zeros(batch_size, self.hidden_size)])

    def forward(self, x, state):
        turn = torch.polar(torch.full_like(self.angle, 0.9), self.angle)
        state = turn * state + self.read(x)
        return state.real, state
