"""The device that a command runs on."""

import torch

from lmkit.errors import UsageError, first_line


def pick_device(name: str) -> torch.device:
    """The device called `name`; "auto" is a GPU if there is one. UsageError when the device is not available."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"--device {name} is not available on this machine ({first_line(error)}); use auto or cpu"
        ) from error
    return device
