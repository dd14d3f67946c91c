"""The recurrence of linear cells, h_t = a_t * h_{t-1} + b_t, with its gradient written by hand."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lmkit.host_copies import on_host, values_known


def linear_scan(
    a: Tensor, b: Tensor, h: Tensor, blank: Tensor | None = None, resets: Tensor | None = None
) -> Tensor:
    """h_t for every t: a, b (time, batch, width) and h, the state before, (batch, width) give (time, batch, width).

    blank, resets: `resets[t, b]` (bool) puts row b at blank[b] before step t; both or neither are given.
    """
    return _LinearScan.apply(a, b, h, blank, resets)  # pyright: ignore[reportReturnType]


class _LinearScan(torch.autograd.Function):
    """One fused multiply-add a step, forward and backward.

    With d_t the gradient of h_t in all, d_t = dy_t + a_{t+1} d_{t+1}; then that of b_t is d_t, of a_t d_t h_{t-1}.
    """

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, h: Tensor, blank: Tensor | None, resets: Tensor | None
    ) -> Tensor:
        before = h
        at = reset_steps(resets)
        hs = torch.empty_like(b, memory_format=torch.contiguous_format)
        for t, (a_t, b_t, out) in enumerate(zip(a.unbind(0), b.unbind(0), hs.unbind(0), strict=True)):
            if resets is not None and blank is not None and t in at:
                h = torch.where(resets[t][:, None], blank, h)
            h = torch.addcmul(b_t, a_t, h, out=out)
        ctx.save_for_backward(a, hs, before, blank, resets)
        return hs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_hs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        a, hs, h, blank, resets = ctx.saved_tensors
        at = reset_steps(resets)
        d_b = torch.empty_like(hs)
        d_blank = None if blank is None else torch.zeros_like(blank)
        carried = torch.zeros_like(h)
        for t in reversed(range(len(hs))):
            torch.add(d_hs[t], carried, out=d_b[t])
            carried = a[t] * d_b[t]
            if resets is not None and d_blank is not None and t in at:
                begun = resets[t][:, None]
                d_blank += torch.where(begun, carried, 0)
                carried = torch.where(begun, 0, carried)
        before = torch.cat([h[None], hs[:-1]])
        if resets is not None and blank is not None:
            before = torch.where(resets[..., None], blank, before)
        return d_b * before, d_b, carried, d_blank, None


def reset_steps(resets: Tensor | None) -> frozenset[int]:
    """The steps at which any row may be reset: the others need no choice."""
    if resets is None:
        return frozenset()
    if not values_known():
        return frozenset(range(len(resets)))
    return frozenset(on_host(resets).any(1).nonzero().flatten().tolist())
