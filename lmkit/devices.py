"""The device that a command runs on."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from lmkit.errors import UsageError, first_line

if TYPE_CHECKING:
    import torch

    from lmkit.contracts import Encoder, LanguageModel

DEVICES = ("cpu", "cuda")
"""The kinds of devices; ROCm's are called cuda too."""

LEAST_PARAMETERS = 1_000_000
"""`auto` takes a GPU for models with this many parameters.

With fewer, a step is so short that the launches of its operations, some microseconds each, take longer than a CPU
needs for it. An estimate, not a measurement.
"""


def pick_device(name: str, parameters: int | None = None) -> torch.device:
    """The device called `name`; "auto" is a GPU if there is one and the model is large enough.

    parameters: of the model, if it is known. Raises UsageError when the device is not available, or of another kind
    than DEVICES: results on it would be untested.
    """
    import torch

    if name == "cpu" or (name == "auto" and parameters is not None and parameters < LEAST_PARAMETERS):
        return torch.device("cpu")
    # Without it, the order of sums in cuBLAS and cuDNN may change from run to run; CUDA reads it when it starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # The same everywhere; torch's own defaults differ between products and cuDNN.
    allow_tf32(False)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type in DEVICES:
            torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"--device {name} is not available on this machine ({first_line(error)}); use auto or cpu"
        ) from error
    if device.type not in DEVICES:
        raise UsageError(
            f"--device {name}: lmkit computes on CPUs and on CUDA devices (NVIDIA, or AMD by ROCm), and was never "
            f"tested on {device.type}; use auto or cpu"
        )
    return device


def place(model: LanguageModel | Encoder, name: str) -> None:
    """Move a loaded model to the device called `name`; without torch, it has no weights to move."""
    if "torch" in sys.modules or name not in ("auto", "cpu"):
        model.place(pick_device(name, model.parameter_count()))


def allow_tf32(allowed: bool) -> None:
    """Whether products and cuDNN on a CUDA device may round their inputs to 10 bits (TF32)."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
