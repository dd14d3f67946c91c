"""Make the kernels of a gated cell's step: trace `gates` and their gradient, and compile both.

`gates` is traced once for each shape and compiled by torch's inductor (C++ on a CPU, Triton on a GPU). The kernels
are called without the checks that torch.compile makes at every call, which would cost as much as the step itself;
what those checks watch is in the key under which `tiers.kernels_for` keeps a kernel.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from lmkit.errors import first_line, with_kind
from lmkit.recurrence.interfaces import Gated
from lmkit.recurrence.kernels import Kernel, StateGradients, StepGradients, StepInputs, StepKernels
from lmkit.recurrence.native import NativeLoop, NoLoopError, native_loop

Tensors = tuple[Tensor, ...]

log = logging.getLogger(__name__)


class NotCompilableError(Exception):
    """Why the gates of a cell cannot be compiled; the loop, which takes any gates, is used instead."""


def make_kernels(
    cell: Gated, x: Tensor, state: Sequence[Tensor], finish: Callable[..., Kernel]
) -> StepKernels:
    """The kernels of a cell for a step of this shape: x (batch, gates) and the state before.

    finish: makes a kernel of a function and of examples of its arguments, as `compiled` does.
    Raises NotCompilableError, which says why.
    """
    named: dict[str, Tensor] = dict(cell.named_parameters()) | dict(cell.named_buffers())
    with torch.no_grad():
        step = _summed_if_possible(_with_used_tensors(cell, named, x, state), x, state, named)
        inputs, d_new, d_loss, d_step = step.examples(x, state, named)
        read = [*inputs.flat(), *d_new.flat(), d_loss]
        new = [*inputs.flat(), *(_blank(s) for s in state)]
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


def _with_used_tensors(
    cell: Gated, named: Mapping[str, Tensor], x: Tensor, state: Sequence[Tensor]
) -> "_Step":
    """The step with the tensors that its graph uses, x and h apart; NotCompilableError if no kernel can be right."""
    step = _Step(cell, _Gates(cell), tuple(named), (False,) * len(named), len(state), reads_output=True)
    inputs, *_ = step.examples(x, state, named)
    graph = _traced(step.forward, inputs.flat())
    _refuse_what_no_kernel_can(graph, state)
    nodes = graph.graph.find_nodes(op="placeholder")[-len(inputs.flat()) :]
    used = step.grouped([bool(node.users) for node in nodes])
    own = tuple(name for name, is_used in zip(named, used.own, strict=True) if is_used)
    trained = tuple(named[name].requires_grad and named[name].is_floating_point() for name in own)
    return replace(step, own=own, trained=trained, reads_output=bool(used.state[0]))


def _summed_if_possible(
    step: "_Step", x: Tensor, state: Sequence[Tensor], named: Mapping[str, Tensor]
) -> "_Step":
    """The step that takes x + h, if x and h have one and the same gradient, or else this one."""
    if not step.separate:
        return step
    inputs, d_new, d_loss, _ = step.examples(x, state, named)
    graph = _traced(step.backward, [*inputs.flat(), *d_new.flat(), d_loss])
    d_x, d_h, *_ = cast(Any, graph.graph.output_node().args[0])
    return replace(step, summed=d_x is d_h)


class _Gates(nn.Module):
    """`gates` as a forward, so that its parameters can be given from outside."""

    def __init__(self, cell: Gated) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, h: Tensor | None, state: Tensors) -> Tensors:
        return self.cell.new_state(x, h, state)


@dataclass(frozen=True)
class _Step:
    """A step and its gradients as functions of plain tensors, in the order of the groups of `kernels`.

    own, trained, reads_output, summed: as in StepKernels. num_states: of the tensors in the state of `gates`.
    """

    cell: Gated
    gates: _Gates
    own: tuple[str, ...]
    trained: tuple[bool, ...]
    num_states: int
    reads_output: bool
    summed: bool = False

    @property
    def separate(self) -> bool:
        """Whether `gates` are given h besides x."""
        return self.cell.recurrent and not self.summed

    def examples(
        self, x: Tensor, state: Sequence[Tensor], named: Mapping[str, Tensor]
    ) -> tuple[StepInputs, StateGradients, Tensor, StepGradients]:
        """Zeros in the shapes that a step reads and writes: the arguments of `StepKernels.backward`.

        Each is a separate tensor, since the tracer knows an argument by its identity.
        """
        own = [named[name] for name in self.own]
        output, *memory = state
        product, bias, d_h = (_blank(x), _blank(x[0]), _blank(x)) if self.separate else (None, None, None)
        d_output, d_gates = (_blank(output), _blank(output)) if self.reads_output else (None, None)
        d_product = _blank(output) if self.cell.recurrent else None
        return (
            StepInputs(_blank(x), product, bias, _blanks(state), _blanks(own)),
            StateGradients(d_gates, d_product, _blanks(memory)),
            _blank(output),
            StepGradients(_blank(x), d_h, d_output, _blanks(memory), _blanks(self.trained_ones(own))),
        )

    def grouped(self, flat: Sequence[Any]) -> StepInputs:
        """The opposite of StepInputs.flat."""
        x, *rest = flat
        product, bias = (rest.pop(0), rest.pop(0)) if self.separate else (None, None)
        return StepInputs(x, product, bias, rest[: self.num_states], rest[self.num_states :])

    def trained_ones(self, own: Sequence[Tensor]) -> list[Tensor]:
        """Those that have a gradient."""
        return [t for t, is_trained in zip(own, self.trained, strict=True) if is_trained]

    def forward(self, *tensors: Tensor) -> Tensors:
        """The new state, from StepInputs."""
        step = self.grouped(tensors)
        return self._new_state(step.x, self._h(step), step.state, step.own)

    def backward(self, *tensors: Tensor) -> Tensors:
        """StepGradients, from StepInputs, StateGradients and the loss's gradient of the first new state."""
        *known, d_loss = tensors
        parts = self.cell.recurrent + self.reads_output  # of the gradient of the first new state
        count = len(known) - parts - (self.num_states - 1)
        step, d_new = self.grouped(known[:count]), known[count:]
        d_first = [*d_new[:parts], d_loss]
        h = self._h(step)
        unread = [] if self.reads_output else [step.state[0]]

        def new_state(x: Tensor, hs: Tensors, state: Tensors, trained: Tensors) -> Tensors:
            given = iter(trained)
            own = [
                next(given) if is_trained else t for t, is_trained in zip(step.own, self.trained, strict=True)
            ]
            return self._new_state(x, hs[0] if hs else h, [*unread, *state], own)

        hs = (h,) if self.separate and h is not None else ()
        trained = tuple(self.trained_ones(step.own))
        pull = torch.func.vjp(new_state, step.x, hs, tuple(step.state[len(unread) :]), trained)[1]
        d_x, d_hs, d_state, d_own = pull((sum(d_first[1:], d_first[0]), *d_new[parts:]))
        return (d_x, *d_hs, *d_state, *d_own)

    def _h(self, step: StepInputs) -> Tensor | None:
        """W_hh y_{t-1} + b_hh; zeros where x has it already, None for a cell without W_hh."""
        if step.product is not None and step.bias is not None:
            return step.product + step.bias
        return torch.zeros_like(step.x) if self.summed else None

    def _new_state(
        self, x: Tensor, h: Tensor | None, state: Sequence[Tensor], own: Sequence[Tensor]
    ) -> Tensors:
        named = {f"cell.{name}": t for name, t in zip(self.own, own, strict=True)}
        return torch.func.functional_call(self.gates, named, (x, h, tuple(state)))


def _blank(tensor: Tensor) -> Tensor:
    """Zeros in this shape."""
    return torch.zeros(tensor.shape, dtype=tensor.dtype, device=tensor.device)


def _blanks(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [_blank(tensor) for tensor in tensors]


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


def _traced(function: Callable[..., Any], tensors: Sequence[Tensor], table: Any = None) -> GraphModule:
    """The operations of a function; NotCompilableError where they depend on values or cannot be followed."""
    try:
        return make_fx(torch.func.functionalize(function), table, tracing_mode="fake")(*tensors)
    except Exception as error:  # anything may be raised from inside somebody's gates
        raise NotCompilableError(f"it cannot be traced ({with_kind(error, first_line)})") from error


def _refuse_what_no_kernel_can(graph: GraphModule, state: Sequence[Tensor]) -> None:
    """NotCompilableError for gates whose kernels would be wrong; they are computed twice, forward and backward."""
    for node in graph.graph.nodes:
        tags = getattr(node.target, "tags", ())
        if torch.Tag.nondeterministic_seeded in tags:
            raise NotCompilableError(f"it draws random numbers ({node.target})")
        if node.target is torch.ops.aten.copy_.default and node.args[0].op == "placeholder":
            raise NotCompilableError("it changes its arguments in place")
    (outputs,) = graph.graph.output_node().args
    found = [(tuple(o.meta["val"].shape), o.meta["val"].dtype) for o in outputs]  # pyright: ignore
    wanted = [(tuple(s.shape), s.dtype) for s in state]
    if found != wanted:
        raise NotCompilableError(f"it gives a state of {found}, not {wanted}")


def compiled(function: Callable[..., Any], tensors: Sequence[Tensor]) -> Kernel:
    """The function as a kernel, by inductor; NotCompilableError where that fails, as without a C++ compiler."""
    try:
        # Imported here: it takes seconds, and most runs compile nothing.
        from torch._guards import TracingContext, tracing
        from torch._inductor import config
        from torch._inductor.compile_fx import compile_fx_inner
        from torch._inductor.decomposition import select_decomp_table

        graph = _traced(function, tensors, select_decomp_table())
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
    graph = _traced(function, tensors)
    return lambda arguments: graph(*arguments)
