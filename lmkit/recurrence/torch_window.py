"""Run a window of one layer, or of several at once, by torch's own kernel for a cell (oneDNN, cuDNN)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from lmkit.neural.flat_weights import in_buffer_order, lay_together, together
from lmkit.recurrence.interfaces import Gated
from lmkit.recurrence.linear_scan import reset_steps

Tensors = tuple[Tensor, ...]


def torch_window(
    cells: Sequence[Gated], xs: Tensor, states: Sequence[Tensors], resets: Tensor | None
) -> tuple[Tensor, list[Tensors]]:
    """ys (time, batch, hidden_size) of the last of these layers, and the last state of each.

    cells, states: of each layer, from the bottom; several only if `one_call` holds. xs: (time, batch, input_size).
    resets: (time, batch) bool. The kernel has no resets, so it runs from one step with a reset to the next.
    """
    kernel = cells[0].torch_kernel()
    assert kernel is not None
    weights = _weights(cells)
    at = reset_steps(resets)
    ys, states = [], list(states)
    for first, end in pairwise(sorted({0, *at, len(xs)})):
        if first in at:
            states = [
                cast(Tensors, cell.reset(state, resets, first))
                for cell, state in zip(cells, states, strict=True)
            ]
        before = [_stacked(parts) for parts in zip(*states, strict=True)]
        # Positional arguments: has_biases, num_layers, dropout, train, bidirectional, batch_first.
        y, *after = kernel(
            xs[first:end],
            before if len(before) > 1 else before[0],
            weights,
            *(True, len(cells), 0.0, cells[0].training, False, False),
        )
        ys.append(y)
        states = [tuple(part[layer] for part in after) for layer in range(len(cells))]
    return (torch.cat(ys) if len(ys) > 1 else ys[0]), states


def on_gpu(tensor: Tensor) -> bool:
    """Whether the kernel for a tensor is a GPU's.

    It reads the weights of all layers from one buffer, and begins a layer while the one below is still at work. On a
    CPU the layers run one after the other in any case.
    """
    return tensor.device.type != "cpu"


def one_call(lower: nn.Module, upper: nn.Module) -> bool:
    """Whether one call of torch's kernel can run a layer and the one above it, if nothing lies between them."""
    kernel = _kernel(lower)
    return (
        kernel is not None
        and kernel is _kernel(upper)
        and (lower.hidden_size, lower.tier) == (upper.hidden_size, upper.tier)
    )


def lay_weights_together(cells: Sequence[nn.Module]) -> None:
    """Move the weights of layers that one call runs on a GPU into one buffer; other cells keep theirs."""
    if _kernel(cells[0]) is not None:
        weights = in_buffer_order([_of(cast(Gated, cell)) for cell in cells])
        if on_gpu(weights[0]):
            lay_together(cast(list[nn.Parameter], weights))


def _kernel(cell: nn.Module) -> object:
    """torch's kernel for a cell, or None."""
    return cell.torch_kernel() if hasattr(cell, "torch_kernel") else None  # pyright: ignore[reportCallIssue]


def _weights(cells: Sequence[Gated]) -> list[Tensor]:
    """The weights of the layers as the kernel takes them: layer by layer, each W_ih, W_hh, b_ih and b_hh.

    On a GPU they are parts of one buffer; only those in other memory, as with weight drop, are copied.
    """
    layers = [_of(cell) for cell in cells]
    if not on_gpu(layers[0][0]):
        return [weight for layer in layers for weight in layer]
    found = together(in_buffer_order(layers))
    matrices, biases = found[: 2 * len(layers)], found[2 * len(layers) :]
    return [w for i in range(0, len(matrices), 2) for w in (*matrices[i : i + 2], *biases[i : i + 2])]


def _of(cell: Gated) -> list[Tensor]:
    return [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh]


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    """(layers, batch, hidden_size) from the state of each layer."""
    return parts[0][None].contiguous() if len(parts) == 1 else torch.stack(list(parts))
