"""Take a snapshot of a trainer for a checkpoint, and restore a trainer from one."""

import math
import platform
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lmkit.errors import CheckpointError, listed
from lmkit.neural.weights import named_weights
from lmkit.recurrence import tiers
from lmkit.states import State, leaves
from lmkit.training.checkpoint import Snapshot
from lmkit.training.early_stopping import TrainState
from lmkit.training.saved_state import is_count, read_state

if TYPE_CHECKING:
    from lmkit.training.loop import Trainer


def snapshot(trainer: "Trainer", all_hidden: State | None = None) -> Snapshot:
    """Weights, optimiser, hidden state of every stream, random states, and the state of training.

    all_hidden: the hidden state of all streams, if several processes have parts of it.
    """
    hidden = {
        str(number): leaf
        for number, leaf in enumerate(leaves(trainer.hidden if all_hidden is None else all_hidden))
    }
    state = asdict(trainer.state)
    # JSON has no infinity.
    state["best_loss"] = None if math.isinf(state["best_loss"]) else state["best_loss"]
    return Snapshot(
        trainer.state.step,
        {
            "model": dict(named_weights(trainer.model)),
            "optimiser": optimiser_state(trainer.model, trainer.optimiser),
            "hidden": hidden,
            "random": random_states(trainer.model.device),
            **({"average": trainer.average.weights} if trainer.average else {}),
        },
        {
            "state": state,
            "over": trainer.over(),
            "epoch": round(trainer.streams.windows.epochs(trainer.state.step), 4),
            "metrics_size": trainer.metrics.size,
            "machine": machine(trainer.model, trainer.processes.count),
            "tiers": tiers.progress(trainer.model),
        },
    )


def restore(trainer: "Trainer", saved: Snapshot) -> None:
    """Restore the snapshot in a trainer of the same recipe and data.

    Raises CheckpointError, with a list of the differences, when the snapshot is from another trainer, and for values
    that no trainer has.
    """
    try:
        _restore(trainer, saved, read_state(saved.facts.get("state"), saved.step, trainer.total_steps))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"the checkpoint of step {saved.step} is damaged ({type(error).__name__}: {error}); restore it, or remove "
            "its folder to go on from the one before"
        ) from error


def _restore(trainer: "Trainer", saved: Snapshot, state: TrainState) -> None:
    restore_weights("the model", named_weights(trainer.model), saved.tensors["model"])
    if "average" in saved.tensors and trainer.average is None:
        trainer.begin_average(_count(state.averaged_from))
    if trainer.average:
        restore_weights("the average of the weights", trainer.average.weights, saved.tensors["average"])
    restore_optimiser(trainer.model, trainer.optimiser, saved.tensors["optimiser"])
    hidden = trainer.model.blank_state(trainer.streams.batch_size)
    wanted = {str(number): leaf for number, leaf in enumerate(leaves(hidden))}
    _check("the hidden state", wanted, saved.tensors["hidden"])
    trainer.hidden = _filled(hidden, [saved.tensors["hidden"][number] for number in wanted])
    restore_random(saved.tensors["random"], trainer.model.device)
    trainer.state = state
    # Compiled steps begin at the same step as without the interruption, since they round differently from the loop.
    tiers.restore_progress(trainer.model, saved.facts.get("tiers", {}))
    trainer.metrics.cut(_count(saved.facts["metrics_size"]))


def _count(value: object) -> int:
    """The value, if it is a whole number that counts something."""
    if not is_count(value):
        raise ValueError(f"{value!r} is not a count")
    return value


def restore_weights(what: str, wanted: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    """Copy saved tensors into those of the same names; CheckpointError when names or shapes differ."""
    _check(what, wanted, saved)
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(saved[name])


def optimiser_state(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's tensors, each named `parameter|key`."""
    names = {id(p): n for n, p in model.named_parameters()}
    return {
        f"{names[id(parameter)]}|{key}": torch.as_tensor(value)
        for parameter, entries in optimiser.state.items()
        for key, value in entries.items()
        if value is not None
    }


def restore_optimiser(model: nn.Module, optimiser: torch.optim.Optimizer, saved: dict[str, Tensor]) -> None:
    """Restore the optimiser's state with torch's function, which moves tensors to their devices."""
    names = {id(p): n for n, p in model.named_parameters()}
    table = optimiser.state_dict()
    shapes = {name: p.shape for name, p in model.named_parameters()}
    order = [names[id(p)] for group in optimiser.param_groups for p in group["params"]]
    entries: dict[int, dict[str, Tensor]] = {}
    for name, tensor in saved.items():
        parameter, _, key = name.rpartition("|")
        if parameter not in order:
            raise CheckpointError(
                f"the checkpoint's optimiser has a state for {parameter!r}, unknown to the model; restore it"
            )
        if tensor.dim() and tensor.shape != shapes[parameter]:
            raise ValueError(f"{name} has shape {list(tensor.shape)}, wanted {list(shapes[parameter])}")
        entries.setdefault(order.index(parameter), {})[key] = tensor
    optimiser.load_state_dict({**table, "state": entries})


def random_states(device: torch.device) -> dict[str, Tensor]:
    """The states of the random generators of training."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["device"] = torch.cuda.get_rng_state(device)
    return found


def restore_random(saved: dict[str, Tensor], device: torch.device) -> None:
    """Restore what `random_states` gave."""
    torch.set_rng_state(saved["cpu"])
    if "device" in saved and device.type == "cuda":
        torch.cuda.set_rng_state(saved["device"], device)


def card(device: torch.device) -> dict[str, str]:
    """The GPU and its libraries; nothing for a CPU."""
    if device.type != "cuda":
        return {}
    return {
        "card": torch.cuda.get_device_name(device),
        "cuda": str(torch.version.cuda or torch.version.hip),
        "cudnn": str(torch.backends.cudnn.version()),
    }


def machine(model: nn.Module, processes: int) -> dict[str, str]:
    """The environment on which the last bits of results depend, besides recipe and data."""
    parameter = next(model.parameters())
    return {
        **card(parameter.device),
        "torch": torch.__version__,
        "device": parameter.device.type,
        "dtype": str(parameter.dtype),
        "threads": str(torch.get_num_threads()),
        "processes": str(processes),
        "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }


def _check(what: str, wanted: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    """Raise CheckpointError, with a list of the differences, when names or shapes differ."""
    problems = [f"{name} is missing" for name in sorted(wanted.keys() - saved.keys())]
    problems += [f"{name} is unexpected" for name in sorted(saved.keys() - wanted.keys())]
    problems += [
        f"{name} has shape {list(saved[name].shape)}, wanted {list(wanted[name].shape)}"
        for name in sorted(wanted.keys() & saved.keys())
        if saved[name].shape != wanted[name].shape
    ]
    if problems:
        raise CheckpointError(f"the checkpoint does not match {what} of the recipe: {listed(problems)}")


def _filled(like: State, tensors: list[Tensor]) -> State:
    """A state with the structure of `like` and these leaves, in order; removes them from the list."""
    if isinstance(like, Tensor):
        return tensors.pop(0).to(like)
    return tuple(_filled(part, tensors) for part in like)
