"""The published cells are their papers' equations, in outputs and gradients, at any gate and after any reset."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

import lmkit
from lmkit import states
from lmkit.errors import UsageError
from lmkit.options import choose
from lmkit.recurrence import Cell

INPUT, HIDDEN, BATCH, TIME = 5, 8, 3, 11
Step = Callable[[Any, Tensor, list], list]


def make(name: str, input_size: int = INPUT, hidden_size: int = HIDDEN, **options: Any) -> Any:
    """A cell in float64 whose parameters all have a part in its numbers (biases and gains off 0 and 1)."""
    torch.manual_seed(0)
    chosen = choose("cell", {"name": name, **options}, "cell")
    cell = chosen.load()(input_size, hidden_size, chosen.options).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return cell


# Each reference is one step of one row, in vectors, as the paper writes it: x and the state give [h, ...state].


def gru_v3(cell: Any, x: Tensor, state: list) -> list:
    (h,) = state
    w_r, w_z, w_n = cell.weight_ih.chunk(3)
    b_r, b_z, b_n = cell.bias_ih.chunk(3)
    u_r, u_z = cell.weight_rz.chunk(2)
    r = torch.sigmoid(w_r @ x + u_r @ h + b_r)
    z = torch.sigmoid(w_z @ x + u_z @ h + b_z)
    h = z * h + (1 - z) * torch.tanh(w_n @ x + cell.weight_n @ (r * h) + b_n)
    return [h, h]


def normed(v: Tensor) -> Tensor:
    return (v - v.mean()) / (v.var(correction=0) + 1e-5).sqrt()


def layer_norm_lstm(cell: Any, x: Tensor, state: list) -> list:
    h, c = state
    z = normed(cell.weight_hh @ h) * cell.gain_h + normed(cell.weight_ih @ x) * cell.gain_x + cell.bias
    f, i, o, g = z.chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * (normed(c) * cell.gain_c + cell.bias_c).tanh()
    return [h, h, c]


def mogrifier_lstm(cell: Any, x: Tensor, state: list) -> list:
    h, c = state
    for round, matrix in enumerate(cell.rounds, start=1):
        factors = [matrix] if isinstance(matrix, nn.Linear) else list(matrix)
        whole = factors[0].weight if len(factors) == 1 else factors[1].weight @ factors[0].weight
        x, h = (2 * (whole @ h).sigmoid() * x, h) if round % 2 else (x, 2 * (whole @ x).sigmoid() * h)
    w, u = cell.weight.split([cell.input_size, cell.hidden_size], 1)
    i, f, g, o = (w @ x + u @ h + cell.bias).chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return [h, h, c]


def qrnn(cell: Any, x: Tensor, state: list) -> list:
    c, before = state
    now, past = cell.weight.split(cell.input_size, 1)
    z, f, o = (now @ x + past @ before + cell.bias).chunk(3)
    c = f.sigmoid() * c + (1 - f.sigmoid()) * z.tanh()
    return [o.sigmoid() * c, c, x]


def sru(cell: Any, x: Tensor, state: list) -> list:
    _, c = state
    w, w_f, w_r, w_skip = cell.weight_ih.chunk(4)
    b, b_f, b_r, b_skip = cell.bias_ih.chunk(4)
    f = (w_f @ x + cell.v_f * c + b_f).sigmoid()
    r = (w_r @ x + cell.v_r * c + b_r).sigmoid()
    c = f * c + (1 - f) * (w @ x + b)
    h = r * c + (1 - r) * (w_skip @ x + b_skip)
    return [h, h, c]


def min_gru(cell: Any, x: Tensor, state: list) -> list:
    (h,) = state
    z, n = (cell.weight @ x + cell.bias).chunk(2)
    h = (1 - z.sigmoid()) * h + z.sigmoid() * n
    return [h, h]


def min_lstm(cell: Any, x: Tensor, state: list) -> list:
    (h,) = state
    f, i, n = (cell.weight @ x + cell.bias).chunk(3)
    f, i = f.sigmoid(), i.sigmoid()
    h = f / (f + i) * h + i / (f + i) * n
    return [h, h]


def rg_lru(cell: Any, x: Tensor, state: list) -> list:
    h, *past = state
    taps = cell.weight.split(cell.input_size, 1)
    u = sum((w @ v for w, v in zip(taps, [x, *past], strict=True)), cell.bias)
    w_a, w_x = cell.gate.weight.chunk(2)
    b_a, b_x = cell.gate.bias.chunk(2)
    a = cell.decay.sigmoid() ** (8 * (w_a @ u + b_a).sigmoid())
    h = a * h + (1 - a**2).sqrt() * ((w_x @ u + b_x).sigmoid() * u)
    return [h, h, x, *past[:2]]


def forget(cell: Any, f: Tensor) -> Tensor:
    return f.sigmoid() if cell.options.forget_gate == "sigmoid" else f.exp()


def slstm(cell: Any, x: Tensor, state: list) -> list:
    # Without the stabiliser m: exponentials of small numbers need none.
    h, c, n = state
    recurrent = torch.cat([torch.block_diag(*(head.t() for head in gate)) for gate in cell.weight_heads])
    z, i, f, o = (cell.weight_ih @ x + recurrent @ h + cell.bias_ih).chunk(4)
    c = forget(cell, f) * c + i.exp() * z.tanh()
    n = forget(cell, f) * n + i.exp()
    h = o.sigmoid() * c / n
    return [h, h, c, n]


def mlstm(cell: Any, x: Tensor, state: list) -> list:
    # Without the stabiliser, a head after the other.
    heads, size = cell.num_heads, cell.hidden_size // cell.num_heads
    q, k, v, o, gates = (cell.weight @ x + cell.bias).split([cell.hidden_size] * 4 + [2 * heads])
    reads, after = [], []
    for head in range(heads):
        memory, n = state[2 * head : 2 * head + 2]
        q_h, k_h, v_h = (t[head * size : (head + 1) * size] for t in (q, k / size**0.5, v))
        i, f = gates[head].exp(), forget(cell, gates[heads + head])
        memory = f * memory + i * torch.outer(v_h, k_h)
        n = f * n + i * k_h
        reads.append(memory @ q_h / max((n @ q_h).abs(), torch.tensor(1.0)))
        after += [memory, n]
    return [o.sigmoid() * torch.cat(reads), *after]


ZERO = (HIDDEN,)
CASES: list[tuple[str, dict, Step, list[tuple[int, ...]]]] = [
    ("gru-v3", {}, gru_v3, [ZERO]),
    ("layer-norm-lstm", {}, layer_norm_lstm, [ZERO] * 2),
    ("mogrifier-lstm", {}, mogrifier_lstm, [ZERO] * 2),
    ("mogrifier-lstm", {"rounds": 2, "rank": 3}, mogrifier_lstm, [ZERO] * 2),
    ("qrnn", {}, qrnn, [ZERO, (INPUT,)]),
    ("sru", {}, sru, [ZERO] * 2),
    ("min-gru", {}, min_gru, [ZERO]),
    ("min-lstm", {}, min_lstm, [ZERO]),
    ("rg-lru", {}, rg_lru, [ZERO, *[(INPUT,)] * 3]),
    ("xlstm-slstm", {}, slstm, [ZERO] * 3),
    ("xlstm-slstm", {"num_heads": 1, "forget_gate": "exponential"}, slstm, [ZERO] * 3),
    ("xlstm-mlstm", {}, mlstm, [(2, 2), (2,)] * 4),
    ("xlstm-mlstm", {"num_heads": 2, "forget_gate": "exponential"}, mlstm, [(4, 4), (4,)] * 2),
]
"""Each cell with its options, its equations and the shapes of the state that they carry, all zero at first."""
IDS = [f"{name}{'-'.join(['', *map(str, options.values())])}" for name, options, _, _ in CASES]
NAMES = sorted({name for name, *_ in CASES})


def by_hand(cell: Any, step: Step, shapes: list, xs: Tensor, resets: Tensor) -> Tensor:
    """ys (time, batch, hidden_size), one row after another."""
    rows = []
    for row in range(xs.shape[1]):
        state, ys = [], []
        for t, x in enumerate(xs[:, row]):
            if t == 0 or resets[t, row]:
                state = [xs.new_zeros(shape) for shape in shapes]
            y, *state = step(cell, x, state)
            ys.append(y)
        rows.append(torch.stack(ys))
    return torch.stack(rows, 1)


@pytest.mark.parametrize(("name", "options", "step", "shapes"), CASES, ids=IDS)
def test_it_is_its_papers_equations(name: str, options: dict, step: Step, shapes: list) -> None:
    """Two windows with a carried state and resets give the equations' outputs, and the gradients of everything."""
    cell = make(name, **options)
    xs = torch.randn(TIME, BATCH, INPUT, dtype=torch.float64, requires_grad=True)
    resets = torch.rand(TIME, BATCH) < 0.2
    resets[3] = torch.tensor([True, False, True])
    first, state = cell.sequence(xs[:4], cell.initial_state(BATCH), resets[:4])
    second, _ = cell.sequence(xs[4:], state, resets[4:])
    ours, wanted = torch.cat([first, second]), by_hand(cell, step, shapes, xs, resets)
    torch.testing.assert_close(ours, wanted, rtol=1e-10, atol=1e-10)

    sources = [xs, *cell.parameters()]
    weights = torch.randn_like(ours)
    got, reference = (torch.autograd.grad((ys * weights).sum(), sources) for ys in (ours, wanted))
    torch.testing.assert_close(got, reference, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("name", "options"), [case[:2] for case in CASES], ids=IDS)
def test_gradients_are_those_of_finite_differences(name: str, options: dict) -> None:
    """In float64, for inputs, the state before and every parameter."""
    cell = make(name, 2, 4, **options)
    xs = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    lived_in = cell.sequence(torch.randn(2, 2, 2, dtype=torch.float64), cell.initial_state(2))[1]
    before = states.leaves(states.detach(lived_in))
    # The stabiliser of the xLSTM scales its memory, which is the same memory at every scale: no gradient is due.
    count = len(before) - name.startswith("xlstm")
    for leaf in before[:count]:
        leaf.requires_grad_()
    resets = torch.tensor([[False, False], [True, False], [False, False]])
    names = [name for name, _ in cell.named_parameters()]

    def outputs(xs: Tensor, *values: Tensor) -> Tensor:
        parameters = dict(zip(names, values[len(before) :], strict=True))
        return functional_call(Sequence(cell), {f"cell.{n}": v for n, v in parameters.items()},
                               (xs, values[: len(before)], resets))  # fmt: skip

    assert torch.autograd.gradcheck(outputs, (xs, *before, *cell.parameters()), atol=1e-6)


class Sequence(nn.Module):
    """A cell whose forward is its `sequence`, since functional_call calls forward."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, xs: Tensor, state: tuple[Tensor, ...], resets: Tensor) -> Tensor:
        return self.cell.sequence(xs, state, resets)[0]


@pytest.mark.parametrize("name", NAMES)
def test_shut_and_open_gates_leave_no_nan(name: str) -> None:
    """Inputs a thousand times too large give finite outputs and gradients, from the first step on."""
    torch.manual_seed(0)
    chosen = choose("cell", name, "cell")
    cell = chosen.load()(INPUT, HIDDEN, chosen.options)
    xs = (1000 * torch.randn(TIME, BATCH, INPUT)).requires_grad_()
    ys, last = cell.sequence(xs, cell.initial_state(BATCH), torch.rand(TIME, BATCH) < 0.2)
    ys.sum().backward()
    finite = [ys, *states.leaves(last), xs.grad, *(p.grad for p in cell.parameters())]
    assert all(bool(tensor.isfinite().all()) for tensor in finite)


def test_long_sequences_of_the_mlstm_are_its_steps() -> None:
    """Chunk after chunk, the parallel form is the step, with resets inside chunks and at their borders."""
    cell = make("xlstm-mlstm")
    xs = torch.randn(150, BATCH, INPUT, dtype=torch.float64)
    resets = torch.rand(150, BATCH) < 0.02
    resets[64, 1] = True
    ys, last = cell.sequence(xs, cell.initial_state(BATCH), resets)
    wanted, after = Cell.sequence(cell, xs, cell.initial_state(BATCH), resets)
    torch.testing.assert_close(ys, wanted, rtol=1e-9, atol=1e-9)
    for got, leaf in zip(states.leaves(last), states.leaves(after), strict=True):
        torch.testing.assert_close(got, leaf, rtol=1e-9, atol=1e-9)


def test_a_mogrifier_of_no_rounds_is_the_lstm() -> None:
    """Rounds gate input and state; without any there is torch's LSTM."""
    cell = make("mogrifier-lstm", rounds=0)
    theirs = nn.LSTM(INPUT, HIDDEN).double()
    with torch.no_grad():
        for ours, name in zip(cell.weight.split([INPUT, HIDDEN], 1), ("ih", "hh"), strict=True):
            getattr(theirs, f"weight_{name}_l0").copy_(ours)
        theirs.get_parameter("bias_ih_l0").copy_(cell.bias)
        theirs.get_parameter("bias_hh_l0").zero_()
    xs = torch.randn(TIME, BATCH, INPUT, dtype=torch.float64)
    torch.testing.assert_close(cell.sequence(xs, cell.initial_state(BATCH))[0], theirs(xs)[0])


def test_the_sru_starts_with_the_papers_highway() -> None:
    """Before training, what passes the reset gate is x itself, as in the paper."""
    chosen = choose("cell", "sru", "cell")
    cell = chosen.load()(HIDDEN, HIDDEN, chosen.options)
    x = torch.randn(BATCH, HIDDEN)
    *_, skip = F.linear(x, cell.weight_ih, cell.bias_ih).chunk(4, -1)
    torch.testing.assert_close(skip, x)


def test_the_rg_lru_starts_with_long_memories() -> None:
    """What a wide open recurrence gate keeps is between 0.9 and 0.999 at the start, as in the paper."""
    chosen = choose("cell", "rg-lru", "cell")
    kept = torch.sigmoid(chosen.load()(INPUT, 200, chosen.options).decay.detach()) ** 8
    assert 0.899 < float(kept.min()) < 0.91
    assert 0.99 < float(kept.max()) < 0.9991


@pytest.mark.parametrize("name", ["xlstm-slstm", "xlstm-mlstm"])
def test_units_divide_among_heads(name: str) -> None:
    """Heads that are asked for must divide the units, or the error says what would do; else any size is taken."""
    assert [make(name, INPUT, size).num_heads for size in (8, 10, 7)] == [4, 2, 1]
    with pytest.raises(UsageError, match="10 units are not divisible by 4 heads: give --hidden-size 12"):
        make(name, INPUT, 10, num_heads=4)


def test_the_norms_stand_over_products_without_a_bias() -> None:
    """The layer-norm LSTM learns and stores no bias of its products."""
    names = set(make("layer-norm-lstm").state_dict())
    assert names == {"weight_ih", "weight_hh", "gain_x", "gain_h", "bias", "gain_c", "bias_c"}


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_trains_a_language_model(name: str, tmp_path: Path) -> None:
    """Two layers of it, under its own name as the model's, learn a short text."""
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat and the dog lay by the door\n" * 60, encoding="utf-8")
    model = lmkit.train(
        text, model=name, out=tmp_path / "run", tokenizer="word", min_count=1, hidden_size=16, num_layers=2,
        batch_size=4, bptt=16, max_steps=40, dropout=0.0, learning_rate=0.03, reset="line", threads=1,
    )  # fmt: skip
    perplexity = model.score(text.read_text(encoding="utf-8")).perplexity
    assert perplexity is not None
    assert perplexity < 6  # without the words before: 10
