"""The device that a command runs on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lmkit.errors import UsageError, first_line

if TYPE_CHECKING:
    import torch

    from lmkit.contracts import Encoder, LanguageModel


def pick_device(name: str) -> torch.device:
    """The device called `name`; "auto" is a GPU if there is one. UsageError when the device is not available."""
    import torch

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


def place(model: LanguageModel | Encoder, name: str) -> None:
    """Move a loaded model to the device called `name`; without torch, it has no weights to move."""
    if "torch" in sys.modules or name not in ("auto", "cpu"):
        model.place(pick_device(name))
