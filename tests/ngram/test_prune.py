"""Count pruning: what --prune may say, and the table that is left."""

import numpy as np
import pytest
from lmkit_ngram.compaction import without
from lmkit_ngram.count import Counted, count_ngrams
from lmkit_ngram.model_files import Allocator
from lmkit_ngram.options import NgramOptions
from lmkit_ngram.prune import check, thresholds
from lmkit_ngram.smoothing import counts_needed, estimate

from lmkit.errors import UsageError

TEXT = np.array([1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 0, 0, 3, 1, 0], np.int32)
"""Five lines, one of them blank; 0 is `</s>`, and the word 4 never occurs."""


def counted(options: NgramOptions, allocate: Allocator) -> Counted:
    return count_ngrams(
        TEXT, 5, 5, 0, options.order, continuation=counts_needed(options.smoothing), with_raw=True, allocate=allocate
    )  # fmt: skip


@pytest.mark.parametrize(
    ("prune", "order", "limits"),
    [
        ("0", 3, (0, 0, 0)),
        ("0 0 1", 5, (0, 0, 1, 1, 1)),
        ("0,1", 2, (0, 1)),
        (" 0, 1,2 ", 3, (0, 1, 2)),
        ("0 99999999999999999999", 2, (0, 2**31 - 1)),
    ],
)
def test_thresholds(prune: str, order: int, limits: tuple[int, ...]) -> None:
    """Numbers are separated by spaces or commas, one per order; the last is for all higher ones."""
    assert thresholds(NgramOptions(order=order, prune=prune)) == limits


@pytest.mark.parametrize("prune", ["", "one", "1", "0 -1", "0 2 1", "0 0 0 1", "0.5"])
def test_bad_thresholds(prune: str) -> None:
    """What --prune cannot mean is refused in a line that names it."""
    with pytest.raises(UsageError, match=r"^--prune .*: [^\n]+$"):
        check(NgramOptions(order=3, prune=prune))


def test_scores_are_not_pruned_by_entropy() -> None:
    """Stupid backoff has no distribution whose entropy could be compared."""
    with pytest.raises(UsageError, match="--entropy-prune"):
        check(NgramOptions(smoothing="stupid-backoff", entropy_prune=1e-8))
    check(NgramOptions(smoothing="stupid-backoff", prune="0 1"))


@pytest.mark.parametrize("smoothing", ["modified-kneser-ney", "mle"])
def test_what_stays(smoothing: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """N-grams with raw counts above their order's number stay, and all words; in memory as in mapped files."""
    options = NgramOptions(order=3, smoothing=smoothing, prune="0 1 2")
    tables = []
    for allocate in (Allocator(), Allocator(tmp_path_factory.mktemp("mapped"))):
        counts = counted(options, allocate)
        estimate(counts, options, allocate=allocate)
        assert counts.raw is None
        tables.append(counts.table)
    table = tables[0]
    # 1 2 (three times), 2 3, 3 </s>, <s> 1 stay, and <s> 1 2.
    assert table.sizes() == [6, 4, 1]
    assert table.words.tolist() == [0, 1, 2, 3, 4, 5, 2, 3, 0, 1, 2]
    assert table.suffixes.tolist() == [-1] * 6 + [2, 3, 0, 1, 6]
    assert table.children.tolist() == [6, 6, 7, 8, 9, 9, 10, 10, 10, 10, 11]
    for name in ("words", "suffixes", "children", "log_probs", "backoffs"):
        np.testing.assert_array_equal(getattr(table, name), getattr(tables[1], name))


def test_keeping_all_is_a_copy() -> None:
    """A table of which nothing is left out is the same table in other arrays."""
    options = NgramOptions(order=4)
    counts = counted(options, Allocator())
    estimate(counts, options)
    copy = without(counts.table, np.ones(counts.table.total, np.bool_), Allocator(), Allocator())
    for name in ("offsets", "words", "suffixes", "children", "log_probs", "backoffs"):
        np.testing.assert_array_equal(getattr(copy, name), getattr(counts.table, name))
        assert getattr(copy, name).dtype == getattr(counts.table, name).dtype
        assert not np.shares_memory(getattr(copy, name), getattr(counts.table, name))
