"""Tensors over the memory of arrays and back; torch is imported only for those who ask for tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from lmkit.states import State


def as_tensor(array: np.ndarray) -> Tensor:
    """A tensor over the same memory."""
    import torch

    return torch.from_numpy(array)


def as_array(state: State) -> np.ndarray:
    """An array over the memory of a state that is one tensor."""
    return cast("Tensor", state).numpy()
