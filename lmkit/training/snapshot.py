"""What a checkpoint holds of a trainer, and how a trainer is put back where it was."""

import math
import platform
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lmkit.errors import CheckpointError, listed
from lmkit.neural.weights import named_weights
from lmkit.recurrence import tiers
from lmkit.states import State, leaves
from lmkit.training.checkpoint import Snapshot

if TYPE_CHECKING:
    from lmkit.training.loop import Trainer


def snapshot(trainer: "Trainer") -> Snapshot:
    """Weights, optimiser, hidden state of every stream, random states, and where training stands."""
    names = {id(p): n for n, p in trainer.model.named_parameters()}
    optimiser = {
        f"{names[id(parameter)]}|{key}": torch.as_tensor(value)
        for parameter, entries in trainer.optimiser.state.items()
        for key, value in entries.items()
        if value is not None
    }
    hidden = {str(number): leaf for number, leaf in enumerate(leaves(trainer.hidden))}
    state = asdict(trainer.state)
    # JSON has no infinity.
    state["best_loss"] = None if math.isinf(state["best_loss"]) else state["best_loss"]
    return Snapshot(
        trainer.state.step,
        {
            "model": dict(named_weights(trainer.model)),
            "optimiser": optimiser,
            "hidden": hidden,
            "random": random_states(trainer.model.device),
            **({"average": trainer.average.weights} if trainer.average else {}),
        },
        {
            "state": state,
            "over": trainer.over(),
            "epoch": round(trainer.state.step / trainer.streams.steps_per_epoch, 4),
            "metrics_size": trainer.metrics.size,
            "machine": machine(trainer.model),
            "tiers": tiers.progress(trainer.model),
        },
    )


def restore(trainer: "Trainer", saved: Snapshot) -> None:
    """Put a trainer, made from the same recipe and data, where the snapshot was taken.

    Raises CheckpointError, listing what differs, when the snapshot is not of such a trainer.
    """
    weights = named_weights(trainer.model)
    _check("the model", weights, saved.tensors["model"])
    with torch.no_grad():
        for name, tensor in weights.items():
            tensor.copy_(saved.tensors["model"][name])
    if trainer.average:
        _check("the average of the weights", trainer.average.weights, saved.tensors["average"])
        for name, tensor in trainer.average.weights.items():
            tensor.copy_(saved.tensors["average"][name])
    _restore_optimiser(trainer, saved.tensors["optimiser"])
    hidden = trainer.model.blank_state(trainer.streams.batch_size)
    wanted = {str(number): leaf for number, leaf in enumerate(leaves(hidden))}
    _check("the hidden state", wanted, saved.tensors["hidden"])
    trainer.hidden = _filled(hidden, [saved.tensors["hidden"][number] for number in wanted])
    torch.set_rng_state(saved.tensors["random"]["cpu"])
    if "device" in saved.tensors["random"] and trainer.model.device.type == "cuda":
        torch.cuda.set_rng_state(saved.tensors["random"]["device"], trainer.model.device)
    state: dict[str, Any] = dict(saved.facts["state"])
    state["best_loss"] = math.inf if state["best_loss"] is None else state["best_loss"]
    trainer.state = replace(trainer.state, **state)
    # Compiled steps begin where they would have begun: they round otherwise than the loop.
    tiers.restore_progress(trainer.model, saved.facts.get("tiers", {}))
    trainer.metrics.cut(saved.facts["metrics_size"])


def _restore_optimiser(trainer: "Trainer", saved: dict[str, Tensor]) -> None:
    """Put the optimiser's state back, by torch's own way, which knows what lives on which device."""
    names = {id(p): n for n, p in trainer.model.named_parameters()}
    table = trainer.optimiser.state_dict()
    order = [names[id(p)] for group in trainer.optimiser.param_groups for p in group["params"]]
    entries: dict[int, dict[str, Tensor]] = {}
    for name, tensor in saved.items():
        parameter, _, key = name.rpartition("|")
        if parameter not in order:
            raise CheckpointError(
                f"the checkpoint's optimiser has a state for {parameter!r}, which the model has not"
            )
        entries.setdefault(order.index(parameter), {})[key] = tensor
    trainer.optimiser.load_state_dict({**table, "state": entries})


def random_states(device: torch.device) -> dict[str, Tensor]:
    """The states of the generators that training draws from."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["device"] = torch.cuda.get_rng_state(device)
    return found


def machine(model: torch.nn.Module) -> dict[str, str]:
    """What results depend on, to the last bit, besides recipe and data."""
    parameter = next(model.parameters())
    return {
        "torch": torch.__version__,
        "device": parameter.device.type,
        "dtype": str(parameter.dtype),
        "threads": str(torch.get_num_threads()),
        "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }


def _check(what: str, wanted: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    """CheckpointError, listing the differences, when names or shapes are not the same."""
    problems = [f"{name} is missing" for name in sorted(wanted.keys() - saved.keys())]
    problems += [f"{name} is too much" for name in sorted(saved.keys() - wanted.keys())]
    problems += [
        f"{name} has shape {list(saved[name].shape)}, wanted {list(wanted[name].shape)}"
        for name in sorted(wanted.keys() & saved.keys())
        if saved[name].shape != wanted[name].shape
    ]
    if problems:
        raise CheckpointError(
            f"the checkpoint is not of {what} that the recipe describes: {listed(problems)}"
        )


def _filled(like: State, tensors: list[Tensor]) -> State:
    """A state of the form of `like` with these leaves, in order; they are taken from the list."""
    if isinstance(like, Tensor):
        return tensors.pop(0).to(like)
    return tuple(_filled(part, tensors) for part in like)
