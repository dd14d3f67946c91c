"""Choose a gated cell's tier for a window, make its kernels, and save what a resumed run needs to choose alike.

The tiers give the same numbers except for the last bits. `auto` takes torch's own kernel where the cell is torch's
and that kernel is fast; in training compiled steps, once the cell has worked long enough to pay for compiling;
else the loop. Nothing here depends on the clock, so that a resumed run computes the bits of one that never stopped.
"""

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lmkit.neural.linear import mkl_leads
from lmkit.notes import NOTE
from lmkit.recurrence import compiling
from lmkit.recurrence.gpu.kernel import WindowKernel, make_window_kernel
from lmkit.recurrence.gpu.trial import try_kernel
from lmkit.recurrence.interfaces import AnyCell, Gated
from lmkit.recurrence.kernels import StepKernels
from lmkit.recurrence.linear_scan import reset_steps
from lmkit.recurrence.tracing import NotCompilableError

Tensors = tuple[Tensor, ...]

TIERS = {
    "auto": "the fastest that fits",
    "torch": "torch's own kernel",
    "compiled": "compiled steps in training; on a GPU one kernel for a window where it fits",
    "loop": "a loop over the steps, with the products of all inputs before it",
    "plain": "a loop over the cell's definition",
    "own": "the cell's own way through a sequence",
}
"""The tiers and what they do; "own" cannot be asked for."""

COMPILE_AFTER = 500_000_000_000
"""Multiplications after which `auto` compiles: about half a minute of one core, a few times what compiling takes."""
STEP_OVERHEAD = 3_000_000
"""The cost of a step besides its products, in multiplications."""
LEAST_STEPS_PER_RESET = 12
"""Torch's kernel, whose calls end at each reset, pays from this many steps for each step with a reset."""
LEAST_STEPS_BESIDE_COMPILED = 24
"""The same beside compiled steps, on a CPU that is not Intel's: there a reset costs torch's kernel 2 to 4 steps."""
_WITH_WINDOW_KERNELS = {"cuda"}
"""Devices that run kernels for whole windows."""

MOST_KERNELS = 8
"""A cell is compiled for at most this many shapes and settings; with more, compiling would never pay."""

log = logging.getLogger(__name__)


@dataclass
class _History:
    """What a cell has done so far, besides its weights.

    work: multiplications in training, by batch size. kernels: of a step and of a window, by everything that they
    depend on; None where there is none.
    given_up: compile nothing more. announced: tiers that the log has named.
    """

    work: Counter[int] = field(default_factory=Counter)
    kernels: dict[Hashable, StepKernels] = field(default_factory=dict)
    window_kernels: dict[Hashable, WindowKernel | None] = field(default_factory=dict)
    given_up: bool = False
    announced: set[str] = field(default_factory=set)


# Beside the cells and not in them, so that a copy or a saved cell has no kernels in it.
_HISTORIES: WeakKeyDictionary[object, _History] = WeakKeyDictionary()


def pick(cell: Gated, xs: Tensor, resets: Tensor | None) -> str:
    """The tier for a window xs (time, batch, input_size); "compiled" only if kernels can be expected."""
    if cell.tier in ("loop", "plain"):
        return cell.tier
    if takes_torch(cell, xs, resets) and not _compiled_leads(cell, xs, resets):
        return "torch"
    if _compilable(cell, xs) and (cell.tier == "compiled" or _worked_enough(cell, xs)):
        return "compiled"
    return "loop"


def takes_torch(cell: Gated, xs: Tensor, resets: Tensor | None) -> bool:
    """Whether the tier for a window is torch's own kernel."""
    return cell.tier == "torch" or (cell.tier == "auto" and _torch_pays(cell, xs, resets))


def kernels_for(cell: Gated, xs: Tensor, state: tuple[Tensor, ...]) -> StepKernels | None:
    """The kernels for xs (time, batch, input_size), made at the first call; None, with one note, if none can be.

    state: the state that `gates` takes.
    """
    history = _history(cell)
    rows = xs.shape[1]
    key = (
        rows,
        xs.dtype,
        xs.device,
        tuple(s.shape for s in state),
        torch.get_num_threads(),
        _settings(cell),
    )
    if key in history.kernels:
        return history.kernels[key]
    name = type(cell).__name__
    try:
        if len(history.kernels) >= MOST_KERNELS:
            raise NotCompilableError("its shapes or settings change again and again")
        log.info("%s: compiling its step for a batch of %d (some seconds, less in later runs)", name, rows)
        x = xs.new_empty(rows, len(cell.bias_ih))
        history.kernels[key] = compiling.make_kernels(cell, x, state, compiling.compiled)
    except NotCompilableError as error:
        history.given_up = True
        log.log(
            NOTE, "%s: its step is not compiled, since %s; the loop is used, which is slower", name, error
        )
        return None
    return history.kernels[key]


def window_kernel_for(
    cell: Gated, xs: Tensor, run: Callable[[WindowKernel, Tensor, Tensors, Tensor], tuple[Tensor, Tensors]]
) -> WindowKernel | None:
    """The kernel for windows like xs (time, batch, input_size), made and tried by `run` at the first call, or None.

    Without one, which the log says once, the cell's steps are compiled.
    """
    if xs.device.type not in _WITH_WINDOW_KERNELS:
        return None
    history = _history(cell)
    key = (xs.shape[1], xs.dtype, xs.device, _settings(cell))
    if key not in history.window_kernels:
        name = type(cell).__name__
        history.window_kernels[key] = None
        try:
            if len(history.window_kernels) > MOST_KERNELS:
                raise NotCompilableError("its shapes or settings change again and again")
            log.info("%s: compiling a kernel for whole windows (some seconds, less in later runs)", name)
            kernel = make_window_kernel(cell)
            if not kernel.fits(xs):
                raise NotCompilableError("its windows are too large for the processors of this GPU")
            try_kernel(cell, xs, partial(run, kernel))
            history.window_kernels[key] = kernel
        except NotCompilableError as error:
            log.info("%s: no kernel for whole windows, since %s", name, error)
    kernel = history.window_kernels[key]
    return kernel if kernel is not None and kernel.fits(xs) else None


def announce(cell: AnyCell, tier: str) -> None:
    """Name a cell's tier in the log, the first time that it is used."""
    announced = _history(cell).announced
    if tier not in announced:
        announced.add(tier)
        log.info("%s: %s", type(cell).__name__, TIERS[tier])


def progress(module: nn.Module) -> dict[str, dict[str, int]]:
    """The work of each cell of a module by batch size, for a checkpoint; it decides when the cell is compiled."""
    return {
        name: {str(rows): work for rows, work in _HISTORIES[cell].work.items()}
        for name, cell in module.named_modules()
        if cell in _HISTORIES and _HISTORIES[cell].work
    }


def restore_progress(module: nn.Module, saved: Mapping[str, Mapping[str, int]]) -> None:
    """Restore the work that `progress` gave; a cell that it does not name begins with none."""
    for name, cell in module.named_modules():
        if name in saved:
            _history(cell).work = Counter({int(rows): work for rows, work in saved[name].items()})
        elif cell in _HISTORIES:
            _history(cell).work.clear()


def _history(cell: object) -> _History:
    return _HISTORIES.setdefault(cell, _History())


def _torch_pays(cell: Gated, xs: Tensor, resets: Tensor | None) -> bool:
    kernel = cell.torch_kernel()
    # On a CPU only the LSTM is in oneDNN; torch's other two are loops, no faster than the one here.
    if kernel is None or (xs.device.type == "cpu" and kernel is not torch.lstm):
        return False
    return len(xs) >= LEAST_STEPS_PER_RESET * len(reset_steps(resets))


def _compiled_leads(cell: Gated, xs: Tensor, resets: Tensor | None) -> bool:
    """Whether compiled steps are there and faster than torch's kernel by pieces; if not there yet, count the window."""
    few = len(xs) >= LEAST_STEPS_BESIDE_COMPILED * len(reset_steps(resets))
    if few or cell.tier != "auto" or xs.device.type != "cpu" or mkl_leads():
        return False
    return _compilable(cell, xs) and _worked_enough(cell, xs)


def _compilable(cell: Gated, xs: Tensor) -> bool:
    kind = xs.device.type
    # Autocast chooses a type for each operation, which a kernel made beforehand cannot follow.
    return (
        torch.is_grad_enabled()
        and kind in ("cpu", "cuda")
        and not torch.is_autocast_enabled(kind)
        and not _history(cell).given_up
    )


def _worked_enough(cell: Gated, xs: Tensor) -> bool:
    """Whether the cell has done enough work with this batch size to be compiled; if not, count this window."""
    time, rows, _ = xs.shape
    work = _history(cell).work
    enough = work[rows] >= COMPILE_AFTER
    if not enough:
        projection = cell.projection()
        product = cell.weight_hh.numel() if cell.recurrent else 0
        product += 0 if projection is None else projection.weight.numel()
        # Forward, and twice as much backward.
        work[rows] += time * (3 * rows * product + STEP_OVERHEAD)
    return enough


def _settings(cell: Gated) -> Hashable:
    """The plain values that `gates` may read from the cell: training or not, a temperature, a size."""
    plain = (bool, int, float, str)
    return tuple(
        (name, value)
        for module in cell.modules()
        for name, value in vars(module).items()
        if isinstance(value, plain)
    ) + tuple(p.requires_grad for p in cell.parameters())
