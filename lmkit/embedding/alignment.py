"""From the vectors of a tokenizer's tokens to those of words that somebody else has found in the same text."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lmkit.contracts import Encoding, Tokenizer
from lmkit.errors import UsageError

HOWS = ("first", "last", "mean", "max")
"""What becomes the vector of a word with several tokens."""

Spans = np.ndarray | Sequence[tuple[int, int]]
"""(n, 2): the characters [start, end) of a text that each token, or each word, covers."""


def align(vectors: Tensor, token_spans: Spans, word_spans: Spans, how: str = "last") -> Tensor:
    """(..., words, features) from vectors (..., tokens, features): a vector of each word's tokens.

    A word's tokens are those that share a character with it. One without any, such as an empty word, gets
    zeros. how: "first", "last", "mean" or "max" of them.
    Raises UsageError for another `how`, or where vectors and spans of tokens differ in number.
    """
    if how not in HOWS:
        raise UsageError(f"a word's vector can be the {', '.join(HOWS)} of its tokens, not '{how}'")
    if vectors.shape[-2] != len(token_spans):
        raise UsageError(f"{vectors.shape[-2]} vectors do not belong to {len(token_spans)} spans of tokens")
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
    # An empty word shares no character with a token that reaches across it.
    last = np.where(words[:, 0] < words[:, 1], last, first)
    return np.stack([first, np.maximum(first, last)], 1)


def read_words(tokenizer: Tokenizer, words: Sequence[str]) -> tuple[str, Encoding, np.ndarray | None]:
    """The text that words make with a space between, its tokens, and (words, 2) the tokens [first, last) of each.

    Words that are empty or white space are not read; they, and words without a token, have first == last.
    None: each word is a token.
    """
    read = [word for word in words if word.strip()]
    text = " ".join(read)
    encoding = tokenizer.encode(text)
    lengths = np.fromiter(map(len, read), np.int64, len(read))
    ends = (lengths + 1).cumsum() - 1
    spans = np.stack([ends - lengths, ends], 1)
    if len(read) == len(words) and np.array_equal(encoding.spans, spans):
        return text, encoding, None
    ranges = np.zeros((len(words), 2), np.int64)
    ranges[[bool(word.strip()) for word in words]] = token_ranges(encoding.spans, spans)
    return text, encoding, ranges
