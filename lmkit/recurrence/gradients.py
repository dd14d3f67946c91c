"""The gradients of a window, collected while its steps are walked backward, and what follows after the last of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lmkit.neural.linear import mkl_leads
from lmkit.neural.products import input_gradient, weight_gradient
from lmkit.recurrence.kernels import StateGradients, StepKernels
from lmkit.recurrence.window import Path, Weights, Window, chosen, given


class WindowGradients:
    """`start`, then the steps from the last to the first, which fill in d_x, d_h, d_own and d_initial, then the rest.

    before: for each part of the state (time, batch, ...), what each step read, resets included.
    d_ys, d_outputs: for each step the gradient from the loss, of y and, with a projection, of the first state of
    `gates`, which the loss may read after the last step.
    needs_xs: whether there is a gradient of xs. d_xs: that gradient, if the steps have made it.
    d_x: (time, batch, G). d_h: the same, of W_hh y_{t-1} + b_hh; d_x itself where the step is summed.
    d_products: (time, batch, P), of what a projection clips; None without one.
    d_own: the sum so far for each tensor in `Window.own`; None where it is not trained.
    d_initial: the sum so far for each tensor in `Window.initial`; empty if they are not needed.
    """

    def __init__(
        self,
        kernels: StepKernels,
        window: Window,
        path: Path,
        resets: Tensor | None,
        *,
        needs_xs: bool,
        needs_initial: bool,
    ) -> None:
        self.kernels, self.window, self.path, self.resets = kernels, window, path, resets
        self.needs_xs = needs_xs
        self._by_loop = kernels.loop is not None and not mkl_leads()
        self.before = [steps[:-1] for steps in path.states]
        if resets is not None:
            self.before = [chosen(resets, i, b) for i, b in zip(window.initial, self.before, strict=True)]
        self.ys = path.states[0][1:]
        self.d_ys: list[Tensor] = []
        self.d_outputs: list[Tensor] = []
        self.d_x = window.xs.new_empty(*window.xs.shape[:2], path.inputs[0].shape[-1])
        self.d_xs: Tensor | None = None
        self.d_h = torch.empty_like(self.d_x) if path.products else self.d_x
        self.d_products = torch.empty_like(self.ys) if window.projected else None
        self.d_own = [
            torch.zeros_like(t) if is_trained else None
            for t, is_trained in zip(window.own, kernels.trained, strict=True)
        ]
        self.d_initial = [torch.zeros_like(i) for i in window.initial] if needs_initial else []

    def start(self, d_ys: Tensor | None, d_last: Sequence[Tensor | None]) -> StateGradients:
        """Take the gradients from the loss: of ys (time, batch, P) and of each part of the last state; None is 0."""
        state = self.window.state
        ends = [
            torch.zeros_like(s) if d is None else d.contiguous() for s, d in zip(state, d_last, strict=True)
        ]
        self.d_ys = [*(torch.zeros_like(self.ys) if d_ys is None else d_ys.contiguous()).unbind(0)]
        # The last y is the first part of the last state too.
        self.d_ys[-1] = self.d_ys[-1] + ends[0]
        # Of a projected cell the loss may read the last s[0] besides y.
        output, *memory = ends[self.window.projected :]
        self.d_outputs = [torch.zeros_like(output)] * (len(self.ys) - 1) + [output]
        return StateGradients(
            torch.zeros_like(output) if self.kernels.reads_output else None,
            None if self.window.weights.weight_hh is None else torch.zeros_like(state[0]),
            memory,
        )

    def state_gradients(self, carried: StateGradients) -> list[Tensor]:
        """The gradients of the state before a step, in all."""
        output = self.window.state[self.window.projected]
        if self.window.projected:
            return [*given(carried.product), _total(given(carried.gates), output), *carried.memory]
        return [_total(given(carried.gates, carried.product), output), *carried.memory]

    def xs_gradient(self) -> Tensor:
        """The gradient of xs, after the first step."""
        if self.d_xs is not None:
            return self.d_xs
        return input_gradient(self.d_x, self.window.weights.weight_ih)

    def weight_gradients(self) -> Weights:
        """The gradients of the weights, after the first step."""
        before, has_hh = self.before[0], self.window.weights.weight_hh is not None
        d_weight_p = None
        if self.d_products is not None:
            (d_weight_p,) = self._weight_gradients(self.d_products, [self.path.states[1][1:]])
        if has_hh and self.kernels.summed:
            (d_weight_ih, d_weight_hh), d_bias = self._with_bias(self.d_x, [self.window.xs, before])
            return Weights(d_weight_ih, d_bias, d_weight_hh, d_bias, d_weight_p)
        (d_weight_ih,), d_bias_ih = self._with_bias(self.d_x, [self.window.xs])
        if not has_hh:
            return Weights(d_weight_ih, d_bias_ih, None, None, d_weight_p)
        (d_weight_hh,), d_bias_hh = self._with_bias(self.d_h, [before])
        return Weights(d_weight_ih, d_bias_ih, d_weight_hh, d_bias_hh, d_weight_p)

    def _with_bias(self, d_outputs: Tensor, inputs: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """The gradients of some weights whose products are added up, and of the bias that is added to them."""
        if not self._by_loop:
            return self._weight_gradients(d_outputs, inputs), d_outputs.flatten(0, 1).sum(0)
        # As another weight, of an input that is always 1: cheaper than to read d_outputs again.
        ones = d_outputs.new_ones(*d_outputs.shape[:2], 1)
        *found, d_bias = self._weight_gradients(d_outputs, [*inputs, ones])
        return found, d_bias.flatten()

    def _weight_gradients(self, d_outputs: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The gradients of some weights whose products are added up, by the fastest way."""
        if self._by_loop and self.kernels.loop is not None:
            return self.kernels.loop.weight_gradients(d_outputs, inputs)
        return [weight_gradient(d_outputs, x) for x in inputs]


def _total(parts: list[Tensor], like: Tensor) -> Tensor:
    """The sum of gradients of a tensor such as `like`."""
    return sum(parts[1:], parts[0]) if parts else torch.zeros_like(like)
