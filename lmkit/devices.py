"""The device that a command runs on."""

import torch

from lmkit.errors import UsageError


def pick_device(name: str) -> torch.device:
    """The device called `name`; "auto" is a GPU when there is one. UsageError when it is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {name} is not to be had here ({reason}); use auto or cpu") from error
    return device
