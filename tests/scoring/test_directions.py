"""Lines in the order of each direction."""

import numpy as np
import pytest

from lmkit.scoring.directions import BACKWARD, FORWARD, from_the_end, in_direction
from lmkit.scoring.stream import Sentence


@pytest.mark.parametrize(("row", "wanted"), [([0], [0]), ([5, 0], [5, 0]), ([1, 2, 3, 0], [3, 2, 1, 0])])
def test_the_end_stays_last(row: list[int], wanted: list[int]) -> None:
    """Tokens are reversed, `</s>` is not moved, and twice gives the original."""
    found = from_the_end(np.array(row))
    assert found.tolist() == wanted
    assert from_the_end(found).tolist() == row


def test_rows_of_figures_move_whole() -> None:
    """With several figures per token, whole rows are reversed."""
    assert from_the_end(np.array([[1, 2], [3, 4], [5, 6]])).tolist() == [[3, 4], [1, 2], [5, 6]]


@pytest.mark.parametrize(("direction", "wanted"), [(FORWARD, [1, 2, 0]), (BACKWARD, [2, 1, 0])])
def test_lines_keep_their_order_and_documents(direction: str, wanted: list[int]) -> None:
    """Only the tokens within a line are reversed."""
    lines = [Sentence(np.array([1, 2, 0]), True), Sentence(np.array([3, 0]), False)]
    found = list(in_direction(lines, direction))
    assert [line.ids.tolist() for line in found] == [wanted, [3, 0]]
    assert [line.starts_document for line in found] == [True, False]
