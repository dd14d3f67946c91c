"""Counts of the n-grams of a text, from parts on disk, against plain Python."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lmkit_ngram import memory
from lmkit_ngram.count_text import count_text

from lmkit.contracts import Vocabulary
from lmkit.corpus.store import TokenStore
from lmkit.errors import UsageError

SIZE = 31
START = SIZE


def silent(items: Any, **_: Any) -> Any:
    return items


@pytest.fixture(scope="module")
def lines() -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [(rng.zipf(1.3, rng.integers(0, 9)) % 29 + 1).tolist() for _ in range(400)]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("boundaries", [False, True])
@pytest.mark.parametrize("most", [10, 10_000])
def test_counts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[list[int]],
    order: int,
    boundaries: bool,
    most: int,
) -> None:
    """Each n-gram that is frequent enough once, in the order of its words; `<s>` and `</s>` on request."""
    monkeypatch.setattr(memory, "windows_within", lambda *_: most)
    vocabulary = Vocabulary(SIZE, 0, 1, "small")
    corpus = TokenStore.from_lines([np.array([*line, 0], np.int32) for line in lines], vocabulary)
    blocks = count_text(
        corpus, vocabulary, order, 2,
        boundaries=boundaries, memory=None, scratch=str(tmp_path), progress=silent,
    )  # fmt: skip
    found = [
        (tuple(gram), number)
        for ids, counts in blocks
        for gram, number in zip(ids.tolist(), counts.tolist(), strict=True)
    ]
    wanted: Counter[tuple[int, ...]] = Counter()
    for line in lines:
        words = [*([START] if order > 1 else []), *line, 0] if boundaries else line
        wanted.update(tuple(words[i : i + order]) for i in range(len(words) - order + 1))
    assert sorted(found) == sorted((gram, number) for gram, number in wanted.items() if number >= 2)
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_is_refused(tmp_path: Path, lines: list[list[int]]) -> None:
    """As in training."""
    vocabulary = Vocabulary(SIZE, 0, 1, "small")
    corpus = TokenStore.from_lines([np.array([*line, 0], np.int32) for line in lines], vocabulary)
    blocks = count_text(
        corpus, vocabulary, 3, 1, boundaries=False, memory="1M", scratch=str(tmp_path), progress=silent
    )
    with pytest.raises(UsageError, match="--memory 1M is too little"):
        next(blocks)
