"""Make the kernels of a gated cell's step: trace `gates` and their gradient, and compile both.

`gates` is traced once for each shape and compiled by torch's inductor (C++ on a CPU, Triton on a GPU). The kernels
are called without the checks that torch.compile makes at every call, which would cost as much as the step itself;
what those checks watch is in the key under which `tiers.kernels_for` keeps a kernel.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lmkit.errors import first_line, with_kind
from lmkit.recurrence.interfaces import Gated
from lmkit.recurrence.kernels import Kernel, StepKernels
from lmkit.recurrence.native import NativeLoop, NoLoopError, native_loop
from lmkit.recurrence.tracing import NotCompilableError, traced, traced_step

log = logging.getLogger(__name__)


def make_kernels(
    cell: Gated, x: Tensor, state: Sequence[Tensor], finish: Callable[..., Kernel]
) -> StepKernels:
    """The kernels of a cell for a step of this shape: x (batch, gates) and the state before.

    finish: makes a kernel of a function and of examples of its arguments, as `compiled` does.
    Raises NotCompilableError, which says why.
    """
    step = traced_step(cell, x, state)
    with torch.no_grad():
        inputs, d_new, d_loss, d_step = step.examples(x, state)
        read = [*inputs.flat(), *d_new.flat(), d_loss]
        new = [*inputs.flat(), *(torch.zeros_like(s, memory_format=torch.contiguous_format) for s in state)]
        forward = finish(_writing(step.forward, len(inputs.flat())), new)
        gradients = [*read, *d_step.flat()]
        backward = finish(_writing(step.backward, len(read), added=len(d_step.own)), gradients)
        loop = _native_loop(type(cell).__name__, (forward, new), (backward, gradients))
        return StepKernels(forward, backward, step.own, step.trained, step.summed, step.reads_output, loop)


def _native_loop(name: str, *steps: tuple[Kernel, Sequence[Tensor]]) -> NativeLoop | None:
    """The loop in C++ over both kernels, each with examples of its tensors; None, with a line in the log, without."""
    try:
        return native_loop(*steps)
    except NoLoopError as error:
        log.info("%s: Python calls its compiled steps, since %s", name, error)
        return None


def _writing(
    function: Callable[..., tuple[Tensor, ...]], inputs: int, *, added: int = 0
) -> Callable[..., tuple[()]]:
    """The function that writes what `function` returns to further arguments; the last `added` are added to."""

    def writing(*tensors: Tensor) -> tuple[()]:
        values = function(*tensors[:inputs])
        for index, (out, value) in enumerate(zip(tensors[inputs:], values, strict=True)):
            out.copy_(out + value if index >= len(values) - added else value)
        return ()

    return writing


def compiled(function: Callable[..., Any], tensors: Sequence[Tensor]) -> Kernel:
    """The function as a kernel, by inductor; NotCompilableError where that fails, as without a C++ compiler."""
    try:
        # Imported here: it takes seconds, and most runs compile nothing.
        from torch._guards import TracingContext, tracing
        from torch._inductor import config
        from torch._inductor.compile_fx import compile_fx_inner
        from torch._inductor.decomposition import select_decomp_table

        graph = traced(function, tensors, select_decomp_table())
        fakes = [node.meta["val"] for node in graph.graph.find_nodes(op="placeholder")]
        # inductor's own tanh is several times slower. The threads are named because what it keeps on disk for
        # later processes is otherwise the same for any number.
        options = {"cpp.use_decompose_tanh": True, "cpp.threads": torch.get_num_threads()}
        with tracing(TracingContext(fakes[0].fake_mode)), config.patch(options):
            kernel: Any = compile_fx_inner(graph, fakes)
    except NotCompilableError:
        raise
    except (
        Exception
    ) as error:  # inductor raises what its parts raise: of compilers, of the file system, its own
        raise NotCompilableError(with_kind(error, first_line)) from error
    return kernel


def uncompiled(function: Callable[..., Any], tensors: Sequence[Tensor]) -> Kernel:
    """The same graph, run operation by operation: slower than the loop, but it needs no compiler."""
    graph = traced(function, tensors)
    return lambda arguments: graph(*arguments)
