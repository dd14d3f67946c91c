"""Compute vectors of sentences: both directions over batches of sentences of similar length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lmkit.contracts import Encoding, Tokenizer
from lmkit.embedding.alignment import read_words
from lmkit.neural.batching import by_length, full_rows
from lmkit.recurrence import Recurrent
from lmkit_elmo.inputs import CharacterInputs, TokenInputs

BATCH_TOKENS = 2048
"""Tokens of a batch, including padding and boundaries."""
MOST_SENTENCES = 128
WINDOW = 512
"""Tokens per step, so that the memory of the layers besides their outputs does not grow with the sentence."""

Encoded = tuple[str, Encoding, np.ndarray | None]
"""A text, its encoding and its words if they are wanted and not the tokens, as from `read_words`."""


@dataclass(frozen=True)
class Sentence:
    """The vectors (tokens, width) of a sentence's tokens, and the tokens of its words.

    words: (words, 2) the first token of each and the one past its last; None if vectors of tokens are wanted.
    """

    vectors: Tensor
    words: Tensor | None = None

    def joined(self, layers: Tensor) -> Tensor:
        """(layers, words, features) from (layers, tokens, features).

        As in Akbik et al. (2018), the vector of a word is the forward half of its last token and the backward half of
        its first, so both directions have read all of it. A word without tokens gets zeros.
        """
        if self.words is None:
            return layers
        first, end = self.words.unbind(1)
        if layers.shape[1] == 0:
            return layers.new_zeros(len(layers), len(first), layers.shape[2])
        half = layers.shape[2] // 2
        forward = layers[:, (end - 1).clamp(min=0), :half]
        backward = layers[:, first.clamp(max=layers.shape[1] - 1), half:]
        return torch.cat([forward, backward], 2) * (end > first)[:, None]


class Reader:
    """Turns sentences, strings or lists of words, into vectors of their tokens."""

    def __init__(self, inputs: CharacterInputs | TokenInputs, tokenizer: Tokenizer) -> None:
        self.inputs = inputs
        self.tokenizer = tokenizer

    def read(self, sentences: Sequence[str] | Sequence[Sequence[str]]) -> list[Sentence]:
        """The sentences in order; all vectors are computed at once."""
        return self._sentences([self._encoded(sentence) for sentence in sentences])

    def read_encoded(self, sentences: Sequence[str], encodings: Sequence[Encoding]) -> list[Sentence]:
        """The same for encoded strings."""
        return self._sentences([(*pair, None) for pair in zip(sentences, encodings, strict=True)])

    def _encoded(self, sentence: str | Sequence[str]) -> Encoded:
        if isinstance(sentence, str):
            return sentence, self.tokenizer.encode(sentence), None
        return read_words(self.tokenizer, sentence)

    def _sentences(self, encoded: Sequence[Encoded]) -> list[Sentence]:
        ids: list[int] = []
        spellings: list[str] = []
        words: list[Tensor | None] = []
        ends = []
        for text, encoding, ranges in encoded:
            ids += encoding.ids.tolist()
            spellings += [text[start:end] for start, end in encoding.spans.tolist()]
            words.append(None if ranges is None else torch.from_numpy(ranges))
            ends.append(len(spellings))
        vectors = self.inputs.token_vectors(ids, spellings) if ids else self.inputs.boundaries()[:0]
        starts = [0, *ends[:-1]] if ends else []
        return [
            Sentence(vectors[start:end], found) for start, end, found in zip(starts, ends, words, strict=True)
        ]


def bidirectional(
    forward: Recurrent, backward: Recurrent, sentences: Sequence[Sentence], boundaries: Tensor
) -> list[Tensor]:
    """Per sentence (layers, words, features), in the order of the sentences; each begins with the initial state.

    boundaries: (2, width), the first inputs of the forward and the backward stack.
    """
    found: list[Tensor | None] = [None] * len(sentences)
    lengths = [len(sentence.vectors) + 1 for sentence in sentences]
    for batch in by_length(lengths, most_tokens=BATCH_TOKENS, most_sequences=MOST_SENTENCES):
        rows = [sentences[index].vectors for index in batch]
        ahead = _outputs(forward, rows, boundaries[0])
        behind = _outputs(backward, [row.flip(0) for row in rows], boundaries[1])
        for place, (index, row) in enumerate(zip(batch, rows, strict=True)):
            # The first output is that of the boundary.
            own = slice(1, len(row) + 1)
            above = torch.cat([ahead[:, place, own], behind[:, place, own].flip(1)], 2)
            layers = torch.cat([torch.cat([row, row], 1)[None], above])
            found[index] = sentences[index].joined(layers)
    return [layers for layers in found if layers is not None]


def _outputs(stack: Recurrent, rows: Sequence[Tensor], first: Tensor) -> Tensor:
    """(layers, batch, time, width) of every layer, from rows of vectors that are padded on the right."""
    longest = max(len(row) for row in rows)
    x = first.new_zeros(len(rows), longest + 1, len(first))
    x[:, 0] = first
    for place, row in enumerate(rows):
        x[place, 1 : len(row) + 1] = row
    spare = full_rows(len(rows)) - len(rows)
    state = stack.initial_state(len(rows) + spare)
    windows = []
    for part in x.split(WINDOW, 1):
        layers, state = stack.layer_outputs(F.pad(part, (0, 0, 0, 0, 0, spare)), state)
        windows.append(torch.stack([layer[: len(rows)] for layer in layers]))
    return torch.cat(windows, 2) if len(windows) > 1 else windows[0]
