"""Turn vectors of tokens into vectors of given words of the same text."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lmkit.contracts import Encoding, Tokenizer
from lmkit.corpus.word_lists import Words, joined, separators
from lmkit.errors import UsageError

HOWS = ("first", "last", "mean", "max")
"""How to reduce the vectors of a word's tokens to one."""

Spans = np.ndarray | Sequence[tuple[int, int]]
"""(n, 2): the characters [start, end) of each token or word."""


def align(vectors: Tensor, token_spans: Spans, word_spans: Spans, how: str = "last") -> Tensor:
    """(..., words, features) from vectors (..., tokens, features): one vector per word.

    A word's tokens are those that share a character with it. A word without tokens, such as an empty one, gets
    zeros. how: "first", "last", "mean" or "max" of its tokens.
    Raises UsageError for another `how`, or if the numbers of vectors and spans of tokens differ.
    """
    if how not in HOWS:
        raise UsageError(f"unknown pooling of a word's tokens '{how}'; use one of {', '.join(HOWS)}")
    if vectors.shape[-2] != len(token_spans):
        raise UsageError(
            f"{vectors.shape[-2]} vectors, but {len(token_spans)} spans of tokens; give one span per vector"
        )
    words = []
    for first, last in token_ranges(token_spans, word_spans).tolist():
        found = vectors[..., first:last, :]
        if first == last:
            words.append(vectors.new_zeros(found.shape[:-2] + found.shape[-1:]))
        elif how == "mean":
            words.append(found.mean(-2))
        elif how == "max":
            words.append(found.amax(-2))
        else:
            words.append(found[..., 0 if how == "first" else -1, :])
    return torch.stack(words, -2) if words else vectors[..., :0, :]


def token_ranges(token_spans: Spans, word_spans: Spans) -> np.ndarray:
    """(words, 2) int64: the tokens [first, last) that share a character with each word; first == last: none.

    Tokens are in the order of the text; several may share a span, as the bytes of one character do.
    """
    tokens = np.asarray(token_spans, np.int64).reshape(-1, 2)
    words = np.asarray(word_spans, np.int64).reshape(-1, 2)
    first = np.searchsorted(tokens[:, 1], words[:, 0], side="right")
    last = np.searchsorted(tokens[:, 0], words[:, 1], side="left")
    # An empty word shares no character with a token around it.
    last = np.where(words[:, 0] < words[:, 1], last, first)
    return np.stack([first, np.maximum(first, last)], 1)


def as_text(tokenizer: Tokenizer, words: Sequence[str]) -> tuple[str, Sequence[tuple[int, int]]]:
    """The text of a list of words, and the characters [start, end) of each word in it.

    Words of a text (`Words.of`) use it unchanged. Others are joined by the given separator; without one, by a space
    if the tokenizer reads words between white space, and else as their script does. Words that are empty or white
    space are then omitted.
    """
    separator = None
    if isinstance(words, Words):
        if words.text is not None:
            return words.text, words.spans
        separator = words.separator
    read = [word for word in words if word.strip()]
    gaps = separators(read) if separator is None else [separator] * (len(read) - 1)
    if separator is None and "" in gaps and tokenizer.unit == "word":
        gaps = [" "] * len(gaps)
    text, spans = joined(read, gaps)
    if len(read) == len(words):
        return text, spans
    places = iter(spans)
    return text, [next(places) if word.strip() else (0, 0) for word in words]


def read_words(tokenizer: Tokenizer, words: Sequence[str]) -> tuple[str, Encoding, np.ndarray | None]:
    """The text of a list of words (`as_text`), its tokens, and (words, 2) the tokens [first, last) of each.

    Words that are empty or white space, and words without a token, have first == last. None: each word is a token.
    """
    text, found = as_text(tokenizer, words)
    encoding = tokenizer.encode(text)
    spans = np.asarray(found, np.int64).reshape(-1, 2)
    blank = np.array([not word.strip() for word in words], np.bool_)
    if not blank.any() and np.array_equal(encoding.spans, spans):
        return text, encoding, None
    ranges = np.zeros((len(words), 2), np.int64)
    ranges[~blank] = token_ranges(encoding.spans, spans[~blank])
    return text, encoding, ranges
