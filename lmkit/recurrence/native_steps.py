"""Walk a window by the loop in C++: the steps of `steps.py`, by the same kernels, without Python between them."""

import ctypes
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lmkit.neural.linear import linear, mkl_leads
from lmkit.neural.products import is_large
from lmkit.recurrence.gradients import WindowGradients
from lmkit.recurrence.kernels import StateGradients, StepKernels
from lmkit.recurrence.native import Plan, Pointers, Product, Reset, StepCalls, moving, packed, words
from lmkit.recurrence.window import Path, Window, given

ROWS_FOR_INPUTS = 16
"""Rows of a batch from which one thread multiplies inputs step by step too, while the results are still in cache."""


def forward(kernels: StepKernels, window: Window, clip: float, resets: Tensor | None) -> Path:
    """Run all steps and keep what the backward pass reads."""
    walk, weights, projected = _Walk(kernels, window, resets), window.weights, window.projected
    columns, plan = walk.columns, walk.plan
    bias_ih, bias_hh = weights.bias_ih, weights.bias_hh
    if kernels.summed and bias_hh is not None:
        bias_ih, bias_hh = bias_ih + bias_hh, None
    if walk.multiplies_inputs:
        x = window.xs.new_empty(*window.xs.shape[:2], len(bias_ih))
    else:
        x = linear(window.xs, weights.weight_ih, bias_ih, may_copy=False).contiguous()
    product = None if bias_hh is None else torch.empty_like(x)
    states = window.states()
    stored, after = [columns.moving(s) for s in states], [columns.moving(s[1:]) for s in states]
    read = stored if resets is None else [walk.read_after_reset(s, resets) for s in states]
    step = [columns.moving(x)]
    if walk.multiplies_inputs:
        plan.input = walk.product(weights.weight_ih.t(), columns.moving(window.xs), step[0], bias=bias_ih)
    to = step[0]
    if product is not None and bias_hh is not None:
        to = columns.moving(product)
        step += [to, columns.fixed(bias_hh)]
    step += [*read[projected:], *(columns.fixed(t) for t in window.own), *after[projected:]]
    if weights.weight_hh is not None:
        plan.recurrent = walk.product(weights.weight_hh.t(), read[0], to, added=kernels.summed)
    if weights.weight_p is not None:
        plan.projection = walk.product(weights.weight_p.t(), after[1], after[0])
        plan.clip = clip
    parts = [
        Reset(initial.data_ptr(), initial[0].numel(), *places)
        for initial, *places in zip(window.initial, stored, read, strict=True)
    ] if resets is not None else []  # fmt: skip
    assert kernels.loop is not None
    walk.run("forward", kernels.loop.forward, step, parts)
    return Path([x], given(product), states)


def backward(found: WindowGradients, carried: StateGradients, clip: float) -> StateGradients:
    """Walk the steps from the last; the gradients of the state before the first, from those after the last."""
    kernels, window, path, projected = found.kernels, found.window, found.path, found.window.projected
    walk, weights = _Walk(kernels, window, found.resets), window.weights
    columns, plan = walk.columns, walk.plan
    # Two buffers for each: a step reads gradients from one and writes to the other.
    pairs = [walk.pair(d) for d in (*given(carried.gates), *carried.memory)]
    later, earlier = [columns.alternating(p, 1) for p in pairs], [columns.alternating(p, 0) for p in pairs]
    has_gates = int(carried.gates is not None)
    d_product = [columns.fixed(d) for d in given(carried.product)]
    d_y = columns.each(found.d_ys)
    x, *product = (columns.moving(t) for t in (*path.inputs, *path.products))
    d_x = columns.moving(found.d_x)
    d_h = columns.moving(found.d_h) if product else d_x
    if walk.multiplies_inputs and found.needs_xs:
        found.d_xs = torch.empty_like(window.xs)
        plan.input = walk.product(weights.weight_ih, d_x, columns.moving(found.d_xs))
    d_inner, d_loss = d_product, d_y
    if weights.weight_p is not None and found.d_products is not None:
        # W_hh and the loss read y; W_p reads the first state of `gates`, and the loss only the last of these.
        through = window.state[1].new_empty(window.state[1].shape)
        d_inner, d_loss = [columns.fixed(through)], columns.each(found.d_outputs)
        plan.projection = walk.product(weights.weight_p, columns.moving(found.d_products), d_inner[0])
        plan.clip, plan.y, plan.d_y, plan.d_carried = clip, columns.moving(found.ys), d_y, d_product[0]
    if weights.weight_hh is not None:
        plan.recurrent = walk.product(weights.weight_hh, d_h, d_product[0])
    step = [x, *product]
    if product and weights.bias_hh is not None:
        step.append(columns.fixed(weights.bias_hh))
    step += [columns.moving(s) for s in found.before[projected:]] + [columns.fixed(t) for t in window.own]
    step += [*later[:has_gates], *d_inner, *later[has_gates:], d_loss]
    step += [d_x, *([d_h] if product else []), *earlier, *(columns.fixed(t) for t in given(*found.d_own))]
    # Where the gradient of each part of the state is, when a step is done.
    sources = [(c, 0) for c in d_product] + [(c, projected) for c in earlier[:has_gates]]
    sources += [(c, projected + 1 + i) for i, c in enumerate(earlier[has_gates:])]
    parts = [
        Reset(found.d_initial[i].data_ptr() if found.d_initial else None, window.state[i][0].numel(), column)
        for column, i in sources
    ]
    assert kernels.loop is not None
    walk.run("backward", kernels.loop.backward, step, parts)
    gates, memory = [p[0] for p in pairs[:has_gates]], [p[0] for p in pairs[has_gates:]]
    return StateGradients(gates[0] if gates else None, carried.product, memory)


class _Walk:
    """One direction of a window: the plan of `loop.cpp`, and tensors that only it reads."""

    def __init__(self, kernels: StepKernels, window: Window, resets: Tensor | None) -> None:
        assert kernels.loop is not None
        self._library = kernels.loop.library
        self._steps, rows, _ = window.xs.shape
        self._like = window.xs
        self.multiplies_inputs = (
            rows >= ROWS_FOR_INPUTS
            and torch.get_num_threads() == 1
            and not is_large(window.weights.weight_ih)
            and not mkl_leads()
        )
        self._kept: list[Tensor] = []  # for as long as the loop may run
        self.columns = Pointers(self._steps)
        self.plan = Plan(steps=self._steps, rows=rows, threads=torch.get_num_threads(), clip=math.inf)
        if resets is not None:
            self.plan.resets = resets.data_ptr()

    def product(
        self, weight: Tensor, from_: int, to: int, *, bias: Tensor | None = None, added: bool = False
    ) -> Product:
        """The product of a column (batch, inputs) with a weight (inputs, outputs), put into or added to another."""
        kept = [packed(self._library, weight), *given(bias)]
        self._kept += kept
        pointers = [tensor.data_ptr() for tensor in kept]
        return Product(
            pointers[0], pointers[1] if bias is not None else None, *weight.shape, from_, to, added
        )

    def read_after_reset(self, states: Tensor, resets: Tensor) -> int:
        """The column of a part of the state (time + 1, batch, ...) as steps read it: a copy where rows are reset."""
        copy = torch.empty_like(states[0])
        self._kept.append(copy)
        where = np.where(resets.any(1).numpy(), copy.data_ptr(), moving(states, self._steps))
        return self.columns.column(where)

    def pair(self, last: Tensor) -> Tensor:
        """Two buffers like `last`, which is what the last step reads."""
        pair = last.new_empty(2, *last.shape)
        pair[self._steps % 2] = last
        return pair

    def run(self, direction: str, calls: StepCalls, step: Sequence[int], parts: Sequence[Reset]) -> None:
        """Walk all steps. step: the column of each tensor of the kernels, in their order."""
        scratch = [self._like.new_empty(size, dtype=torch.uint8) for size in calls.scratch]
        called = words(calls, [*step, *(self.columns.fixed(t) for t in scratch)])
        table = self.columns.table()
        plan, listed = self.plan, (Reset * len(parts))(*parts)
        plan.columns, plan.pointers = table.shape[1], table.ctypes.data
        plan.calls, plan.words = called.ctypes.data, len(called)
        plan.parts, plan.num_parts = listed, len(parts)
        getattr(self._library, direction)(ctypes.byref(plan))
