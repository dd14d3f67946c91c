"""Trace the step of a gated cell: `gates` and their gradient as functions of plain tensors.

What a trace depends on, besides the shapes, is in the key under which `tiers.kernels_for` keeps a kernel.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from lmkit.errors import first_line, with_kind
from lmkit.recurrence.interfaces import Gated
from lmkit.recurrence.kernels import StateGradients, StepGradients, StepInputs

Tensors = tuple[Tensor, ...]


class NotCompilableError(Exception):
    """Why the gates of a cell cannot be compiled; the loop, which takes any gates, is used instead."""


def traced_step(cell: Gated, x: Tensor, state: Sequence[Tensor]) -> "Step":
    """The step of a cell for x (batch, gates) and the state before; NotCompilableError if no kernel can be right."""
    with torch.no_grad():
        return _summed_if_possible(_with_used_tensors(cell, x, state), x, state)


def _with_used_tensors(cell: Gated, x: Tensor, state: Sequence[Tensor]) -> "Step":
    """The step with the tensors that its graph uses, x and h apart; NotCompilableError if no kernel can be right."""
    named = _tensors_of(cell)
    step = Step(cell, tuple(named), (False,) * len(named), len(state), reads_output=True)
    inputs, *_ = step.examples(x, state)
    graph = traced(step.forward, inputs.flat())
    _refuse_what_no_kernel_can(graph, state)
    nodes = graph.graph.find_nodes(op="placeholder")[-len(inputs.flat()) :]
    used = step.grouped([bool(node.users) for node in nodes])
    own = tuple(name for name, is_used in zip(named, used.own, strict=True) if is_used)
    trained = tuple(named[name].requires_grad and named[name].is_floating_point() for name in own)
    return replace(step, own=own, trained=trained, reads_output=bool(used.state[0]))


def _summed_if_possible(step: "Step", x: Tensor, state: Sequence[Tensor]) -> "Step":
    """The step that takes x + h, if x and h have one and the same gradient, or else this one."""
    if not step.separate:
        return step
    inputs, d_new, d_loss, _ = step.examples(x, state)
    graph = traced(step.backward, [*inputs.flat(), *d_new.flat(), d_loss])
    d_x, d_h, *_ = cast(Any, graph.graph.output_node().args[0])
    return replace(step, summed=d_x is d_h)


def _tensors_of(cell: Gated) -> dict[str, Tensor]:
    """Its parameters and buffers by name."""
    return dict(cell.named_parameters()) | dict(cell.named_buffers())


class _Gates(nn.Module):
    """`gates` as a forward, so that its parameters can be given from outside."""

    def __init__(self, cell: Gated) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, h: Tensor | None, state: Tensors) -> Tensors:
        return self.cell.new_state(x, h, state)


@dataclass(frozen=True)
class Step:
    """A step and its gradients as functions of plain tensors, in the order of the groups of `kernels`.

    own, trained, reads_output, summed: as in StepKernels. num_states: of the tensors in the state of `gates`.
    """

    cell: Gated
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
        self, x: Tensor, state: Sequence[Tensor]
    ) -> tuple[StepInputs, StateGradients, Tensor, StepGradients]:
        """Zeros in the shapes that a step reads and writes: the arguments of `StepKernels.backward`.

        Each is a separate tensor, since the tracer knows an argument by its identity.
        """
        named = _tensors_of(self.cell)
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
        return torch.func.functional_call(_Gates(self.cell), named, (x, h, tuple(state)))


def _blank(tensor: Tensor) -> Tensor:
    """Zeros in this shape."""
    return torch.zeros(tensor.shape, dtype=tensor.dtype, device=tensor.device)


def _blanks(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [_blank(tensor) for tensor in tensors]


def traced(function: Callable[..., Any], tensors: Sequence[Tensor], table: Any = None) -> GraphModule:
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
