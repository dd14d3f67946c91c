"""The elementwise step of a gated cell as two compiled kernels, one forward and one that gives its gradients.

`gates` is traced once for each shape and compiled by torch's inductor (C++ on a CPU, Triton on a GPU). The kernels
are called without the checks that torch.compile makes at every call, which would cost as much as the step itself;
what those checks watch is in the key under which `kernels_for` keeps a kernel.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from lmkit.errors import first_line, with_kind

if TYPE_CHECKING:
    from lmkit.recurrence.cells import GatedCell

Kernel = Callable[[list[Tensor]], Any]
"""Called with its tensors in a list, which it empties; it writes to the last of them and returns nothing."""


class NotCompilableError(Exception):
    """Why the gates of a cell cannot be compiled; the loop, which takes any gates, is used instead."""


@dataclass(frozen=True)
class StepKernels:
    """The step of a cell for one shape of its inputs.

    own: names of the cell's parameters and buffers that `gates` uses. trained: which of them have a gradient.
    summed: `gates` uses x + h alone, so that the kernels take the sum. reads_output: it uses state[0].

    Tensors in order; those in brackets are there only for a cell with W_hh that is not summed.
    forward: x, [W_hh h, b_hh], state, own; written: the new state.
    backward: the same, then the gradients of the new state: of all but the first, parts of that of the first (from
    `gates` of the next step if it reads the output, from its product if there is one), and of y;
    written: the gradients of x, [of h], of state[0] if it is read, of the rest of the state, and, added to what is
    there, of the trained.
    """

    forward: Kernel
    backward: Kernel
    own: tuple[str, ...]
    trained: tuple[bool, ...]
    summed: bool
    reads_output: bool


class _Gates(nn.Module):
    """`gates` as a forward, so that its parameters can be given from outside."""

    def __init__(self, cell: "GatedCell") -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, h: Tensor | None, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return self.cell.new_state(x, h, state)


def make_kernels(
    cell: "GatedCell", x: Tensor, state: Sequence[Tensor], finish: Callable[..., Kernel]
) -> StepKernels:
    """The kernels of a cell for a step of this shape: x (batch, features) and the state before.

    finish: makes a kernel of a function and of examples of its arguments, as `compiled` does.
    Raises NotCompilableError, which says why.
    """
    # Of the tensors only shapes count. Each is one of its own, since the tracer knows an argument by its identity,
    # and the parts of a first state may be one tensor.
    x, *state = (_blank(t) for t in (x, *state))
    named = dict(cell.named_parameters()) | dict(cell.named_buffers())
    tensors = {name: _blank(t) for name, t in named.items()}
    with torch.no_grad():
        step = _Step(cell, tuple(tensors), (False,) * len(tensors), len(state))
        examples = [*step.examples(x), *state, *tensors.values()]
        whole = _traced(step.forward, examples)
        _refuse_what_no_kernel_can(whole, state)
        used = [bool(node.users) for node in whole.graph.find_nodes(op="placeholder")][-len(examples) :]
        used_own = used[len(examples) - len(tensors) :]
        own = tuple(name for name, is_used in zip(tensors, used_own, strict=True) if is_used)
        trained = tuple(named[name].requires_grad and named[name].is_floating_point() for name in own)
        reads_output = used[len(step.examples(x))]
        step = _Step(cell, own, trained, len(state), reads_output=reads_output)
        step = step.if_summed(x, state, tensors)
        begin = [*step.examples(x), *state, *(tensors[name] for name in own)]
        ahead = [_blank(t) for t in (*state[1:], *[state[0]] * (step.parts + 1))]
        d_own = [_blank(tensors[name]) for name, is_trained in zip(own, trained, strict=True) if is_trained]
        d_inputs = [x, x] if step.separate else [x]
        written = [_blank(t) for t in (*d_inputs, *state[0 if reads_output else 1 :])]
        return StepKernels(
            finish(_writing(step.forward, len(begin)), [*begin, *(_blank(s) for s in state)]),
            finish(
                _writing(step.backward, len(begin) + len(ahead), added=len(d_own)),
                [*begin, *ahead, *written, *d_own],
            ),
            own,
            trained,
            step.summed,
            reads_output,
        )


class _Step:
    """A step and its gradients as functions of plain tensors, in the order of StepKernels."""

    def __init__(
        self,
        cell: "GatedCell",
        own: tuple[str, ...],
        trained: tuple[bool, ...],
        num_states: int,
        *,
        reads_output: bool = True,
        summed: bool = False,
    ) -> None:
        self.cell = cell
        self.gates = _Gates(cell)
        self.own = own
        self.trained = trained
        self.num_states = num_states
        self.reads_output = reads_output
        self.summed = summed
        self.separate = cell.recurrent and not summed
        self.parts = cell.recurrent + reads_output
        """The parts in which the gradient of the output comes from the next step."""

    def examples(self, x: Tensor) -> list[Tensor]:
        """The arguments before the state."""
        return [_blank(x), _blank(x), _blank(x[0])] if self.separate else [_blank(x)]

    def if_summed(self, x: Tensor, state: Sequence[Tensor], tensors: dict[str, Tensor]) -> "_Step":
        """The step that takes x + h, if x and h have one and the same gradient, or else this one."""
        if not self.separate:
            return self
        own = [tensors[name] for name in self.own]
        ahead = [_blank(t) for t in (*state[1:], *[state[0]] * (self.parts + 1))]
        backward = _traced(self.backward, [*self.examples(x), *state, *own, *ahead])
        d_x, d_h, *_ = cast(Any, backward.graph.output_node().args[0])
        return _Step(
            self.cell,
            self.own,
            self.trained,
            self.num_states,
            reads_output=self.reads_output,
            summed=d_x is d_h,
        )

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return self._call(*self._split(tensors))

    def backward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The gradients of x, [h], the state (of the first only if it is read) and the trained tensors."""
        ahead = self.num_states + self.parts
        x, h, state, own = self._split(tensors[:-ahead])
        d_others, d_output = tensors[-ahead:][: self.num_states - 1], tensors[-ahead:][self.num_states - 1 :]
        sources = [x, *([h] if self.separate else []), *state[0 if self.reads_output else 1 :]]
        count = len(sources)
        sources += [t for t, is_trained in zip(own, self.trained, strict=True) if is_trained]

        def function(*given: Tensor) -> tuple[Tensor, ...]:
            inputs, trained = list(given[:count]), iter(given[count:])
            some_h = inputs.pop(1) if self.separate else h
            some_state = inputs[1:] if self.reads_output else [state[0], *inputs[1:]]
            some_own = [
                next(trained) if is_trained else t for t, is_trained in zip(own, self.trained, strict=True)
            ]
            return self._call(inputs[0], some_h, some_state, some_own)

        pull = torch.func.vjp(function, *sources)[1]
        return pull((sum(d_output[1:], d_output[0]), *d_others))

    def _split(self, tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor | None, list[Tensor], list[Tensor]]:
        """x, h, state, own."""
        x, *rest = tensors
        h = None
        if self.separate:
            h = rest[0] + rest[1]  # the product and b_hh
            del rest[:2]
        elif self.summed:
            h = torch.zeros_like(x)
        return x, h, rest[: self.num_states], rest[self.num_states :]

    def _call(
        self, x: Tensor, h: Tensor | None, state: Sequence[Tensor], own: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        named = {f"cell.{name}": t for name, t in zip(self.own, own, strict=True)}
        return torch.func.functional_call(self.gates, named, (x, h, tuple(state)))


def _blank(tensor: Tensor) -> Tensor:
    return torch.zeros(tensor.shape, dtype=tensor.dtype, device=tensor.device)


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
