"""An encoder as a torch module, frozen or fine-tuned, with a mix of its layers."""

from collections.abc import Sequence
from typing import Protocol, Self, cast

import torch
from torch import Tensor, nn

from lmkit.contracts import Encoder
from lmkit.corpus.word_lists import refuse_one_string
from lmkit.embedding.batches import with_separator
from lmkit.embedding.mix import ScalarMix
from lmkit.errors import UsageError


class HasEncoder(Protocol):
    """The result of `lmkit.load`."""

    @property
    def encoder(self) -> Encoder: ...


class EncoderModule(nn.Module):
    """`EncoderModule(lmkit.load("runs/elmo"))`: sentences in, a padded batch of vectors and its mask out.

    trainable: the encoder's weights also get gradients, and it follows this module's training mode, in which a stack
    has dropout between its layers; else it is frozen in evaluation mode, and only the mix learns. Both change the
    given encoder, which other code may share. mix: a `ScalarMix` of the layers; else the layers of a token are
    concatenated. separator: between the words of a list, as in `Model.embed`.
    `width` is the number of features of a vector. The encoder's weights are in the `state_dict` if it is a module.
    Raises UsageError for a trainable encoder that is not a module, and ModelError for a run without vectors.
    """

    def __init__(
        self,
        run: HasEncoder | Encoder,
        *,
        trainable: bool = False,
        mix: bool = True,
        separator: str | None = None,
    ) -> None:
        super().__init__()
        self.separator = separator
        self.encoder = run if isinstance(run, Encoder) else run.encoder
        self.trainable = trainable
        layers = self.encoder.num_layers
        self.mix = ScalarMix(layers).to(self.encoder.device) if mix else None
        self.width = self.encoder.width * (1 if mix else layers)
        if isinstance(self.encoder, nn.Module):
            self.encoder.requires_grad_(trainable)
            self.encoder.train(trainable)
        elif trainable:
            raise UsageError(
                f"the encoder {type(self.encoder).__name__} is not a torch module, so it cannot be fine-tuned: "
                "leave trainable out"
            )

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if isinstance(self.encoder, nn.Module):
            self.encoder.train(mode and self.trainable)
        return self

    def forward(self, sentences: Sequence[str] | Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """(batch, longest, width) vectors, zeros for padding, and (batch, longest) bool, true for tokens.

        sentences: as in `Encoder.embed`.
        """
        refuse_one_string(sentences, "sentences")
        with torch.set_grad_enabled(self.trainable and torch.is_grad_enabled()):
            found = self.encoder.embed(cast(Sequence[str], list(with_separator(sentences, self.separator))))
        rows = [vectors.transpose(0, 1) for vectors in found]  # (tokens, layers, features)
        if not rows:
            empty = torch.zeros(0, 0, self.width, device=self.encoder.device)
            return empty, empty[..., 0].bool()
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows], device=padded.device)
        mask = torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]
        if self.mix is None:
            return padded.flatten(2), mask
        return cast(Tensor, self.mix(padded.movedim(2, 0), mask)), mask
