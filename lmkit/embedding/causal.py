"""A causal neural model as an encoder, with its hidden states as vectors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from lmkit.contracts import Encoder, Encoding, Tokenizer, Vocabulary
from lmkit.corpus.word_lists import refuse_one_string
from lmkit.embedding.alignment import read_words
from lmkit.neural.batching import full_rows
from lmkit.recurrence import NeuralLanguageModel

WINDOW = 512
"""Tokens per step, so that the memory of the layers besides their outputs does not grow with the sentence."""


class CausalEncoder(nn.Module, Encoder):
    """The states of a language model after each token: the forward half of contextual string embeddings
    (Akbik et al., 2018, https://aclanthology.org/C18-1139).

    Every sentence begins with the state of a new text, whatever the model's reset policy. The layers are those of
    `layer_features` that are as wide as the top one, since all layers of an encoder have one width.

    For a list of words the model reads their text (`alignment.as_text`); a word's vector is that of its last
    token. Words that are empty or white space are not read; their vectors are zeros, as are those of words without
    a token.
    """

    def __init__(self, model: NeuralLanguageModel, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.model = model
        self.vocabulary = model.vocabulary
        self.use_tokenizer(tokenizer)
        start = torch.full((1, 1), model.start_id, device=model.device)
        with torch.no_grad():
            layers, _ = model.layer_features(start, model.blank_state(1))
        widths = [layer.shape[-1] for layer in layers]
        self._width = widths[-1]
        self._kept = [index for index, width in enumerate(widths) if width == self._width]

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def num_layers(self) -> int:
        return len(self._kept)

    @property
    def width(self) -> int:
        return self._width

    def embed(self, sentences: Sequence[str] | Sequence[Sequence[str]]) -> list[Tensor]:
        refuse_one_string(sentences, "sentences")
        read = [self._read(sentence) for sentence in sentences]
        states = self._states([ids for ids, _ in read])
        return [rows if at is None else _rows(rows, at) for rows, (_, at) in zip(states, read, strict=True)]

    def embed_encoded(self, sentences: Sequence[str], encodings: Sequence[Encoding]) -> list[Tensor]:
        return self._states([encoding.ids for encoding in encodings])

    def _read(self, sentence: str | Sequence[str]) -> tuple[np.ndarray, np.ndarray | None]:
        """The ids of a sentence and, if words are not the tokens, each word's last token, or -1."""
        if isinstance(sentence, str):
            return self.tokenizer.ids(sentence), None
        _, encoding, ranges = read_words(self.tokenizer, sentence)
        if ranges is None:
            return encoding.ids, None
        return encoding.ids, np.where(ranges[:, 0] < ranges[:, 1], ranges[:, 1] - 1, -1)

    def _states(self, lines: Sequence[np.ndarray]) -> list[Tensor]:
        """(layers, tokens, width) of each line of ids."""
        longest = max((len(ids) for ids in lines), default=0)
        if not longest:
            return [torch.zeros(self.num_layers, 0, self.width, device=self.device) for _ in lines]
        padded = np.zeros((full_rows(len(lines)), longest), np.int64)
        for row, ids in zip(padded, lines, strict=False):
            row[: len(ids)] = ids
        batch = torch.from_numpy(padded).to(self.device)
        state = cast(tuple[Any, ...], self.model.initial_state(len(padded)))[1]
        windows = []
        for first in range(0, longest, WINDOW):
            layers, state = self.model.layer_features(batch[:, first : first + WINDOW], state)
            windows.append(torch.stack([layers[index][: len(lines)] for index in self._kept], 1))
        whole = torch.cat(windows, 2) if len(windows) > 1 else windows[0]
        return [rows[:, : len(ids)] for rows, ids in zip(whole, lines, strict=True)]

    def save(self, directory: Path) -> None:
        self.model.save(directory)

    @classmethod
    def load(cls, directory: Path, options: Any, vocabulary: Vocabulary) -> Self:
        raise NotImplementedError("load the causal model itself and wrap it")

    def parameter_count(self) -> int:
        return self.model.parameter_count()


def _rows(vectors: Tensor, at: np.ndarray) -> Tensor:
    """(layers, words, width): the vectors of the tokens `at`, zeros for -1."""
    index = torch.from_numpy(at).to(vectors.device)
    padded = torch.cat([vectors, vectors.new_zeros(vectors.shape[0], 1, vectors.shape[2])], 1)
    return padded[:, torch.where(index < 0, vectors.shape[1], index)]
