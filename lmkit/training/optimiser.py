"""Optimisers, and the defaults of their rate and clipping."""

import math

import torch
from torch import Tensor, nn

from lmkit.training.groups import rate_factors
from lmkit.training.options import TrainOptions
from lmkit.training.row_adam import RowAdamW, RowSGD

# Plain SGD needs large steps with small gradients: 30 and 0.25 in Merity et al. (2017).
DEFAULT_RATE = {"adamw": 4e-3, "sgd": 20.0}
DEFAULT_CLIP = {"adamw": 1.0, "sgd": 0.25}
DEFAULT_DECAY = {"adamw": 0.01, "sgd": 0.0}


def make_optimiser(model: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """The optimiser of the options; weight decay applies to matrices, not to vectors, and nothing to frozen ones.

    Each of its groups has the `factor` of its learning rate.
    """
    decay = DEFAULT_DECAY[options.optimizer] if options.weight_decay is None else options.weight_decay
    factors = rate_factors(model, options)
    members: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            members.setdefault((parameter.dim() <= 1, factors[name]), []).append(parameter)
    groups = [
        {"params": found, "weight_decay": 0.0 if is_vector else decay, "factor": factor}
        for (is_vector, factor), found in sorted(members.items(), key=lambda item: item[0])
    ]
    rate = peak_rate(options)
    if options.optimizer == "sgd":
        # On a GPU only the fused step can be skipped without a read (`Figures`).
        fused = any(p.device.type != "cpu" for p in model.parameters())
        return RowSGD(groups, lr=rate, momentum=options.momentum, foreach=not fused, fused=fused)
    # Fused: one pass over parameters and moments instead of about ten.
    return RowAdamW(groups, lr=rate, betas=(options.beta1, options.beta2), fused=True)


def set_rate(optimiser: torch.optim.Optimizer, rate: float, momentum: float | None) -> None:
    """Set the learning rate of each group, and if it is given the momentum, which is beta1 of AdamW."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]
        if momentum is not None and "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        elif momentum is not None:
            group["momentum"] = momentum


def peak_rate(options: TrainOptions) -> float:
    """The learning rate after the warm-up."""
    return DEFAULT_RATE[options.optimizer] if options.learning_rate is None else options.learning_rate


def clip_gradients(model: nn.Module, options: TrainOptions) -> Tensor:
    """Clip the gradient by its norm, then each element by its value; return the norm before that, NaN included.

    Each row of a sparse gradient must occur once. The norm is on the device, so that nobody waits for it.
    """
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    values = [g._values() if g.is_sparse else g for g in gradients]
    norm = torch.nn.utils.get_total_norm(values, foreach=True)
    most = clip_norm(options)
    if values and math.isfinite(most):
        factor = (most / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(values, factor)  # pyright: ignore[reportPrivateImportUsage]
    if options.clip_value is not None:
        for elements in values:
            elements.clamp_(-options.clip_value, options.clip_value)
    return norm


def clip_norm(options: TrainOptions) -> float:
    """The largest norm of the gradient; infinite without clipping."""
    return (DEFAULT_CLIP[options.optimizer] if options.clip_norm is None else options.clip_norm) or math.inf
