"""One call into torch's own kernels (oneDNN, cuDNN) for a whole sequence of a cell that torch has too."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lmkit.recurrence import GatedCell
from lmkit.states import State


def run_fused(kernel: Callable[..., Any], cell: GatedCell, xs: Tensor, state: State) -> tuple[Tensor, State]:
    """ys (time, batch, hidden_size) and the last state, from `torch.lstm`, `torch.gru`, `torch.rnn_tanh` ..."""
    assert isinstance(state, tuple)
    before = [part[None].contiguous() for part in state if isinstance(part, Tensor)]
    weights = [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh]
    # Positional arguments: has_biases, num_layers, dropout, train, bidirectional, batch_first.
    ys, *after = kernel(
        xs, before if len(before) > 1 else before[0], weights, True, 1, 0.0, cell.training, False, False
    )
    return ys, tuple(part[0] for part in after)
