"""Several processes that train together, connected by torch.distributed."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from lmkit import launch, states
from lmkit.devices import pick_device
from lmkit.errors import LmkitError, UsageError
from lmkit.recurrence import TrainableModel
from lmkit.states import State
from lmkit.training.processes import Agreed, LostError, Processes, T

LONGEST_WAIT = timedelta(days=7)
"""For others, who may validate for long. A process that ends is noticed at once, since its connection closes."""


class Group(Processes):
    """This process among several."""

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.count = dist.get_world_size()

    def device(self, name: str, parameters: int | None = None) -> torch.device:
        device = pick_device(name, parameters)
        if device.type == "cpu":
            return device
        local = launch.local_rank()
        if device.type != "cuda" or device.index is not None:
            raise UsageError(
                f"--device {name}: several processes use one GPU each, by their number, or the CPU: "
                "give --device cuda or cpu"
            )
        if local >= torch.cuda.device_count():
            raise LmkitError(
                f"process {local + 1} of this machine has no GPU, since there are {torch.cuda.device_count()}: "
                "start fewer processes (--nproc-per-node), or give --device cpu"
            )
        torch.cuda.set_device(local)
        return torch.device("cuda", local)

    def lead(self, work: Callable[[], T]) -> T:
        found: list[Any] = [work() if self.leads else None]
        with noticing_ends():
            dist.broadcast_object_list(found, src=0)
        return found[0]

    def gather(self, state: State) -> State:
        parts: list[Any] | None = [None] * self.count if self.leads else None
        own = states.apply(lambda leaf: leaf.cpu(), state)
        with noticing_ends():
            dist.gather_object(own, parts, dst=0)
        return state if parts is None else states.cat(parts)

    def sum_step(
        self, model: TrainableModel, loss: Tensor, propose: Callable[[], Agreed]
    ) -> tuple[Tensor, Agreed]:
        parameters = [p for p in model.parameters() if p.requires_grad]
        self._check_sparse(model, parameters)
        figures = [float(loss), *astuple(propose())]
        sizes = [p.numel() if p.grad is None else _elements(p.grad).numel() for p in parameters]
        # One collective a step, since each takes as long as its slowest process.
        everything = parameters[0].new_zeros(sum(sizes) + len(parameters) + 3 * len(figures))
        *places, present, rest = everything.split([*sizes, len(parameters), 3 * len(figures)])
        for place, parameter in zip(places, parameters, strict=True):
            if parameter.grad is not None:
                place.copy_(_elements(parameter.grad).flatten())
        present.copy_(torch.tensor([p.grad is not None for p in parameters]))
        rest.copy_(_in_three(figures, rest.dtype).flatten())
        with noticing_ends():
            dist.all_reduce(everything)
        for place, parameter, number in zip(places, parameters, present.tolist(), strict=True):
            if number:  # without a gradient in any process, the optimiser leaves a weight as it is
                parameter.grad = _with_elements(parameter, place)
        total, stop, save, seconds, cpu_seconds = rest.double().view(-1, 3).sum(1).tolist()
        return torch.tensor(total, dtype=torch.float64), Agreed(stop > 0, save > 0, seconds, cpu_seconds)

    def _check_sparse(self, model: TrainableModel, parameters: Sequence[nn.Parameter]) -> None:
        """Raise UsageError for sparse gradients, unless all processes have the same rows, those of one sample."""
        if not model.samples_loss and any(p.grad is not None and p.grad.is_sparse for p in parameters):
            raise UsageError(
                f"the model {type(model).__module__}:{type(model).__qualname__} has sparse gradients, which "
                "several processes cannot add up: train it in one"
            )


def _elements(gradient: Tensor) -> Tensor:
    return gradient._values() if gradient.is_sparse else gradient


def _with_elements(parameter: nn.Parameter, elements: Tensor) -> Tensor:
    """A gradient of a parameter like that which it has, with other elements."""
    old = parameter.grad
    if old is None or not old.is_sparse:
        return elements.view_as(parameter).to(parameter.dtype)
    values = elements.view_as(old._values())
    return torch.sparse_coo_tensor(old._indices(), values, old.shape, check_invariants=False)


def _in_three(figures: Sequence[float], dtype: torch.dtype) -> Tensor:
    """(figures, 3): float64 numbers as sums of three numbers of a type with fewer digits."""
    rest = torch.tensor(figures, dtype=torch.float64)
    parts = []
    for _ in range(3):
        parts.append(rest.to(dtype))
        rest = (rest - parts[-1].double()).nan_to_num()
    return torch.stack(parts, 1)


@contextlib.contextmanager
def noticing_ends() -> Iterator[None]:
    """Raise LostError if another process has ended during the exchange inside the block."""
    try:
        yield
    except RuntimeError as error:
        raise LostError(
            "another process of this training has ended, so it stops; continue from the last checkpoint with "
            "lmkit train --resume"
        ) from error


@contextlib.contextmanager
def connected() -> Iterator[Group]:
    """The processes that torchrun started, connected inside the block."""
    launch.check_restarts()
    nccl = torch.cuda.is_available() and dist.is_nccl_available()
    with noticing_ends():
        store, rank, count = next(rendezvous("env://", timeout=LONGEST_WAIT))
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if nccl else "gloo",
            # torchrun keeps its store after a restart, with the addresses of processes that have ended.
            store=PrefixStore(launch.attempt(), store),
            rank=rank,
            world_size=count,
            timeout=LONGEST_WAIT,
        )
    try:
        yield Group()
    finally:
        dist.destroy_process_group()
