"""Weights on disk: safetensors alone, every name, shape and type compared before anything is allocated."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import safetensors
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from lmkit.errors import ModelError, listed

ModuleT = TypeVar("ModuleT", bound=nn.Module)

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def named_weights(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and kept buffers by name; a parameter that two modules share appears once."""
    parameters = {id(p) for p in module.parameters()}
    kept = {n: t for n, t in module.state_dict(keep_vars=True).items() if id(t) not in parameters}
    return {**dict(module.named_parameters()), **kept}


def save_weights(module: nn.Module, path: Path) -> None:
    """Write the weights of `module` to a safetensors file, which others may read as far as the umask lets them."""
    path.touch()
    mode = path.stat().st_mode
    save_file({name: t.detach().contiguous().cpu() for name, t in named_weights(module).items()}, path)
    path.chmod(mode)


def load_weights(path: Path, plan: ModuleT, make: Callable[[], ModuleT]) -> ModuleT:
    """The module that `make` gives, with the weights of the file.

    plan: the same module on the device "meta", where nothing is allocated; ModelError if the file is not it.
    """
    wanted = named_weights(plan)
    try:
        with safetensors.safe_open(path, "pt") as file:
            found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            problems = differences(
                wanted, {n: (tuple(s.get_shape()), s.get_dtype()) for n, s in found.items()}
            )
            if problems:
                raise ModelError(
                    f"{path}: these are not the weights of this configuration: {listed(problems)}"
                )
            module = make()
            with torch.no_grad():
                for name, tensor in named_weights(module).items():
                    tensor.copy_(file.get_tensor(name))
    except FileNotFoundError:
        raise ModelError(f"{path}: missing; the run has no finished weights, train it again") from None
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path}: not a sound safetensors file ({error}); restore or train it again"
        ) from error
    return module


def differences(wanted: dict[str, Tensor], found: dict[str, tuple[tuple[int, ...], str]]) -> list[str]:
    """How the tensors in a file (shape and type by name) differ from those that a module needs."""
    problems = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    problems += [f"{name} is not a weight of this model" for name in sorted(found.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & found.keys()):
        shape, dtype = found[name]
        if shape != tuple(wanted[name].shape):
            problems.append(f"{name} has shape {list(shape)}, wanted {list(wanted[name].shape)}")
        elif DTYPES.get(dtype) != wanted[name].dtype:
            problems.append(f"{name} is of type {dtype}, wanted {wanted[name].dtype}")
    return problems
