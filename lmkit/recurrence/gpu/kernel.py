"""Make the two Triton kernels that walk a whole window of a gated cell, and launch them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import GraphModule

from lmkit.host_copies import send
from lmkit.recurrence.gpu.follow import follow
from lmkit.recurrence.gpu.operations import HELPERS
from lmkit.recurrence.gpu.source import RECURRENT, backward_kernel, forward_kernel
from lmkit.recurrence.gpu.tiles import NoTilesError, Steps
from lmkit.recurrence.gpu.writer import Kernel, Layout, Panel, padded
from lmkit.recurrence.interfaces import Gated
from lmkit.recurrence.tracing import NotCompilableError, Step, traced, traced_step
from lmkit.recurrence.window import Window

TRACED_ROWS = 2
"""A step is traced for this batch; the kernels take any."""

MOST_ELEMENTS = 2**31
"""Kernels count the elements of a tensor with 32 bits."""


class Sizes(NamedTuple):
    """How the programs of a kernel share a window. rows, units: of one program, powers of 2 from 16."""

    rows: int
    units: int

    def slices(self, units: int) -> int:
        """Programs for the same rows."""
        return -(-units // self.units)

    def groups(self, batch: int) -> int:
        """Programs for the same units."""
        return -(-batch // self.rows)

    def programs(self, batch: int, units: int) -> int:
        """Programs in all."""
        return self.groups(batch) * self.slices(units)


def sizes(batch: int, units: int, processors: int) -> Sizes | None:
    """The smallest sizes whose programs can all run at the same time on a GPU; None if there are always too many.

    Programs wait for one another, so each needs a processor. Of equal sizes, more rows read the weights less often.
    """
    choices = [Sizes(rows, own) for rows in (16, 32, 64) for own in (16, 32, 64)]
    found = [choice for choice in choices if choice.programs(batch, units) <= processors]
    return min(found, key=lambda choice: (choice.rows * choice.units, choice.units), default=None)


@dataclass(frozen=True)
class WindowKernel:
    """The kernels of a cell for a window, of any length and batch.

    own, trained: as in `Step`. parameters: the placeholders of both graphs for b_hh, where x and h are separate, and
    `own`. places: of the elements of matrices, as each device has them.
    """

    own: tuple[str, ...]
    trained: tuple[bool, ...]
    layout: Layout
    steps: tuple[Steps, Steps]
    kernels: tuple[Kernel, Kernel]
    functions: tuple[Any, Any]
    parameters: tuple[str, ...]
    places: dict[Any, Tensor] = field(default_factory=dict)

    def fits(self, xs: Tensor) -> bool:
        """Whether a window xs (time, batch, ...) can be run on its device."""
        time, batch, _ = xs.shape
        width = self.layout.units * max(self.layout.gates, *self.layout.states)
        few = (time + 1) * batch * width < MOST_ELEMENTS
        return few and self._sizes(xs) is not None and xs.dtype in (torch.float32, torch.bfloat16)

    def _sizes(self, xs: Tensor) -> Sizes | None:
        processors = torch.cuda.get_device_properties(xs.device).multi_processor_count if xs.is_cuda else 1
        return sizes(xs.shape[1], self.layout.units, processors)

    def launch(
        self, backward: bool, window: Window, tensors: Mapping[str, Tensor], resets: Tensor | None
    ) -> None:
        """Run a kernel. tensors: what it reads and writes, by the names in `source`."""
        kernel, xs, units = self.kernels[backward], window.xs, self.layout.units
        (time, batch, _), shared = xs.shape, self._sizes(xs)
        assert shared is not None
        slices = shared.slices(units)
        outer = self._outer(backward, window)
        given = {
            **tensors,
            "resets": xs.new_empty(0) if resets is None else resets.view(torch.uint8),
            "count": xs.new_zeros(shared.groups(batch), dtype=torch.int32),
            "parts": xs.new_empty(kernel.totals * 2 * slices, batch, dtype=torch.float32),
            **{f"o_{name}": outer[name].contiguous() for name in kernel.outer},
        }
        for number, panel in enumerate(kernel.panels):
            given[f"panel{number}"] = xs.new_zeros(2, batch, panel.tiles * padded(units))
            places = self._places(panel, slices * shared.units, xs.device)
            elements = torch.cat([outer[panel.weight].flatten(), outer[panel.weight].new_zeros(1)])
            given[f"weight{number}"] = elements[places].to(xs.dtype)
        exact = xs.dtype != torch.float32 or not torch.backends.cuda.matmul.allow_tf32
        self.functions[backward][(shared.programs(batch, units),)](
            *(given[name] for name in kernel.pointers),
            *(time, batch, slices, *shared, resets is not None, "ieee" if exact else "tf32"),
            # All programs run at the same time, or the launch fails.
            **({"launch_cooperative_grid": True} if xs.is_cuda else {}),
        )

    def _outer(self, backward: bool, window: Window) -> dict[str, Tensor]:
        """What is the same in all rows, in float32."""
        bias, weight = window.weights.bias_hh, window.weights.weight_hh
        own = window.own if bias is None or not self.layout.separate else [bias, *window.own]
        values = {name: tensor.float() for name, tensor in zip(self.parameters, own, strict=True)}
        outer = self.steps[backward].outer(values)
        return outer if weight is None else outer | {RECURRENT: weight}

    def _places(self, panel: Panel, width: int, device: torch.device) -> Tensor:
        """The places of the elements of a panel's matrices (products, tiles * padded units, width); -1 around them."""
        key = (id(panel), width, device)
        if key not in self.places:
            units = self.layout.units
            around = (0, width - units, 0, padded(units) - units)
            wide = F.pad(panel.places.unflatten(1, (panel.tiles, units)), around, value=-1)
            self.places[key] = send(wide.flatten(1, 2).to(torch.int32), device)
        return self.places[key]


def make_window_kernel(cell: Gated) -> WindowKernel:
    """The kernels of a cell, written and loaded; Triton compiles them when they first run.

    Raises NotCompilableError, which says why there are none.
    """
    if cell.projection() is not None:
        raise NotCompilableError("its output is projected")
    state = cell.initial_state(TRACED_ROWS)
    units, gates = state[0].shape[-1], len(cell.bias_ih)
    if any(part.dim() != 2 or part.shape[1] % units for part in state) or gates % units:
        raise NotCompilableError("its gates or its state are not multiples of its units")
    step = traced_step(cell, cell.bias_ih.new_empty(TRACED_ROWS, gates), state)
    layout = Layout(
        units,
        gates // units,
        [part.shape[1] // units for part in state],
        step.summed,
        step.separate,
        step.reads_output,
        any(step.trained),
    )
    try:
        parameters, *steps = _followed(step, layout, state)
        kernels = forward_kernel(steps[0], layout), backward_kernel(steps[1], layout)
        functions = _loaded(kernels)
    except (NoTilesError, ImportError) as error:
        raise NotCompilableError(f"its step cannot be shared by programs ({error})") from error
    return WindowKernel(step.own, step.trained, layout, (steps[0], steps[1]), kernels, functions, parameters)


def _followed(step: Step, layout: Layout, state: Sequence[Tensor]) -> tuple[tuple[str, ...], Steps, Steps]:
    """The names of the placeholders without rows, and the step both ways."""
    from torch._inductor.decomposition import select_decomp_table

    with torch.no_grad():
        inputs, d_new, d_loss, _ = step.examples(
            step.cell.bias_ih.new_empty(TRACED_ROWS, layout.gates * layout.units), state
        )
        read = inputs.flat()
        forward = traced(step.forward, read, select_decomp_table())
        backward = traced(step.backward, [*read, *d_new.flat(), d_loss], select_decomp_table())
    separate = ["product", None] if layout.separate else []
    sources = ["x", *separate, *(f"s{part}" for part in range(len(state))), *[None] * len(step.own)]
    gradients = ["d_gates"] * layout.reads_output + ["d_product"] * layout.recurrent
    gradients += [f"c{part}" for part in range(1, len(state))] + ["c0"]
    _drop_last_outputs(backward, sum(step.trained))
    return (
        tuple(
            node.name
            for node, source in zip(forward.graph.find_nodes(op="placeholder"), sources, strict=True)
            if source is None
        ),
        follow(forward.graph, sources, TRACED_ROWS, layout.units),
        follow(backward.graph, [*sources, *gradients], TRACED_ROWS, layout.units),
    )


def _drop_last_outputs(graph: GraphModule, count: int) -> None:
    """Leave out the last outputs, and all that only they need."""
    output = graph.graph.output_node()
    (outputs,) = output.args
    output.args = (tuple(outputs)[: len(outputs) - count],)  # pyright: ignore
    graph.graph.eliminate_dead_code()


def _loaded(kernels: Sequence[Kernel]) -> tuple[Any, Any]:
    """The functions of the kernels, from a file in inductor's cache, since Triton reads a function's source."""
    from torch._inductor.codecache import PyCodeCache

    module = PyCodeCache.load("\n\n".join([HELPERS, *(kernel.source for kernel in kernels)]))
    forward, backward = (getattr(module, kernel.name) for kernel in kernels)
    return forward, backward
