"""AdamW and SGD that also update single rows of a parameter, where its gradient is sparse."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lmkit.errors import UsageError


class RowAdamW(torch.optim.AdamW):
    """AdamW (Loshchilov and Hutter, 2019); of a parameter with a sparse gradient, only the gradient's rows change.

    So do its moments: a row that a step does not read keeps its weights and moments, as in the optimiser "lazy Adam"
    of other libraries. The correction of the moments' bias counts all steps. Each row must occur once in the gradient.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        with dense_only(self) as sparse:
            super().step()
        for group, parameter, gradient in sparse:
            self._step_rows(group, parameter, gradient, getattr(self, "found_inf", None))

    def _step_rows(
        self, group: dict[str, Any], parameter: nn.Parameter, gradient: Tensor, skip: Tensor | None
    ) -> None:
        ids, values = gradient._indices()[0], _unless(skip, gradient._values())
        state = self.state[parameter]
        if not state:
            # The names and types of torch's own, so that checkpoints are the same.
            state["step"] = torch.zeros((), device=parameter.device if group["fused"] else "cpu")
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        # A GPU computes with the number that it has, since a read would wait for it.
        steps = float(state["step"]) if parameter.device.type == "cpu" else state["step"]
        rate = float(group["lr"])
        beta1, beta2 = group["betas"]
        mean = state["exp_avg"][ids].lerp_(values, 1 - beta1)
        square = state["exp_avg_sq"][ids].mul_(beta2).addcmul_(values, values, value=1 - beta2)
        state["exp_avg"].index_copy_(0, ids, mean)
        state["exp_avg_sq"].index_copy_(0, ids, square)
        # Of new memory from here on, since `mean` and `square` were copied.
        change = mean.div_(square.sqrt_().div_((1 - beta2**steps) ** 0.5).add_(group["eps"]))
        change.mul_(-rate / (1 - beta1**steps))
        if group["weight_decay"]:
            change.add_(parameter[ids], alpha=-rate * group["weight_decay"])
        parameter.index_add_(0, ids, _unless(skip, change))


class RowSGD(torch.optim.SGD):
    """SGD; of a parameter with a sparse gradient, only the gradient's rows change, weight decay included."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        with dense_only(self) as sparse:
            super().step()
        for group, parameter, gradient in sparse:
            if group["momentum"]:
                raise UsageError(
                    "--momentum needs the gradients of all words: use another --output, or leave --momentum out"
                )
            ids, change = gradient._indices()[0], gradient._values()
            if group["weight_decay"]:
                change = change.add(parameter[ids], alpha=group["weight_decay"])
            change = _unless(getattr(self, "found_inf", None), change)
            parameter.index_add_(0, ids, change, alpha=-float(group["lr"]))


def _unless(skip: Tensor | None, values: Tensor) -> Tensor:
    """The values; zeros if the number `skip` is not 0, where they may be NaN."""
    return values if skip is None else torch.where(skip == 0, values, 0)


@contextlib.contextmanager
def dense_only(
    optimiser: torch.optim.Optimizer,
) -> Iterator[list[tuple[dict[str, Any], nn.Parameter, Tensor]]]:
    """Inside the block, parameters with a sparse gradient have none; the value lists (group, parameter, gradient)."""
    sparse = [
        (group, parameter, parameter.grad)
        for group in optimiser.param_groups
        for parameter in group["params"]
        if parameter.grad is not None and parameter.grad.is_sparse
    ]
    for _, parameter, _ in sparse:
        parameter.grad = None
    yield sparse
    for _, parameter, gradient in sparse:
        parameter.grad = gradient
