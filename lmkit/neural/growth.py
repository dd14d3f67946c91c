"""Copy the weights of a trained model into one whose vocabulary may have new words at its end."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lmkit.errors import UsageError
from lmkit.neural.trainable import TrainableModel
from lmkit.neural.weights import named_weights


@dataclass(frozen=True)
class NewTokens:
    """The tokens that a vocabulary gets after its old ones, and how often the new text has them.

    old_size: of the vocabulary; unk_id: of its unknown token. counts: (new tokens,) of those; unknown: of the tokens
    that are still unknown.
    """

    old_size: int
    unk_id: int
    counts: Tensor
    unknown: int

    def log_shares(self) -> Tensor:
        """(1 + new tokens,) float64: log of the shares of the unknown token, first, and of the new ones.

        They divide its old probability in proportion to the counts; none counts less than one.
        """
        counts = torch.cat([torch.tensor([self.unknown]), self.counts]).double().clamp_min(1)
        return (counts / counts.sum()).log()


@torch.no_grad()
def copy_weights(model: TrainableModel, old: TrainableModel, new: NewTokens | None) -> None:
    """Copy all weights of `old` into `model`, which is the same but for new tokens.

    A new token starts as a copy of the unknown token, in the embedding and in the output layer, where the bias of the
    unknown token is divided: after the same text, all old tokens have the probability that they had, and the unknown
    token and the new ones together that of the unknown token, in proportion to their counts. In the adaptive softmax,
    whose last cluster gets the new tokens, each starts as a mean word of that cluster instead.
    Raises UsageError if other weights depend on the size of the vocabulary.
    """
    before = named_weights(old)
    for name, tensor in named_weights(model).items():
        rows = before[name]
        if rows.shape != tensor.shape:
            if new is None or not _has_new_rows(rows, tensor, len(new.counts)):
                raise UsageError(
                    f"--new-words: the weights {name} cannot get new words (shape {list(rows.shape)}, then "
                    f"{list(tensor.shape)}); leave it out"
                )
            rows = _with_rows(rows, len(tensor) - len(rows), new)
        tensor.copy_(rows)
    if new is not None:
        model.divide_unknown(new.old_size, new.unk_id, new.log_shares())


def _has_new_rows(old: Tensor, tensor: Tensor, most: int) -> bool:
    return old.shape[1:] == tensor.shape[1:] and 0 < len(tensor) - len(old) <= most


def _with_rows(old: Tensor, number: int, new: NewTokens) -> Tensor:
    """The old rows, with new ones after those of the vocabulary, and before those of boundaries."""
    if len(old) >= new.old_size:
        words, others = old[: new.old_size], old[new.old_size :]
        row = words[new.unk_id]
    else:
        # A part of the vocabulary, without the unknown token.
        words, others, row = old, old[:0], old.mean(0)
    return torch.cat([words, row.expand(number, *row.shape), others])
