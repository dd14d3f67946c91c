"""The network of a classifier: models that read a text, their states pooled, dropout and a linear layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit.contracts import Encoder, Tokenizer
from lmkit.embedding.mix import ScalarMix
from lmkit.embedding.module import EncoderModule
from lmkit.recurrence import NeuralLanguageModel, Recurrent

PARTS = {"last": ("last",), "mean": ("mean",), "max": ("max",), "concat": ("last", "mean", "max")}
"""The vectors of a text that each pooling puts side by side."""


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A text as far as it is read, and its ids."""

    text: str
    ids: np.ndarray

    @property
    def length(self) -> int:
        """Steps of a model that reads it, the beginning included."""
        return len(self.ids) + 1


def encode(tokenizer: Tokenizer, text: str, max_tokens: int) -> EncodedText:
    """The first `max_tokens` tokens of a text."""
    encoding = tokenizer.encode(text)
    if len(encoding.ids) <= max_tokens:
        return EncodedText(text, encoding.ids)
    return EncodedText(text[: encoding.spans[max_tokens - 1, 1]], encoding.ids[:max_tokens])


class CausalReader(nn.Module):
    """The features of a language model after `<s>` and after each token.

    backward: it reads the tokens of a text from the last to the first.
    """

    num_layers = 1
    ends = 1
    """How many of its states have read the whole text: the last."""

    def __init__(self, model: NeuralLanguageModel, *, backward: bool = False) -> None:
        super().__init__()
        self.model = model
        self.backward = backward
        self.width = model.output.width

    def forward(self, texts: Sequence[EncodedText]) -> tuple[Tensor, Tensor]:
        """(1, batch, time, width) states and (batch,) the number of each row's own; the others are padding."""
        model = self.model
        rows = np.full((len(texts), max(text.length for text in texts)), model.start_id)
        for row, text in zip(rows, texts, strict=True):
            row[1 : text.length] = text.ids[::-1] if self.backward else text.ids
        ids = torch.from_numpy(rows).to(model.device)
        states, _ = model.features(ids, model.blank_state(len(rows)))
        return states[None], torch.tensor([text.length for text in texts], device=states.device)

    def penalty(self) -> Tensor | None:
        """The regularisation term of the last batch, if the model has one."""
        return self.model.penalty


class EncoderReader(nn.Module):
    """The vectors of an encoder for each token."""

    ends = 2
    """An encoder of two directions has read the whole text at its last token and at its first."""

    def __init__(self, encoder: Encoder, *, trainable: bool) -> None:
        super().__init__()
        self.module = EncoderModule(encoder, trainable=trainable, mix=False)
        self.num_layers = encoder.num_layers
        self.width = encoder.width

    def forward(self, texts: Sequence[EncodedText]) -> tuple[Tensor, Tensor]:
        """(layers, batch, time, width) and (batch,) as in `CausalReader`; a text without tokens has one of zeros."""
        vectors, mask = self.module([text.text for text in texts])
        if vectors.shape[1] == 0:
            vectors = F.pad(vectors, (0, 0, 0, 1))
        layers = vectors.unflatten(2, (self.num_layers, self.width)).movedim(2, 0)
        return layers, mask.sum(1).clamp(min=1)

    def penalty(self) -> Tensor | None:
        return None


Reader = CausalReader | EncoderReader


class Head(nn.Module):
    """The mix of an encoder's layers, dropout and the linear layer."""

    def __init__(self, width: int, classes: int, *, mixed_layers: int, dropout: float) -> None:
        super().__init__()
        self.mix = ScalarMix(mixed_layers) if mixed_layers > 1 else None
        self.linear = nn.Linear(width, classes)
        self.dropout = dropout

    def forward(self, pooled: Tensor) -> Tensor:
        """(batch, classes) scores of pooled states (batch, width)."""
        return self.linear(F.dropout(pooled, self.dropout, self.training))


class ClassifierNetwork(nn.Module):
    """`readers` read a text, and `head` scores the classes from their pooled states.

    frozen: the readers keep their weights, and run without their own dropout.
    """

    def __init__(self, readers: Sequence[Reader], head: Head, pool: str, *, frozen: bool = False) -> None:
        super().__init__()
        self.readers = nn.ModuleList(readers)
        self.head = head
        self.pool = pool
        self.frozen = frozen

    def forward(self, texts: Sequence[EncodedText]) -> Tensor:
        """(batch, classes) scores; those of a text depend on the other texts only by rounding."""
        found = []
        for reader in self.all_readers():
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
                layers, lengths = reader(texts)
            states = layers[0] if self.head.mix is None else self.head.mix(layers)
            found.append(pooled(states, lengths, self.pool, reader.ends))
        return self.head(torch.cat(found, 1))

    def all_readers(self) -> list[Reader]:
        return [cast(Reader, reader) for reader in self.readers]

    def penalty(self) -> Tensor | None:
        """The sum of the models' regularisation terms of the last batch."""
        terms = [term for reader in self.all_readers() if (term := reader.penalty()) is not None]
        return torch.stack(terms).sum() if terms else None

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.frozen:
            self.readers.eval()
        return self


def pooled_width(readers: Sequence[Reader], pool: str) -> int:
    """The width of the pooled states of all readers."""
    return sum(
        reader.width * (reader.ends if part == "last" else 1) for reader in readers for part in PARTS[pool]
    )


def pooled(states: Tensor, lengths: Tensor, pool: str, ends: int) -> Tensor:
    """(batch, features) of states (batch, time, width), of which the first lengths (batch,) of a row count.

    ends: 2 if the first state is added to the last.
    """
    inside = (torch.arange(states.shape[1], device=states.device) < lengths[:, None])[
        ..., None
    ]  # (batch, time, 1)
    parts = []
    for part in PARTS[pool]:
        if part == "last":
            rows = torch.arange(len(states), device=states.device)
            parts += [states[rows, lengths - 1], *([states[:, 0]] if ends == 2 else [])]
        elif part == "mean":
            parts.append(torch.where(inside, states, 0).sum(1) / lengths[:, None])
        else:
            parts.append(torch.where(inside, states, -torch.inf).amax(1))
    return torch.cat(parts, 1)


def layer_groups(network: ClassifierNetwork) -> list[list[nn.Parameter]]:
    """The parameters of the head, of the models' layers from the top, and last of what is below the layers.

    Only stacks of `Recurrent` have layers; other models are one group.
    """
    depths: dict[nn.Parameter, int] = dict.fromkeys(network.readers.parameters(), 0)
    for stack in network.readers.modules():
        if not isinstance(stack, Recurrent):
            continue
        for depth, parts in enumerate(zip(stack.layers, stack.norms, stack.shortcuts, strict=True), 1):
            depths.update({p: depth for part in parts for p in part.parameters()})
        depths.update(dict.fromkeys(stack.last_norm.parameters(), len(stack.layers)))
    top = max(depths.values(), default=0)
    layers: list[list[nn.Parameter]] = [[] for _ in range(top + 1)]
    for parameter, depth in depths.items():
        layers[top - depth].append(parameter)
    return [list(network.head.parameters()), *layers]
