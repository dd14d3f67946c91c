"""Save and load weights as safetensors; names, shapes and types are checked before memory is allocated."""

import errno
import os
import re
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
"""Maximum number of weights listed in a message; the others are counted."""


def named_weights(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name; a parameter shared by two modules appears once."""
    parameters = {id(p) for p in module.parameters()}
    kept = {n: t for n, t in module.state_dict(keep_vars=True).items() if id(t) not in parameters}
    return {**dict(module.named_parameters()), **kept}


def save_weights(module: nn.Module, path: Path) -> None:
    """Write the weights of `module` to a safetensors file, which others may read if the umask allows it."""
    path.touch()
    mode = path.stat().st_mode
    save_tensors(named_weights(module), path)
    path.chmod(mode)


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file; OSError, with the file, if it cannot be written."""
    try:
        save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        # "Error while serializing: I/O error: No space left on device (os error 28)"
        number = re.search(r"\(os error (\d+)\)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from error


def load_weights(path: Path, plan: ModuleT, make: Callable[[], ModuleT]) -> ModuleT:
    """The module from `make`, with the weights of the file.

    plan: the same module on the device "meta", without memory; ModelError if the file does not match it.
    """
    try:
        if problems := differences(named_weights(plan), check_header(path)):
            raise ModelError(
                f"{path}: the weights do not fit this configuration: {shortened(problems)}; "
                "restore the right file"
            )
        module = make()
        with safetensors.safe_open(path, "pt") as file, torch.no_grad():
            for name, tensor in named_weights(module).items():
                tensor.copy_(file.get_tensor(name))
    except FileNotFoundError:
        raise ModelError(f"{path}: missing; the run has no finished weights, train it again") from None
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path}: not a valid safetensors file ({error}); restore or train it again"
        ) from error
    return module


def differences(wanted: Mapping[str, Tensor], found: Mapping[str, Entry]) -> list[str]:
    """The differences between the tensors in a file and those of a module."""
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
    """The first MOST_LISTED items in one line, and the number of others."""
    more = len(items) - MOST_LISTED
    return "; ".join([*items[:MOST_LISTED], *([f"and {more} more"] if more > 0 else [])])


def nonfinite(module: nn.Module) -> list[str]:
    """The names of the weights that contain NaN or an infinity."""
    # The extremes are NaN if any element is, and need no memory, unlike a mask.
    return [
        name
        for name, tensor in named_weights(module).items()
        if tensor.is_floating_point() and tensor.numel() and not _finite(tensor)
    ]


def _finite(tensor: Tensor) -> bool:
    low, high = tensor.detach().aminmax()
    return bool(low.isfinite() and high.isfinite())
