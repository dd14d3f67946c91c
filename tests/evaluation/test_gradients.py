"""Gradient curves: what is found step by step equals what autograd and a loop by hand give."""

from typing import Any

import numpy as np
import pytest
import torch
from lmkit_recurrent.model import RecurrentLanguageModel
from torch import Tensor, nn

from lmkit import states
from lmkit.contracts import Tokenizer
from lmkit.corpus.readers import Text
from lmkit.errors import DataError
from lmkit.evaluation import gradients
from lmkit.evaluation.context import Stream, read_stream
from lmkit.evaluation.gradients import GradientCurves, gradient_curves, part_names, recurrent_weights, targets
from lmkit.notes import NOTE
from lmkit.options import choose
from lmkit.recurrence import Cell, LinearCell
from lmkit.states import State

LINES = ["the cat sat on the mat and the dog lay by the door", "a bird sang in the tree by the old house"] * 6
STEPS = 6


class Averaging(Cell):
    """A cell of no class that the engine knows: y = tanh(U h), h a running mean of its inputs."""

    def __init__(self, input_size: int, hidden_size: int, options: Any = None) -> None:
        super().__init__(input_size, hidden_size, options)
        self.read = nn.Linear(input_size, hidden_size)
        self.write = nn.Linear(hidden_size, hidden_size)

    def initial_state(self, batch_size: int) -> State:
        return self.read.weight.new_zeros(batch_size, self.hidden_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        assert isinstance(state, Tensor)
        h = 0.7 * state + 0.3 * torch.tanh(self.read(x) + self.write(state))
        return torch.tanh(self.write(h)), h


class Minimal(LinearCell):
    """h = (1 - z) h + z x': a linear cell (minGRU)."""

    def coefficients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        gate, new = z.chunk(2, -1)
        gate = torch.sigmoid(gate)
        return 1 - gate, gate * new


def tokenizer() -> Tokenizer:
    chosen = choose("tokenizer", {"name": "word", "min_count": 1}, "tokenizer")
    return chosen.load().fit(LINES, chosen.options)


def recurrent(cell: Any = "gru", **options: Any) -> tuple[RecurrentLanguageModel, Stream]:
    words = tokenizer()
    name = cell if isinstance(cell, str) else "gru"
    torch.manual_seed(0)
    table = {"name": "recurrent", "cell": name, "hidden_size": 5, "dropout": 0.0, "reset": "never", **options}
    model = RecurrentLanguageModel(choose("model", table, "model").options, words.vocabulary)
    if not isinstance(cell, str):
        model.stack.layers[0] = cell(5, 5)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.5)
    return model.double().eval(), read_stream(model, words, Text.from_lines(LINES))


VARIANTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "rnn": ("rnn", {}),
    "lstm": ("lstm", {}),
    "gru": ("gru", {}),
    "two layers": ("lstm", {"num_layers": 2, "residual": True}),
    "projected": ("lstm", {"projection_size": 3, "projection_clip": 2.0}),
    "any cell": (Averaging, {}),
    "linear": (Minimal, {}),
}


def by_hand(model: RecurrentLanguageModel, stream: Stream, place: int) -> tuple[np.ndarray, float]:
    """Norms by the whole state k = 1 to STEPS steps before a token, and of the gradient by the recurrent weights."""
    ids = torch.from_numpy(stream.ids)[None]
    weights = list(recurrent_weights(model).values())
    norms = []
    total = 0.0
    for k in range(1, STEPS + 1):
        with torch.no_grad():
            before = model.initial_state(1)[1]  # the stream is shorter than gradients.HISTORY
            state = model.features(ids[:, : place - k], before)[1]
        state = states.apply(lambda leaf: leaf.clone().requires_grad_(), state)
        features, _ = model.features(ids[:, place - k : place], state)
        loss = -torch.log_softmax(model.output.logits(features[:, -1]), -1)[0, ids[0, place]]
        found = torch.autograd.grad(loss, [*states.leaves(state), *weights], allow_unused=True)
        parts = [0.0 if g is None else float(g.square().sum()) for g in found]
        leaves = len(states.leaves(state))
        norms.append(sum(parts[:leaves]) ** 0.5)
        total = sum(parts[leaves:]) ** 0.5
    return np.array(norms), total


@pytest.mark.parametrize("name", VARIANTS)
def test_norms_are_those_of_autograd(name: str) -> None:
    """By the state k steps back, the gradient is that of a fresh run from there; by the weights, that of the window."""
    cell, options = VARIANTS[name]
    model, stream = recurrent(cell, **options)
    places = np.array([20, 33, 51])
    curves = gradient_curves(model, stream, places, STEPS)
    wanted = [by_hand(model, stream, int(place)) for place in places]
    assert curves.state["all"] == pytest.approx(np.mean([norms for norms, _ in wanted], 0), rel=1e-6)
    assert curves.total == pytest.approx(np.mean([total for _, total in wanted]), rel=1e-6)
    assert curves.windows == 3
    assert curves.shares is not None
    assert curves.shares.sum() == pytest.approx(1)


def test_each_step_adds_its_part() -> None:
    """The parts of the recurrent gradient are those of a separate weight per step, and sum to the whole."""
    model, stream = recurrent("rnn")
    place = 30
    curves = gradient_curves(model, stream, np.array([place]), STEPS)
    cell = model.stack.layers[0]
    ids = torch.from_numpy(stream.ids)[None]
    with torch.no_grad():
        state = model.features(ids[:, : place - STEPS], model.initial_state(1)[1])[1]
    h = states.leaves(state)[0]
    copies = [cell.weight_hh.detach().clone().requires_grad_() for _ in range(STEPS)]
    for step, weight in enumerate(copies):
        x = model.embedding(ids[:, place - STEPS + step])
        h = torch.tanh(x @ cell.weight_ih.T + cell.bias_ih + h @ weight.T + cell.bias_hh)
    loss = -torch.log_softmax(model.output.logits(h), -1)[0, ids[0, place]]
    parts = torch.autograd.grad(loss, copies)
    norms = [float(part.norm()) for part in reversed(parts)]
    assert curves.weights == pytest.approx(np.array(norms), rel=1e-6)
    assert curves.total == pytest.approx(float(sum(parts[1:], parts[0]).norm()), rel=1e-6)


def test_parts_are_named_as_cells_name_them() -> None:
    """An LSTM's h and c are told apart in every layer, and together they are the whole state."""
    model, stream = recurrent("lstm", num_layers=2)
    assert part_names(model) == [(0, "h"), (0, "c"), (1, "h"), (1, "c")]
    curves = gradient_curves(model, stream, np.array([25]), STEPS)
    h, c, whole = (curves.state[name] for name in ("h", "c", "all"))
    assert np.hypot(h, c) == pytest.approx(whole)
    assert np.hypot(curves.layers[0]["c"], curves.layers[1]["c"]) == pytest.approx(c)
    assert (curves.memory == c).all()
    projected, _ = recurrent("lstm", projection_size=3)
    assert part_names(projected) == [(0, "r"), (0, "h"), (0, "c")]
    assert part_names(recurrent(Averaging)[0]) == [(0, "state 1")]


def test_recurrent_weights() -> None:
    """They are W_hh of each layer, or all weights of a cell that has none of that name; tiers stay as they were."""
    assert list(recurrent_weights(recurrent("gru", num_layers=2)[0])) == [
        "stack.layers.0.weight_hh",
        "stack.layers.1.weight_hh",
    ]
    assert list(recurrent_weights(recurrent(Minimal)[0])) == ["stack.layers.0.weight", "stack.layers.0.bias"]
    model, stream = recurrent("gru", tier="loop")
    gradient_curves(model, stream, np.array([20]), 2)
    assert model.stack.layers[0].tier == "loop"
    assert all(weight.grad is None for weight in model.parameters())


def test_ratio_and_far_share() -> None:
    """The ratio is of 50 steps back over 5; the far share is of what lies more than 10 steps back."""
    norms = 2.0 ** -np.arange(1, 61)
    curves = GradientCurves({"all": norms}, [], norms**2, np.ones(60), 7.0, 1)
    assert curves.ratio == pytest.approx(2.0**-45)
    assert curves.median_ratio == pytest.approx(2.0**-90)
    assert curves.far_share == pytest.approx(50 / 60)
    assert GradientCurves({"all": norms[:20]}, [], norms[:20], None, None, 1).ratio is None


def test_medians_are_of_windows() -> None:
    """Over windows, of the norms for the memory: the same as from windows that are measured one by one."""
    model, stream = recurrent("lstm")
    places = np.array([20, 25, 30])
    alone = [gradient_curves(model, stream, places[i : i + 1], 6).memory for i in range(3)]
    np.testing.assert_allclose(
        gradient_curves(model, stream, places, 6).medians, np.median(alone, 0), rtol=1e-5
    )


def test_targets_lie_within_lines(caplog: pytest.LogCaptureFixture) -> None:
    """A window crosses a line only where lines are too short, and never a reset; then there are fewer steps."""
    _, stream = recurrent()
    line_of = np.cumsum(stream.begins)
    places, steps = targets(stream, steps=7, windows=10)
    assert (len(places), steps) == (10, 7)
    assert (line_of[places] == line_of[places - 7]).all()
    places, steps = targets(stream, steps=40, windows=10)
    assert (len(places), steps) == (10, 40)
    lines = Stream(stream.lines, stream.ids, stream.begins, stream.begins)
    with caplog.at_level(NOTE):
        places, steps = targets(lines, steps=40, windows=10)
    assert (len(places), steps) == (6, 13)
    assert "gradients go back 13 steps" in caplog.text
    with pytest.raises(DataError, match="--no-gradients"):
        targets(Stream([], stream.ids, np.ones_like(stream.begins), np.ones_like(stream.begins)))


def test_states_before_windows_are_those_of_reading() -> None:
    """A window begins in the state that its reset and the tokens since lead to."""
    model, stream = recurrent(reset="line")
    with torch.no_grad():
        wanted = model.features(torch.from_numpy(stream.ids[13 + 1 : 17])[None], model.initial_state(1)[1])[1]
    line = 14
    assert stream.begins[line]
    found = gradients._state_before(model, stream, 17)
    for a, b in zip(states.leaves(found), states.leaves(wanted), strict=True):
        assert torch.allclose(a, b)


def test_which_models_have_states() -> None:
    """A network that sees a window of ids has no state that a gradient reaches."""
    words = tokenizer()
    chosen = choose("model", {"name": "window", "order": 3, "hidden_size": 4}, "model")
    assert not gradients.has_states(chosen.load()(chosen.options, words.vocabulary))
    assert gradients.has_states(recurrent()[0])
