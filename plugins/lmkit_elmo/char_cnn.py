"""The original ELMo's character encoder: compute a word's vector from its spelling, without a vocabulary.

Convolutions of several widths, their maximum over the word, highway layers and a projection (Kim et al., 2016,
arXiv:1508.06615; Jozefowicz et al., 2016, arXiv:1602.02410; Peters et al., 2018, arXiv:1802.05365).

There are few characters, so the contribution of each character at each place of a filter is computed first, as a
table. A convolution is then a sum of rows, not a product, and only the highest window of a word has a gradient.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit.host_copies import on_host, send
from lmkit_elmo.char_kernels import add_gradient, highest
from lmkit_elmo.characters import NUM_CHARACTERS, occupied, spelled

ROWS = 32
"""Words per batch without gradients, since the last bits of a product may depend on its shape."""
ROWS_ELSEWHERE = 1024
"""The same on other devices than the CPU."""
ALIGNED = 16
"""Floats in 64 bytes, the largest vector of a processor: BLAS sums rows in another order if they are not aligned to
it, so a word's last bits would depend on its place among the others."""


class CharacterEncoder(nn.Module):
    """Rows of character ids to vectors of `width`.

    filters: (characters, number) of each convolution. project: whether a linear map follows the highways;
    without it, the features of the filters must sum to `width`.
    """

    def __init__(
        self,
        *,
        embedding_size: int,
        filters: Sequence[tuple[int, int]],
        num_highways: int,
        width: int,
        activation: str = "relu",
        project: bool = True,
    ) -> None:
        super().__init__()
        total = sum(number for _, number in filters)
        assert project or total == width
        self.width = width
        self.activation = {"relu": torch.relu, "tanh": torch.tanh}[activation]
        self.embedding = nn.Parameter(torch.empty(NUM_CHARACTERS - 1, embedding_size).uniform_(-1, 1))
        """(characters, embedding_size), without the mask, whose vector is always zero."""
        self.filters = nn.ParameterList(torch.empty(size, embedding_size, number) for size, number in filters)
        """For each convolution (characters, embedding_size, number)."""
        self.biases = nn.ParameterList(torch.zeros(number) for _, number in filters)
        # He et al., 2015, arXiv:1502.01852, equation 10; without its factor 2 for tanh, which is linear near zero.
        gain = 2 if activation == "relu" else 1
        for weight in self.filters:
            nn.init.normal_(weight, std=(gain / weight[..., 0].numel()) ** 0.5)
        self.highways = nn.ModuleList(Highway(total) for _ in range(num_highways))
        self.projection: nn.Module = nn.Linear(total, width) if project else nn.Identity()

    def forward(self, characters: Tensor) -> Tensor:
        """(words, length) ids to (words, width), with the maximum over all of `length`."""
        everything = torch.full((len(characters),), characters.shape[1])
        return self._finished(self._pooled(characters, everything, self._tables()))

    def convolved(self, characters: Tensor) -> Tensor:
        """The same as `forward` by the convolutions of torch, which programs can trace."""
        x = F.embedding(characters, self._with_mask()).transpose(1, 2)
        found = [
            F.conv1d(x, weight.permute(2, 1, 0), bias).amax(2)
            for weight, bias in zip(self.filters, self.biases, strict=True)
        ]
        return self._finished(self.activation(torch.cat(found, 1)))

    def embed_words(self, words: Sequence[str]) -> Tensor:
        """(words, width), like `forward(spelled(words))` but faster."""
        return self.embed_rows(spelled(words))

    def embed_rows(self, rows: Tensor) -> Tensor:
        """(words, 50) ids to (words, width), like `forward(rows)` but faster; on the encoder's device.

        Of the windows with only padding, it reads just the first. Without gradients, a word's bits do not depend
        on the other words.
        """
        rows, device, tables = on_host(rows), self.embedding.device, self._tables()
        if torch.is_grad_enabled():
            return self._finished(self._pooled(send(rows, device), occupied(rows), tables))
        size = ROWS if device.type == "cpu" else ROWS_ELSEWHERE
        full = F.pad(rows, (0, 0, 0, -len(rows) % size))
        done = self.embedding.new_empty(len(full), self.width)
        for chunk, place in zip(full.split(size), done.split(size), strict=True):
            place.copy_(self._finished(self._pooled(send(chunk, device), occupied(chunk), tables)))
        return done[: len(rows)]

    def _tables(self) -> list[Tensor]:
        """For each convolution (characters of its width, 262, number): contributions of characters at each place."""
        embedding = self._with_mask()
        return [embedding @ weight for weight in self.filters]

    def _with_mask(self) -> Tensor:
        """(262, embedding_size): the embedding with the mask, id 0."""
        return F.pad(self.embedding, (0, 0, 1, 0))

    def _pooled(self, rows: Tensor, used: Tensor, tables: Sequence[Tensor]) -> Tensor:
        """(words, total) maxima over the windows that begin at or before `used` (words,), which is on the host."""
        found = [
            _highest(rows, used.clamp(max=rows.shape[1] - len(table)), table) + bias
            for table, bias in zip(tables, self.biases, strict=True)
        ]
        return self.activation(torch.cat(found, 1))

    def _finished(self, x: Tensor) -> Tensor:
        for highway in self.highways:
            x = highway(x)
        return _linear(x, self.projection) if isinstance(self.projection, nn.Linear) else x


class Highway(nn.Module):
    """y = g relu(W_t x + b_t) + (1 - g) x with g = sigmoid(W_g x + b_g) (Srivastava et al., 2015, arXiv:1505.00387)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 2 * width)
        """W_g and b_g, then W_t and b_t."""
        nn.init.normal_(self.linear.weight, std=width**-0.5)
        nn.init.zeros_(self.linear.bias)
        # Section 2.2 of the paper: initially most of the input passes.
        nn.init.constant_(self.linear.bias[:width], -2.0)

    def forward(self, x: Tensor) -> Tensor:
        gate, new = _linear(x, self.linear).chunk(2, -1)
        return torch.lerp(x, torch.relu(new), torch.sigmoid(gate))


def _linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """`layer(x)`, with each row aligned to 64 bytes."""
    spare = -x.shape[1] % ALIGNED
    return F.linear(F.pad(x, (0, spare)), F.pad(layer.weight, (0, spare)), layer.bias) if spare else layer(x)


def _highest(rows: Tensor, last: Tensor, table: Tensor) -> Tensor:
    """(words, number) the highest sum over windows that begin at 0 to `last` (words,), which is on the host.

    Without a kernel, it also reads later windows, which contain only padding.
    """
    if table.device.type == "cpu" and table.dtype in (torch.float32, torch.float64):
        return _Highest.apply(rows, last, table)
    windows = int(last.max()) + 1 if len(last) else 1
    parts = (F.embedding(rows[:, i : i + windows], part) for i, part in enumerate(table))
    return cast(Tensor, sum(parts)).amax(1)


class _Highest(torch.autograd.Function):
    """`_highest` by the kernels."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, last: Tensor, table: Tensor) -> Tensor:
        best = table.new_empty(len(rows), table.shape[2])
        place = np.empty(best.shape, np.int32)
        characters = rows.contiguous().numpy()
        highest(characters, last.numpy(), table.detach().contiguous().numpy(), best.numpy(), place)
        ctx.characters, ctx.place, ctx.shape = characters, place, table.shape
        return best

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        table = gradient.new_zeros(ctx.shape)
        add_gradient(ctx.characters, ctx.place, gradient.contiguous().numpy(), table.numpy())
        return None, None, table
