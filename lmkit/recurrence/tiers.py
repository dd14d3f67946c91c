"""Which way a gated cell takes through a window, and what a run must remember to take the same one again.

The ways give the same numbers but for their last bits. `auto` takes torch's own kernel where the cell is torch's
and that kernel is fast; in training compiled steps, once the cell has worked long enough to pay for compiling;
else the loop. Nothing in this depends on the clock, so that a resumed run goes as one that never stopped.
"""

import logging
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lmkit.notes import NOTE
from lmkit.recurrence.linear_scan import reset_steps

if TYPE_CHECKING:
    from lmkit.recurrence.cells import GatedCell
    from lmkit.recurrence.kernels import StepKernels

TIERS = {
    "auto": "the fastest that fits",
    "torch": "torch's own kernel",
    "compiled": "compiled steps in training",
    "loop": "a loop over the steps, with the products of all inputs before it",
    "plain": "a loop over the cell's definition",
    "own": "the cell's own way through a sequence",
}
"""The tiers and what they are; "own" is never asked for."""

PATIENCE = 500_000_000_000
"""Multiplications after which `auto` compiles: about half a minute of one core, a few times what compiling takes."""
STEP_WORK = 3_000_000
"""What a step costs besides its products, in multiplications."""
PIECE = 12
"""Steps for each step with a reset, from which on torch's kernel pays although every reset ends a call of it."""
MOST_KERNELS = 8
"""Shapes and settings for which one cell is compiled; more of them say that compiling never pays."""

log = logging.getLogger(__name__)


@dataclass
class _Past:
    """What is known of a cell besides its weights.

    work: multiplications done in training, by the batch size. kernels: by all that they depend on.
    given_up: nothing more is compiled. said: tiers that the log has named.
    """

    work: Counter[int] = field(default_factory=Counter)
    kernels: dict[Hashable, "StepKernels"] = field(default_factory=dict)
    given_up: bool = False
    said: set[str] = field(default_factory=set)


# Beside the cells and not in them, so that a copy or a saved cell has no kernels in it.
_PASTS: WeakKeyDictionary[nn.Module, _Past] = WeakKeyDictionary()


def pick(cell: "GatedCell", xs: Tensor, resets: Tensor | None) -> str:
    """The tier for a window xs (time, batch, input_size); "compiled" only if kernels can be expected."""
    if cell.tier in ("torch", "loop", "plain"):
        return cell.tier
    if cell.tier == "auto" and _torch_pays(cell, xs, resets):
        return "torch"
    if _compilable(cell, xs) and (cell.tier == "compiled" or _waited(cell, xs)):
        return "compiled"
    return "loop"


def kernels_for(cell: "GatedCell", xs: Tensor, state: tuple[Tensor, ...]) -> "StepKernels | None":
    """The kernels for xs (time, batch, input_size), made at the first call; None, said once, if none can be.

    state: what `gates` takes.
    """
    past = _past(cell)
    rows = xs.shape[1]
    key = (
        rows,
        xs.dtype,
        xs.device,
        tuple(s.shape for s in state),
        torch.get_num_threads(),
        _settings(cell),
    )
    if key in past.kernels:
        return past.kernels[key]
    from lmkit.recurrence.kernels import NotCompilableError, compiled, make_kernels

    name = type(cell).__name__
    try:
        if len(past.kernels) >= MOST_KERNELS:
            raise NotCompilableError("its shapes or settings change again and again")
        log.info("%s: compiling its step for a batch of %d (some seconds, less in later runs)", name, rows)
        past.kernels[key] = make_kernels(cell, xs.new_empty(rows, len(cell.bias_ih)), state, compiled)
    except NotCompilableError as error:
        past.given_up = True
        log.log(
            NOTE, "%s: its step is not compiled, since %s; the loop is used, which is slower", name, error
        )
        return None
    return past.kernels[key]


def announce(cell: nn.Module, tier: str) -> None:
    """Say in the log which way a cell takes, when it takes it first."""
    said = _past(cell).said
    if tier not in said:
        said.add(tier)
        log.info("%s: %s", type(cell).__name__, TIERS[tier])


def progress(module: nn.Module) -> dict[str, dict[str, int]]:
    """What decides when the cells of a module are compiled, for a checkpoint: work by cell and batch size."""
    return {
        name: {str(rows): work for rows, work in _PASTS[cell].work.items()}
        for name, cell in module.named_modules()
        if cell in _PASTS and _PASTS[cell].work
    }


def restore_progress(module: nn.Module, saved: Mapping[str, Mapping[str, int]]) -> None:
    """Put back what `progress` gave of such a module; a cell that it does not name begins anew."""
    for name, cell in module.named_modules():
        if name in saved:
            _past(cell).work = Counter({int(rows): work for rows, work in saved[name].items()})
        elif cell in _PASTS:
            _past(cell).work.clear()


def _past(cell: nn.Module) -> _Past:
    return _PASTS.setdefault(cell, _Past())


def _torch_pays(cell: "GatedCell", xs: Tensor, resets: Tensor | None) -> bool:
    kernel = cell.torch_kernel()
    # On a CPU only the LSTM is in oneDNN; torch's other two are loops, no faster than the one here.
    if kernel is None or not (xs.is_cuda or kernel is torch.lstm):
        return False
    return len(xs) >= PIECE * len(reset_steps(resets))


def _compilable(cell: "GatedCell", xs: Tensor) -> bool:
    kind = xs.device.type
    # Autocast chooses a type for each operation, which a kernel made beforehand cannot follow.
    return (
        torch.is_grad_enabled()
        and kind in ("cpu", "cuda")
        and not torch.is_autocast_enabled(kind)
        and not _past(cell).given_up
    )


def _waited(cell: "GatedCell", xs: Tensor) -> bool:
    """Whether so much was done with this batch size that compiling pays; this window is then done too."""
    time, rows, _ = xs.shape
    work = _past(cell).work
    enough = work[rows] >= PATIENCE
    if not enough:
        projection = cell.projection()
        product = cell.weight_hh.numel() if cell.recurrent else 0
        product += 0 if projection is None else projection.weight.numel()
        # Forward, and twice as much backward.
        work[rows] += time * (3 * rows * product + STEP_WORK)
    return enough


def _settings(cell: nn.Module) -> Hashable:
    """The plain values that `gates` may read from the cell: training or not, a temperature, a size."""
    plain = (bool, int, float, str)
    return tuple(
        (name, value)
        for module in cell.modules()
        for name, value in vars(module).items()
        if isinstance(value, plain)
    ) + tuple(p.requires_grad for p in cell.parameters())
