"""LinearCell: the engine's sums are those of a cell written as its equations, one step at a time."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit import states
from lmkit.plugins import Part, Plugin
from lmkit.recurrence import Cell, LinearCell
from lmkit.recurrence.cells import uniform_parameters
from lmkit.specs import CellSpec
from lmkit.states import State
from lmkit.testing import checks_of
from lmkit.testing.suite import Check

INPUT, HIDDEN, BATCH, TIME = 5, 7, 4, 11


class MinGRU(LinearCell):
    """h_t = (1 - z_t) h_{t-1} + z_t g_t, with z and g from x_t alone (Feng et al., 2024, without their log space)."""

    def coefficients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        gate, candidate = z.chunk(2, -1)
        gate = torch.sigmoid(gate)
        return 1 - gate, gate * candidate


class QRNN(LinearCell):
    """fo-pooling over a convolution of width 2 (Bradbury et al., 2017)."""

    num_gates = 3
    input_width = 2

    def coefficients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        candidate, forget, _ = z.chunk(3, -1)
        forget = torch.sigmoid(forget)
        return forget, (1 - forget) * torch.tanh(candidate)

    def output(self, h: Tensor, z: Tensor) -> Tensor:
        return torch.sigmoid(z.chunk(3, -1)[2]) * h


class PlainMinGRU(Cell):
    """The equations of MinGRU, in the loop of Cell."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight = nn.Parameter(torch.empty(2 * hidden_size, input_size))
        self.bias = nn.Parameter(torch.empty(2 * hidden_size))
        uniform_parameters(self)

    def initial_state(self, batch_size: int) -> State:
        return (self.weight.new_zeros(batch_size, self.hidden_size),)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = states.leaves(state)
        gate, candidate = F.linear(x, self.weight, self.bias).chunk(2, -1)
        z = torch.sigmoid(gate)
        h = (1 - z) * h + z * candidate
        return h, (h,)


class PlainQRNN(Cell):
    """The equations of QRNN, in the loop of Cell: one matrix for this input, one for the one before it."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight = nn.Parameter(torch.empty(3 * hidden_size, 2 * input_size))
        self.bias = nn.Parameter(torch.empty(3 * hidden_size))
        uniform_parameters(self)

    def initial_state(self, batch_size: int) -> State:
        return (
            self.weight.new_zeros(batch_size, self.hidden_size),
            self.weight.new_zeros(batch_size, self.input_size),
        )

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h, before = states.leaves(state)
        now, past = self.weight.split(self.input_size, 1)
        candidate, forget, out = (x @ now.T + before @ past.T + self.bias).chunk(3, -1)
        f = torch.sigmoid(forget)
        h = f * h + (1 - f) * torch.tanh(candidate)
        return torch.sigmoid(out) * h, (h, x)


PAIRS = [(MinGRU, PlainMinGRU), (QRNN, PlainQRNN)]


def pair(fast: type[LinearCell], plain: type[Cell]) -> tuple[Cell, Cell]:
    """Both in float64 with the same weights."""
    torch.manual_seed(0)
    ours, theirs = fast(INPUT, HIDDEN).double(), plain(INPUT, HIDDEN).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def run(cell: Cell, xs: Tensor, resets: Tensor | None) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Outputs, the last state's tensors and the gradients of both with respect to everything."""
    xs = xs.clone().requires_grad_()
    before = [
        torch.linspace(-1, 1, leaf.numel(), dtype=leaf.dtype).view_as(leaf).requires_grad_()
        for leaf in states.leaves(cell.initial_state(BATCH))
    ]
    ys, last = cell.sequence(xs, tuple(before), resets)
    leaves = states.leaves(last)
    # Weights that differ everywhere, so that no gradient cancels.
    torch.stack(
        [(t * torch.arange(t.numel()).view_as(t).cos()).sum() for t in (ys, *leaves)]
    ).sum().backward()
    sources = [xs, *before, *cell.parameters()]
    return ys, leaves, [torch.zeros_like(t) if t.grad is None else t.grad for t in sources]


@pytest.mark.parametrize("resetting", [False, True])
@pytest.mark.parametrize("time", [1, TIME])
@pytest.mark.parametrize(("fast", "plain"), PAIRS)
def test_it_is_its_equations(fast: type[LinearCell], plain: type[Cell], time: int, resetting: bool) -> None:
    """Outputs, carried state and all gradients are those of the equations, with resets inside and without."""
    ours, theirs = pair(fast, plain)
    xs = torch.randn(time, BATCH, INPUT, dtype=torch.float64)
    resets = torch.rand(time, BATCH) < 0.3 if resetting else None
    if resets is not None:
        resets[0] = torch.tensor([True, False, True, False])
    for got, wanted in zip(run(ours, xs, resets), run(theirs, xs, resets), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("fast", "plain"), PAIRS)
def test_steps_carry_the_state(fast: type[LinearCell], plain: type[Cell]) -> None:
    """One step after another, past inputs in the state, gives what the equations give for the whole."""
    ours, theirs = pair(fast, plain)
    xs = torch.randn(TIME, BATCH, INPUT, dtype=torch.float64)
    wanted, last = theirs.sequence(xs, theirs.initial_state(BATCH))
    state = ours.initial_state(BATCH)
    for x, y in zip(xs, wanted, strict=True):
        got, state = ours(x, state)
        torch.testing.assert_close(got, y, rtol=1e-12, atol=1e-12)
    for got, leaf in zip(states.leaves(state), states.leaves(last), strict=True):
        torch.testing.assert_close(got, leaf, rtol=1e-12, atol=1e-12)


PLUGIN = Plugin("linear", "linear", "1", lambda: None)
RULES = [
    rule
    for fast, _ in PAIRS
    for rule in checks_of(
        Part(CellSpec(fast.__name__.lower(), f"{__name__}:{fast.__name__}", "Linear"), PLUGIN)
    )
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_it_keeps_the_rules_of_cells(rule: Check) -> None:
    """A LinearCell passes the conformance suite."""
    rule()
