"""Weights on disk: safetensors alone, every name, shape and type compared before anything is allocated."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import safetensors
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from lmkit.errors import ModelError
from lmkit.safetensors_check import Entry, check_header

ModuleT = TypeVar("ModuleT", bound=nn.Module)

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

MOST_LISTED = 20
"""Weights that a message names one by one; of the others only the number is said."""


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
    try:
        if problems := differences(named_weights(plan), check_header(path)):
            raise ModelError(
                f"{path}: these are not the weights of this configuration: {shortened(problems)}; "
                "restore the file that belongs to it"
            )
        module = make()
        with safetensors.safe_open(path, "pt") as file, torch.no_grad():
            for name, tensor in named_weights(module).items():
                tensor.copy_(file.get_tensor(name))
    except FileNotFoundError:
        raise ModelError(f"{path}: missing; the run has no finished weights, train it again") from None
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path}: not a sound safetensors file ({error}); restore or train it again"
        ) from error
    return module


def differences(wanted: Mapping[str, Tensor], found: Mapping[str, Entry]) -> list[str]:
    """How the tensors in a file differ from those that a module needs."""
    problems = []
    for name in sorted(wanted.keys() & found.keys()):
        entry, tensor = found[name], wanted[name]
        if entry.shape != tuple(tensor.shape):
            problems.append(f"{name} has shape {list(entry.shape)}, wanted {list(tensor.shape)}")
        elif DTYPES.get(entry.dtype) != tensor.dtype:
            problems.append(f"{name} is of type {entry.dtype}, wanted {tensor.dtype}")
    problems += [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    problems += [f"{name} is not a weight of this model" for name in sorted(found.keys() - wanted.keys())]
    return problems


def shortened(items: list[str]) -> str:
    """The first MOST_LISTED items in one line, and how many more there are."""
    more = len(items) - MOST_LISTED
    return "; ".join([*items[:MOST_LISTED], *([f"and {more} more"] if more > 0 else [])])


def nonfinite(module: nn.Module) -> list[str]:
    """The names of the weights in which NaN or an infinity stands."""
    # The extremes are NaN where any element is, and take no memory, unlike a mask.
    return [
        name
        for name, tensor in named_weights(module).items()
        if tensor.is_floating_point() and tensor.numel() and not _finite(tensor)
    ]


def _finite(tensor: Tensor) -> bool:
    low, high = tensor.detach().aminmax()
    return bool(low.isfinite() and high.isfinite())
