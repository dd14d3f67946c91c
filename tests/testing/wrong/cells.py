"""Wrong cells; each docstring ends with the name of the rule that the cell breaks."""

import torch
from torch import nn

from lmkit import states
from lmkit.recurrence import Cell, GatedCell


class LooksAhead(GatedCell):
    """Subtracts the mean of the whole sequence from its inputs (check_causality)."""

    def gates(self, x, h, state):
        return torch.tanh(x + h)

    def sequence(self, xs, state, resets=None):
        return super().sequence(xs - xs.mean(0, keepdim=True) if len(xs) else xs, state, resets)


class MixesRows(GatedCell):
    """Normalises over the batch instead of the units (check_batch_invariance)."""

    def gates(self, x, h, state):
        new = x + h
        return torch.tanh(new - new.mean(0))


class ForgetsResets(GatedCell):
    """Has a fast way through a sequence that ignores resets (check_sequence_is_loop)."""

    def gates(self, x, h, state):
        return torch.tanh(x + h)

    def sequence(self, xs, state, resets=None):
        return super().sequence(xs, state)


class ResetsByProduct(GatedCell):
    """Resets by a product with 0, which keeps a NaN (check_reset_forgets)."""

    def gates(self, x, h, state):
        return torch.tanh(x + h)

    def reset(self, state, resets, t):
        return states.apply(lambda s: s * ~resets[t][:, None], state)


class KeepsStateInSelf(Cell):
    """Keeps its memory in self, and hands on a state that it does not read (check_repeated)."""

    def __init__(self, input_size, hidden_size, options=None):
        super().__init__(input_size, hidden_size, options)
        self.read = nn.Linear(input_size + hidden_size, hidden_size)
        self.memory = None

    def initial_state(self, batch_size):
        return self.read.bias.new_zeros(batch_size, self.hidden_size)

    def forward(self, x, state):
        if self.memory is None or self.memory.shape != state.shape or self.memory.dtype != x.dtype:
            self.memory = torch.zeros_like(state)
        self.memory = torch.tanh(self.read(torch.cat([x, self.memory], -1))).detach()
        return self.memory, state


class RightInEvaluationOnly(GatedCell):
    """Normalises with the statistics of the batch while it trains (check_training_mode)."""

    def __init__(self, input_size, hidden_size, options=None):
        super().__init__(input_size, hidden_size, options)
        self.norm = nn.BatchNorm1d(hidden_size)

    def gates(self, x, h, state):
        return torch.tanh(self.norm(x) + h)


class IdleParameter(GatedCell):
    """Has a parameter that nothing uses (check_gradients)."""

    def __init__(self, input_size, hidden_size, options=None):
        super().__init__(input_size, hidden_size, options)
        self.temperature = nn.Parameter(torch.ones(1))

    def gates(self, x, h, state):
        return torch.tanh(x + h)


class CutsTheGradient(GatedCell):
    """Detaches the state from the graph at every step (check_finite_differences)."""

    def gates(self, x, h, state):
        return torch.tanh(x + h) + 0.5 * state[0].detach()


class ReturnsTheOldState(GatedCell):
    """Returns the state that it was given instead of the last one (check_carry)."""

    def gates(self, x, h, state):
        return torch.tanh(x + h)

    def sequence(self, xs, state, resets=None):
        ys, _ = super().sequence(xs, state, resets)
        return ys, state


class NeverSeesItsState(Cell):
    """Computes a state, and an output that does not depend on it (check_state_is_used)."""

    def __init__(self, input_size, hidden_size, options=None):
        super().__init__(input_size, hidden_size, options)
        self.read = nn.Linear(input_size, hidden_size)

    def initial_state(self, batch_size):
        return self.read.bias.new_zeros(batch_size, self.hidden_size)

    def forward(self, x, state):
        new = torch.tanh(self.read(x))
        return new, 0.9 * state + new


class ForgetsBetweenEqualSizes(GatedCell):
    """Takes an input as wide as the state for a state, as every layer but the first has it (check_memory)."""

    def gates(self, x, h, state):
        return torch.tanh(x if self.input_size == self.hidden_size else x + h)


class SpreadsARowsFactor(GatedCell):
    """Multiplies units by a factor of the row if there are as many units as rows (check_batch_invariance)."""

    def gates(self, x, h, state):
        factor = torch.sigmoid(x.mean(-1))
        if len(factor) != self.hidden_size:
            factor = factor[:, None]
        return torch.tanh(x + h) * factor


class TimeBeforeBatch(Cell):
    """Has a state with the batch as dimension 1 (check_initial_state)."""

    def __init__(self, input_size, hidden_size, options=None):
        super().__init__(input_size, hidden_size, options)
        self.read = nn.Linear(input_size, hidden_size)

    def initial_state(self, batch_size):
        return self.read.bias.new_zeros(1, batch_size, self.hidden_size)

    def forward(self, x, state):
        state = torch.tanh(self.read(x) + state)
        return state[0], state
