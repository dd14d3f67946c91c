"""Any number of sentences through any encoder: in batches of like lengths, in their order, in bounded memory."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor

from lmkit.contracts import Encoder
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
    for block in _blocks(encoder, checked, block_tokens):
        found: list[Tensor | None] = [None] * len(block)
        lengths = [length for _, length in block]
        for batch in by_length(lengths, most_tokens=batch_tokens, most_sequences=batch_size):
            with torch.no_grad():
                vectors = encoder.embed(cast(Sequence[str], [block[index][0] for index in batch]))
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


def _blocks(
    encoder: Encoder, sentences: Iterable[Sentence], block_tokens: int
) -> Iterator[list[tuple[Sentence, int]]]:
    """Sentences with their numbers of tokens, gathered until there are `block_tokens` tokens."""
    block: list[tuple[Sentence, int]] = []
    held = 0
    for sentence in sentences:
        length = len(encoder.tokenizer.ids(sentence)) if isinstance(sentence, str) else len(sentence)
        if block and held + length > block_tokens:
            yield block
            block, held = [], 0
        block.append((sentence, length))
        held += max(1, length)
    if block:
        yield block
