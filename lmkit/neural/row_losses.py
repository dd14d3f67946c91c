"""The cross entropy of rows of logits by one kernel on a GPU, in the place of four passes over float32 logits."""

import importlib
import logging
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from lmkit.errors import first_line, with_kind
from lmkit.notes import NOTE

log = logging.getLogger(__name__)

RowLosses = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(logits, bias, targets, shares) -> losses.

logits (rows, vocabulary), with rows any distance apart, become the gradient of sum(shares * losses) with respect to
them. bias (vocabulary,) float32 is added to each row, targets (rows,), shares (rows,) float32. losses (rows,) float32:
-log p(target).
"""

LARGEST_ERROR = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
"""Of the gradient, relative to its norm, in a probe: bfloat16 has 8 bits of precision."""


def row_losses_for(features: Tensor) -> RowLosses | None:
    """The kernel for logits of the type and device of features, or None where torch's operations are used."""
    if features.device.type != "cuda" or features.dtype not in LARGEST_ERROR:
        return None
    return _probed(features.device, features.dtype)


@cache
def _probed(device: torch.device, dtype: torch.dtype) -> RowLosses | None:
    """The kernel, if it compiles here and computes what torch computes; else None, with one note."""
    try:
        found: RowLosses = importlib.import_module("lmkit.neural.triton_rows").row_losses
        check(found, device, dtype)
    except Exception as error:  # whatever Triton, its compiler or the driver raises
        reason = with_kind(error, first_line)
        log.log(
            NOTE,
            "the loss is computed by torch's operations, since its kernel cannot be used here (%s)",
            reason,
        )
        return None
    log.info("the loss: one kernel for each row of logits")
    return found


def by_torch(logits: Tensor, bias: Tensor, targets: Tensor, shares: Tensor) -> Tensor:
    """What a kernel computes, by torch's operations, in the type of the bias."""
    log_probs = (logits.to(bias.dtype) + bias).log_softmax(1)
    minus_one = -torch.ones_like(shares)[:, None]
    logits.copy_(log_probs.exp().scatter_add(1, targets[:, None], minus_one) * shares[:, None])
    return -log_probs.gather(1, targets[:, None])[:, 0]


@torch.no_grad()
def check(row_losses: RowLosses, device: torch.device, dtype: torch.dtype) -> None:
    """Raise ArithmeticError unless a kernel gives the losses and gradients of float64, on a small example."""
    rows, vocabulary = 3, 5000
    # No random numbers, so that a training draws the same ones with a probe and without.
    numbers = torch.arange(rows * (vocabulary + 8), device=device, dtype=torch.float64)
    logits = (10 * torch.sin(numbers)).to(dtype).view(rows, -1)[:, :vocabulary]
    bias = torch.cos(numbers[:vocabulary]).float()
    targets = torch.arange(rows, device=device) * (vocabulary // 2 - 1)
    shares = torch.arange(1, rows + 1, device=device) / 8
    gradient = logits.double()
    wanted = by_torch(gradient, bias.double(), targets, shares.double())
    found = row_losses(logits, bias, targets, shares)
    errors = {
        "losses": float((found - wanted).norm() / wanted.norm()),
        "gradients": float((logits - gradient).norm() / gradient.norm()),
    }
    # Written so that NaN is an error too.
    wrong = [f"{what}: {error:.1e}" for what, error in errors.items() if not error <= LARGEST_ERROR[dtype]]
    if wrong:
        raise ArithmeticError(f"it differs from torch in {', '.join(wrong)}")
