"""Sentences as rows of integers: what goes in comes out, and nothing else is read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.errors import UsageError
from lmkit.pipelines.spelling import FIRST, PADDING, TEXT, WORD, kept_tokens, pieces_of, read, spell

ANY_TEXT = st.text(st.characters())
"""With code points of all kinds, lone surrogates and NUL among them."""


@given(st.lists(ANY_TEXT), st.sampled_from([TEXT, WORD]), st.integers(0, 3), st.integers(0, 3))
def test_rows_are_read_as_they_were_spelled(pieces: list[str], mark: int, left: int, right: int) -> None:
    """Pieces of any characters, empty ones too, come back from a row that is padded at either end."""
    row = np.array([PADDING] * left + spell(pieces, mark) + [PADDING] * right, np.int64)
    assert read(row) == (pieces, mark if pieces else None)


@given(ANY_TEXT, st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9))))
def test_pieces_together_are_the_line(line: str, pairs: list[tuple[int, int]]) -> None:
    """There is one piece a token, and no character is lost or doubled, whatever lies between or under tokens."""
    inside = sorted((min(a, len(line)), min(max(a, b), len(line))) for a, b in pairs)
    pieces = pieces_of(line, np.array(inside, np.int64).reshape(-1, 2))
    assert len(pieces) == len(inside)
    assert "".join(pieces) == (line if inside else "")


@pytest.mark.parametrize(
    "row",
    [
        [FIRST + 65],
        [FIRST + 65, TEXT],
        [TEXT, WORD],
        [-1],
        [TEXT, FIRST + 0x110000],
    ],
)
def test_other_integers_are_refused(row: list[int]) -> None:
    """A row that no tokenizer of ours made is an error, not some other text."""
    with pytest.raises(UsageError, match="not characters of tokens"):
        read(np.array(row, np.int64))


@given(st.lists(st.integers(1, 4), max_size=8), st.integers(0, 20), st.booleans())
def test_cut_tokens_part_no_character(sizes: list[int], limit: int, left: bool) -> None:
    """At most `limit` tokens, all on one side, and of a character, here of 1 to 4 bytes, every token or none."""
    characters = np.repeat(np.arange(len(sizes)), sizes)
    spans = np.stack([characters, characters + 1], 1)
    kept = characters[kept_tokens(spans, limit, left=left)]
    assert len(kept) <= limit
    assert len(kept) > limit - 4 or len(kept) == len(spans)
    assert all((kept == one).sum() == sizes[one] for one in set(kept.tolist()))
    assert not len(kept) or kept[-1 if left else 0] == characters[-1 if left else 0]
