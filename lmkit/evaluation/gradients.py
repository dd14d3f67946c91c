"""Measure how far back learning reaches: the gradient of a token's loss at the states and steps before it."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from lmkit import run_paths, runs, states
from lmkit.contracts import Encoder, LanguageModel
from lmkit.errors import DataError
from lmkit.evaluation.context import Stream, Watch
from lmkit.notes import NOTE
from lmkit.recipe import read_recipe
from lmkit.recurrence import Cell, GatedCell, NeuralLanguageModel, Recurrent
from lmkit.recurrence.projection import ProjectedCell
from lmkit.states import State

log = logging.getLogger(__name__)

STEPS = 64
WINDOWS = 64
HISTORY = 256
"""Tokens to read before a window, so that its first state is a typical one."""
ALL = "all"
"""The whole state: the parts of all layers together."""
MEMORY = "c"
"""The name of the memory beside the output, as in the LSTM."""
FAR, NEAR = 50, 5
"""The steps back whose ratio shows whether a gradient vanishes."""
FAR_SHARE = 10
"""Steps farther back than this are the far share of a gradient."""


@dataclass(frozen=True)
class GradientCurves:
    """Means over windows, arrays (steps,) whose entry k - 1 describes k steps before the token.

    state: Euclidean norms of the gradient of the loss with respect to the state from which the last k tokens are
    read, by part: ALL, then each name of a part, over all layers. layers: the same for each layer.
    medians: of `memory`, the medians over windows, since a few tokens can dominate a mean.
    weights: norms of the contribution of the step k places back to the gradient of the recurrent weights; None if
    no weights are known to be recurrent. total: the norm of their sum, the gradient itself.
    """

    state: Mapping[str, np.ndarray]
    layers: Sequence[Mapping[str, np.ndarray]]
    medians: np.ndarray
    weights: np.ndarray | None
    total: float | None
    windows: int

    @property
    def memory(self) -> np.ndarray:
        """The norms for the memory if a state has one (the LSTM's cell), else for the whole state."""
        return self.state.get(MEMORY, self.state[ALL])

    @property
    def ratio(self) -> float | None:
        """`memory` FAR steps back over NEAR steps back; None for shorter windows."""
        return _ratio(self.memory)

    @property
    def median_ratio(self) -> float | None:
        """The same of `medians`."""
        return _ratio(self.medians)

    @property
    def shares(self) -> np.ndarray | None:
        """(steps,) the norms of `weights` as shares of their sum."""
        if self.weights is None or not self.weights.sum() > 0:
            return None
        return self.weights / self.weights.sum()

    @property
    def far_share(self) -> float | None:
        """The share of the steps more than FAR_SHARE back."""
        return None if self.shares is None else float(self.shares[FAR_SHARE:].sum())


def _ratio(curve: np.ndarray) -> float | None:
    return float(curve[FAR - 1] / curve[NEAR - 1]) if len(curve) >= FAR and curve[NEAR - 1] > 0 else None


def has_states(model: LanguageModel) -> bool:
    """Whether gradients can reach a state of the model; not for n-grams and windows of ids."""
    if not isinstance(model, NeuralLanguageModel):
        return False
    return any(leaf.is_floating_point() for leaf in states.leaves(model.blank_state(1)))


def untrained(run: runs.LoadedRun) -> LanguageModel | Encoder:
    """The model of a run before training: the same options, and new weights from the run's seed.

    The seed of a run without a recipe (an imported one) is 0.
    """
    path = run.directory / run_paths.RECIPE
    seed = read_recipe(path).get("train", {}).get("seed", 0) if path.is_file() else 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = run.model_choice.load()(run.model_choice.options, run.tokenizer.vocabulary)
    model: LanguageModel | Encoder = made
    if isinstance(model, Encoder):
        model.use_tokenizer(run.tokenizer)
    if isinstance(made, nn.Module):
        made.to(run.model.device).eval()
    return model


def targets(stream: Stream, *, steps: int = STEPS, windows: int = WINDOWS) -> tuple[np.ndarray, int]:
    """Evenly spaced places of tokens from whose loss to go back, and the number of steps.

    A window is within one line if the text has enough such places, else between two resets of the model. If there
    are none, `steps` is lowered; DataError if no token has two tokens before it.
    """
    for starts in (stream.begins, stream.resets):
        before = _tokens_since(starts)
        places = np.flatnonzero(before >= steps)
        if len(places) >= windows:
            break
    if not len(places):
        steps = int(before.max(initial=0))
        places = np.flatnonzero(before >= steps)
        if steps < 2:
            raise DataError(
                "no line of the text has three tokens for a gradient to go back over; give another text, or "
                "--no-gradients"
            )
        log.log(NOTE, "the text has no longer stretches without a reset: gradients go back %d steps", steps)
    chosen = np.linspace(0, len(places) - 1, min(windows, len(places))).round().astype(np.int64)
    return places[chosen], steps


def _tokens_since(starts: np.ndarray) -> np.ndarray:
    """The number of tokens between each token and the last start at or before it; the first token is a start."""
    places = np.arange(len(starts))
    return places - np.maximum.accumulate(np.where(starts, places, 0))


def gradient_curves(
    model: NeuralLanguageModel, stream: Stream, places: np.ndarray, steps: int, *, watch: Watch = iter
) -> GradientCurves:
    """The mean curves of the losses of the tokens at `places`, each over `steps` steps back.

    dL/dW of a recurrent weight is the sum over steps of dL/da_s da_s/dW, with a_s the pre-activations of the step
    (Werbos, 1990, Proceedings of the IEEE 78(10)); Pascanu et al. (2013), arXiv:1211.5063, show why the
    terms from far back vanish while the sum does not. The window is read step by step by each cell's definition.
    """
    names = part_names(model)
    with _by_definition(model):
        found = [_window(model, stream, int(place), steps, names) for place in watch(list(places))]
    squares = np.mean([np.sqrt(window.parts) for window in found], 0)
    whole = np.array([np.sqrt(window.parts.sum(0)) for window in found])
    parts = list(dict.fromkeys(name for _, name in names))

    def over_layers(name: str) -> np.ndarray:
        """(windows, steps)"""
        rows = [row for row, (_, own) in enumerate(names) if own == name]
        return np.array([np.sqrt(window.parts[rows].sum(0)) for window in found])

    weights = [window.weights for window in found if window.weights is not None]
    layers: list[dict[str, np.ndarray]] = [{} for _ in range(1 + max(layer for layer, _ in names))]
    for curve, (layer, name) in zip(squares, names, strict=True):
        layers[layer][name] = curve
    return GradientCurves(
        {ALL: whole.mean(0), **{name: over_layers(name).mean(0) for name in parts}},
        layers,
        np.median(over_layers(MEMORY) if MEMORY in parts else whole, 0),
        np.mean(np.sqrt(weights), 0) if weights else None,
        float(np.mean([window.total for window in found])) if weights else None,
        len(found),
    )


def part_names(model: NeuralLanguageModel) -> list[tuple[int, str]]:
    """The layer and the name of each floating-point tensor of the network's state, as cells name them."""
    blank = model.blank_state(1)
    layers = _stack_layers(model, blank)
    parts = blank if layers and isinstance(blank, tuple) else (blank,)
    found = []
    for number, part in enumerate(parts):
        leaves = states.leaves(part)
        names = _cell_names(layers[number]) if layers else []
        if len(names) != len(leaves):
            names = [f"state {place}" for place in range(1, len(leaves) + 1)]
        found += [(number, n) for n, leaf in zip(names, leaves, strict=True) if leaf.is_floating_point()]
    return found


@dataclass
class _Window:
    """Of one window: parts (leaves, steps) and weights (steps,), squares of norms, and the gradient's norm."""

    parts: np.ndarray
    weights: np.ndarray | None
    total: float


def _window(
    model: NeuralLanguageModel, stream: Stream, place: int, steps: int, names: Sequence[tuple[int, str]]
) -> _Window:
    first = place - steps
    network = _state_before(model, stream, first)
    ids = torch.from_numpy(stream.ids[first : place + 1]).to(model.device)[None]
    weights = {name: w.detach().requires_grad_() for name, w in recurrent_weights(model).items()}
    reader = _Reader(model)
    added = torch.zeros(steps, dtype=torch.float64)
    tracked: list[Tensor] = []
    features = None
    with torch.enable_grad():
        for step in range(steps):
            # A separate node between two steps: the input of an upper layer within a step is not the state.
            network = states.apply(_node, network)
            tracked += [leaf for leaf in states.leaves(network) if leaf.is_floating_point()]
            own = {f"inner.{name}": w.view_as(w) for name, w in weights.items()}
            for w in own.values():
                w.register_hook(partial(_add_square, added, step))
            features, network = torch.func.functional_call(reader, own, (ids[:, step : step + 1], network))
        assert features is not None
        loss = -model.next_log_probs((features[:, -1], network))[0, ids[0, -1]]
        wanted = [*tracked, *weights.values()]
        gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    squares = [0.0 if g is None else float(g.double().square().sum()) for g in gradients]
    parts = np.array(squares[: len(tracked)]).reshape(steps, len(names)).T[:, ::-1]
    lags = added.numpy()[::-1] if weights else None
    return _Window(parts, lags, sum(squares[len(tracked) :]) ** 0.5)


def _add_square(sums: Tensor, step: int, gradient: Tensor) -> None:
    sums[step] += gradient.double().square().sum().cpu()


def _node(leaf: Tensor) -> Tensor:
    if not leaf.is_floating_point():
        return leaf
    return leaf.clone() if leaf.requires_grad else leaf.detach().clone().requires_grad_()


@torch.no_grad()
def _state_before(model: NeuralLanguageModel, stream: Stream, place: int) -> State:
    """The network's state, of one row, before the token at a place, HISTORY tokens or the last reset back."""
    low = max(0, place - HISTORY)
    begins = np.flatnonzero(stream.resets[low : place + 1])
    start = len(begins) > 0
    first = low + int(begins[-1]) if start else low
    network = cast(tuple[State, State], model.initial_state(1, start=start))[1]
    if first == place:
        return network
    ids = torch.from_numpy(stream.ids[first:place]).to(model.device)[None]
    return model.features(ids, network)[1]


def recurrent_weights(model: nn.Module) -> dict[str, Tensor]:
    """By name, W_hh of each cell of a model; of a cell without one, all its parameters."""
    found = {}
    for prefix, cell in _cells(model):
        own = dict(cell.named_parameters(prefix))
        found.update({n: p for n, p in own.items() if n.endswith("weight_hh")} or own)
    # A weight shared by two modules has one name, under which it can be replaced.
    names = {name for name, _ in model.named_parameters()}
    return {name: parameter for name, parameter in found.items() if name in names}


def _cells(model: nn.Module) -> list[tuple[str, Cell]]:
    """The cells of a model that are not part of another."""
    found: list[tuple[str, Cell]] = []
    for name, module in model.named_modules():
        if isinstance(module, Cell) and not any(name.startswith(f"{outer}.") for outer, _ in found):
            found.append((name, module))
    return found


def _stack_layers(model: NeuralLanguageModel, blank: State) -> list[Cell]:
    """The layers whose states make up the network's state; empty if it is something else."""
    shapes = [leaf.shape for leaf in states.leaves(blank)]
    for module in model.modules():
        if isinstance(module, Recurrent) and isinstance(blank, tuple) and len(module.layers) == len(blank):
            own = states.leaves(module.initial_state(1))
            if [leaf.shape for leaf in own] == shapes:
                return [cast(Cell, layer) for layer in module.layers]
    return []


def _cell_names(cell: Cell) -> list[str]:
    """A cell's names for the parts of its state; empty without names."""
    if isinstance(cell, ProjectedCell):
        return [*(["r"] if cell.weight_p is not None else []), *cell.cell.state_names]
    return list(cell.state_names) if isinstance(cell, GatedCell) else []


class _Reader(nn.Module):
    """A model's `features` as a `forward`, for `functional_call`."""

    def __init__(self, inner: NeuralLanguageModel) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        return self.inner.features(ids, state)


@contextmanager
def _by_definition(model: nn.Module) -> Iterator[None]:
    """Inside the block, every cell runs by its definition, which supports any gradient."""
    cells = [module for module in model.modules() if isinstance(module, Cell)]
    tiers = [cell.tier for cell in cells]
    try:
        for cell in cells:
            cell.use_tier("plain")
        yield
    finally:
        for cell, tier in zip(cells, tiers, strict=True):
            cell.use_tier(tier)
