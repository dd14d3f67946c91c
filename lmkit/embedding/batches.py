"""Embed any number of sentences in order and in bounded memory, in batches of similar lengths."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor

from lmkit.contracts import Encoder, Encoding
from lmkit.corpus.word_lists import Words, refuse_one_string
from lmkit.embedding import BATCH_SIZE
from lmkit.embedding.layers import Selection
from lmkit.errors import UsageError
from lmkit.neural.batching import by_length
from lmkit.workers import Workers

BATCH_TOKENS = 2048
"""Maximum number of tokens of a batch, including padding; a longer sentence is a separate batch."""
BLOCK_TOKENS = 8192
"""Number of tokens to read ahead, to find sentences of similar lengths; their vectors are in memory."""

Sentence = str | Sequence[str]


@dataclass(frozen=True)
class EncodedSentence:
    """A sentence to embed; a string has its encoding, so that the tokenizer reads it once."""

    sentence: Sentence
    encoding: Encoding | None

    @classmethod
    def of(cls, sentence: Sentence, encoder: Encoder) -> Self:
        return cls(sentence, encoder.tokenizer.encode(sentence) if isinstance(sentence, str) else None)

    @property
    def length(self) -> int:
        """The number of its vectors."""
        return len(self.sentence if self.encoding is None else self.encoding.ids)


def embed_all(
    encoder: Encoder,
    sentences: Iterable[Sentence],
    *,
    select: Selection | None = None,
    batch_size: int = BATCH_SIZE,
    batch_tokens: int = BATCH_TOKENS,
    block_tokens: int = BLOCK_TOKENS,
    separator: str | None = None,
) -> Iterator[Tensor]:
    """The vectors of each sentence, in order, as float32 on the CPU: (layers, tokens, features).

    sentences: strings, with a vector per token, or lists of words, with a vector per word; they are read as needed.
    separator: the string between the words of a list; None: by their script
    (`lmkit.embedding.alignment.as_text`). select: is applied to a sentence's vectors at once (`layers.selection`).
    Memory holds the vectors of `block_tokens` tokens and one sentence; no gradients.
    Raises UsageError if strings and lists of words are mixed, or a single string is given.
    """
    checked = with_separator(_checked(sentences), separator)
    return embed_encoded(
        encoder,
        (EncodedSentence.of(sentence, encoder) for sentence in checked),
        select=select,
        batch_size=batch_size,
        batch_tokens=batch_tokens,
        block_tokens=block_tokens,
    )


def embed_encoded(
    encoder: Encoder,
    sentences: Iterable[EncodedSentence],
    *,
    select: Selection | None = None,
    batch_size: int = BATCH_SIZE,
    batch_tokens: int = BATCH_TOKENS,
    block_tokens: int = BLOCK_TOKENS,
    workers: Workers | None = None,
) -> Iterator[Tensor]:
    """The same for encoded sentences: all strings, or all lists of words.

    workers: have opened (encoder, select), the same as here, and embed the same blocks.
    """
    blocks = _blocks(sentences, block_tokens)
    embed = partial(_embed_block, batch_size=batch_size, batch_tokens=batch_tokens)
    if workers is None:
        for block in blocks:
            yield from embed((encoder, select), block)
    else:
        for arrays in workers.map(partial(_as_arrays, embed), blocks):
            yield from map(torch.from_numpy, arrays)


def _embed_block(
    opened: tuple[Encoder, Selection | None],
    block: list[EncodedSentence],
    *,
    batch_size: int,
    batch_tokens: int,
) -> list[Tensor]:
    """The selected vectors of each sentence of a block."""
    encoder, select = opened
    found: list[Tensor | None] = [None] * len(block)
    lengths = [sentence.length for sentence in block]
    for batch in by_length(lengths, most_tokens=batch_tokens, most_sequences=batch_size):
        with torch.no_grad():
            vectors = _embed(encoder, [block[index] for index in batch])
            for index, rows in zip(batch, vectors, strict=True):
                taken = rows if select is None else select(rows)
                # A copy: a view would hold the whole batch with its padding.
                found[index] = taken.to("cpu", torch.float32, copy=True).contiguous()
        del vectors
    return cast(list[Tensor], found)


def _as_arrays(
    embed: Callable[[Any, list[EncodedSentence]], list[Tensor]], opened: object, block: list[EncodedSentence]
) -> list[np.ndarray]:
    """In a worker, the vectors as arrays: tensors would be sent in shared memory, with a file each."""
    return [vectors.numpy() for vectors in embed(opened, block)]


def with_separator(sentences: Iterable[Sentence], separator: str | None) -> Iterator[Sentence]:
    """The same sentences, with this separator between the words of a list. Raises UsageError for a string."""
    for sentence in sentences:
        if separator is not None and isinstance(sentence, str):
            raise UsageError(
                "a separator applies only to lists of words: give lists of words, or leave it out"
            )
        plain = separator is None or isinstance(sentence, Words)
        yield sentence if plain else Words(sentence, separator)


def _checked(sentences: Iterable[Sentence]) -> Iterator[Sentence]:
    """The same sentences; UsageError for values that would be misread."""
    refuse_one_string(sentences, "sentences")
    kind: type | None = None
    for number, sentence in enumerate(sentences, 1):
        found = str if isinstance(sentence, str) else list
        if found is list and not _is_words(sentence):
            raise UsageError(f"sentence {number} is neither a string nor a list of strings")
        if kind not in (None, found):
            raise UsageError(f"sentence {number}: give strings or lists of words, not both in one call")
        kind = found
        yield sentence


def _is_words(sentence: object) -> bool:
    # Not a generator, which can be iterated only once.
    return isinstance(sentence, Collection) and all(isinstance(word, str) for word in sentence)


def _embed(encoder: Encoder, batch: list[EncodedSentence]) -> list[Tensor]:
    sentences = cast(list[str], [one.sentence for one in batch])
    encodings = [one.encoding for one in batch if one.encoding is not None]
    return encoder.embed_encoded(sentences, encodings) if encodings else encoder.embed(sentences)


def _blocks(sentences: Iterable[EncodedSentence], block_tokens: int) -> Iterator[list[EncodedSentence]]:
    """Blocks of sentences with about `block_tokens` tokens."""
    block: list[EncodedSentence] = []
    held = 0
    for sentence in sentences:
        if block and held + sentence.length > block_tokens:
            yield block
            block, held = [], 0
        block.append(sentence)
        held += max(1, sentence.length)
    if block:
        yield block
