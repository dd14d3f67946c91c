"""The Triton kernel of `row_losses`: cross entropy and its gradient, one program for a row of logits.

A row is read twice: for the logarithm of the sum of exponentials (with a running maximum, one for each lane of a
block: Milakov and Gimelshein, 2018, arXiv:1805.02867), and for the gradient that replaces the logits.
"""

# Triton is optional, and a kernel is written in its language, whose types no checker knows.
# pyright: reportMissingImports=false, reportOperatorIssue=false, reportCallIssue=false

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096
"""Logits that a program reads at once."""
WARPS = 8


def cross_entropy_row(LOGITS, BIAS, TARGETS, SHARES, LOSSES, vocabulary, stride, BLOCK: tl.constexpr):  # noqa: N803
    """The loss of row `program_id`, whose logits become share * (p - onehot(target)); all sums in float32.

    LOGITS: the rows begin `stride` apart. BIAS: (vocabulary,), added to every row.
    """
    row = tl.program_id(0).to(tl.int64)
    logits = LOGITS + row * stride
    target = tl.load(TARGETS + row)
    share = tl.load(SHARES + row)
    # Finite, so that a lane that has read nothing yet has no infinity minus infinity.
    highest = tl.full((BLOCK,), -1e30, tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    own = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, vocabulary, BLOCK):
        at = first + tl.arange(0, BLOCK)
        inside = at < vocabulary
        x = tl.load(logits + at, mask=inside, other=-float("inf")).to(tl.float32)
        x += tl.load(BIAS + at, mask=inside, other=0.0)
        higher = tl.maximum(highest, x)
        total = total * tl.exp(highest - higher) + tl.exp(x - higher)
        highest = higher
        own += tl.where(at == target, x, 0.0)
    most = tl.max(highest, 0)
    normaliser = most + tl.log(tl.sum(total * tl.exp(highest - most), 0))
    tl.store(LOSSES + row, normaliser - tl.sum(own, 0))
    for first in range(0, vocabulary, BLOCK):
        at = first + tl.arange(0, BLOCK)
        inside = at < vocabulary
        x = tl.load(logits + at, mask=inside, other=-float("inf")).to(tl.float32)
        x += tl.load(BIAS + at, mask=inside, other=0.0)
        gradient = (tl.exp(x - normaliser) - tl.where(at == target, 1.0, 0.0)) * share
        tl.store(logits + at, gradient.to(LOGITS.dtype.element_ty), mask=inside)


kernel = triton.jit(cross_entropy_row)


def row_losses(logits: Tensor, bias: Tensor, targets: Tensor, shares: Tensor) -> Tensor:
    """See `lmkit.neural.row_losses.RowLosses`."""
    losses = bias.new_empty(len(logits))
    kernel[(len(logits),)](
        logits, bias, targets, shares, losses, logits.shape[1], logits.stride(0), BLOCK=BLOCK, num_warps=WARPS
    )
    return losses
