"""Vectors of words from those of tokens."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmkit.embedding.alignment import HOWS, align, token_ranges
from lmkit.errors import UsageError

# "unhappily so": un|happ|ily| so, words "unhappily" and "so"
TOKENS = [(0, 2), (2, 6), (6, 9), (9, 12)]
WORDS = [(0, 9), (10, 12)]
VECTORS = torch.tensor([[1.0, 5.0], [2.0, 3.0], [6.0, 1.0], [7.0, 7.0]])


@pytest.mark.parametrize(
    ("how", "wanted"), [("first", [1, 5]), ("last", [6, 1]), ("mean", [3, 3]), ("max", [6, 5])]
)
def test_what_a_word_gets(how: str, wanted: list[float]) -> None:
    """A word is the first, last, mean or maximum of its tokens, in every layer."""
    assert align(VECTORS, TOKENS, WORDS, how).tolist() == [wanted, [7, 7]]
    layers = torch.stack([VECTORS, -VECTORS])
    assert torch.equal(align(layers, TOKENS, WORDS, how)[0], align(VECTORS, TOKENS, WORDS, how))
    assert align(layers, TOKENS, WORDS, how).shape == (2, 2, 2)


@pytest.mark.parametrize("how", HOWS)
def test_words_without_tokens_are_zeros(how: str) -> None:
    """An empty word, a gap between tokens and a text without tokens give zeros, so that rows stay aligned."""
    spans = [(0, 0), (4, 4), (12, 12), (12, 20)]
    assert align(VECTORS, TOKENS, spans, how).tolist() == [[0, 0]] * 4
    assert align(VECTORS[:0], [], [(0, 3)], how).tolist() == [[0, 0]]
    assert align(VECTORS, TOKENS, [], how).shape == (0, 2)


def test_a_token_of_several_words_is_given_to_each() -> None:
    """A token that reaches over a space belongs to every word that it touches."""
    assert token_ranges([(0, 7)], [(0, 3), (4, 7), (3, 3)]).tolist() == [[0, 1], [0, 1], [0, 0]]


def test_bytes_of_one_character_share_its_span() -> None:
    """All tokens of a character's span are the word's, the last byte being the last."""
    assert token_ranges([(0, 1), (0, 1), (1, 2)], [(0, 1)]).tolist() == [[0, 2]]


def test_wrong_arguments() -> None:
    """Another way to join, or spans that are not the tokens', is a UsageError."""
    with pytest.raises(UsageError, match="first, last, mean, max"):
        align(VECTORS, TOKENS, WORDS, "sum")
    with pytest.raises(UsageError, match="4 vectors"):
        align(VECTORS, TOKENS[:3], WORDS)


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 12), min_size=2, max_size=2))
def test_ranges_are_what_overlaps(sizes: list[int], word: list[int]) -> None:
    """The range of a word holds every token that shares a character with it."""
    ends = np.cumsum(sizes).tolist()
    tokens = list(zip([0, *ends[:-1]], ends, strict=True)) if ends else []
    start, end = sorted(word)
    ((first, last),) = token_ranges(tokens, [(start, end)]).tolist()
    overlapping = [i for i, (a, b) in enumerate(tokens) if max(a, start) < min(b, end)]
    assert set(overlapping) <= set(range(first, last))
    # Tokens without characters may lie between.
    assert not any(tokens[i][0] < tokens[i][1] for i in set(range(first, last)) - set(overlapping))
