"""Any number of sentences through any encoder: in batches of like lengths, in their order, in bounded memory."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self, cast

import torch
from torch import Tensor

from lmkit.contracts import Encoder, Encoding
from lmkit.corpus.word_lists import Words, refuse_one_string
from lmkit.embedding.layers import Selection
from lmkit.errors import UsageError
from lmkit.neural.batching import by_length

BATCH_SIZE = 128
BATCH_TOKENS = 2048
"""The most tokens of a batch, padding included; a longer sentence is a batch of its own."""
BLOCK_TOKENS = 8192
"""Tokens that are read ahead, to find sentences of like lengths, and whose vectors are held."""

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
        """How many vectors it has."""
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

    sentences: strings, of which every token has a vector, or lists of words, of which every word has one; they
    are read as they are needed. separator: what stands between the words of a list; None: what their script has
    there (`lmkit.embedding.alignment.as_text`). select: what is taken of a sentence's vectors (`layers.selection`),
    before any more are made. Held at once are the vectors of `block_tokens` tokens and one sentence; no gradients.
    Raises UsageError where strings and lists of words are mixed, or one string is given for a list of them.
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
) -> Iterator[Tensor]:
    """The same for sentences that are encoded already: all strings, or all lists of words."""
    for block in _blocks(sentences, block_tokens):
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
        yield from cast(list[Tensor], found)


def with_separator(sentences: Iterable[Sentence], separator: str | None) -> Iterator[Sentence]:
    """The same sentences, with this between the words of a list. Raises UsageError where a string has it too."""
    for sentence in sentences:
        if separator is not None and isinstance(sentence, str):
            raise UsageError("a separator goes between words: give lists of words, or leave it out")
        plain = separator is None or isinstance(sentence, Words)
        yield sentence if plain else Words(sentence, separator)


def _checked(sentences: Iterable[Sentence]) -> Iterator[Sentence]:
    """The same sentences; UsageError for what would be taken for other sentences than it is."""
    refuse_one_string(sentences, "sentences")
    kind: type | None = None
    for number, sentence in enumerate(sentences, 1):
        found = str if isinstance(sentence, str) else list
        if found is list and not _is_words(sentence):
            raise UsageError(f"sentence {number} is neither a string nor a list of words, which are strings")
        if kind not in (None, found):
            raise UsageError(f"sentence {number}: give strings or lists of words, not both in one call")
        kind = found
        yield sentence


def _is_words(sentence: object) -> bool:
    # Not a generator, which can be gone through only once.
    return isinstance(sentence, Collection) and all(isinstance(word, str) for word in sentence)


def _embed(encoder: Encoder, batch: list[EncodedSentence]) -> list[Tensor]:
    sentences = cast(list[str], [one.sentence for one in batch])
    encodings = [one.encoding for one in batch if one.encoding is not None]
    return encoder.embed_encoded(sentences, encodings) if encodings else encoder.embed(sentences)


def _blocks(sentences: Iterable[EncodedSentence], block_tokens: int) -> Iterator[list[EncodedSentence]]:
    """Sentences, gathered until there are `block_tokens` tokens."""
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
