"""A model from parts is the one that is built in memory, bit by bit, and its scratch folder is empty at the end."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_ngram import compaction, entropy, estimate, memory, part_count, part_merge, part_scratch, parts
from lmkit_ngram.count import in_memory
from lmkit_ngram.estimate import estimate_model, fit_model
from lmkit_ngram.options import NgramOptions
from lmkit_ngram.part_count import Rows
from lmkit_ngram.part_plan import make_plan
from lmkit_ngram.part_scratch import PREFIX, scratch_folder
from lmkit_ngram.table import ARRAYS, NgramTable

from lmkit.contracts import FitContext, Vocabulary
from lmkit.corpus.store import TokenStore
from lmkit.errors import DataError, UsageError
from lmkit.notes import NOTE
from lmkit.specs import MOST_IDS

EOS = 0
Lines = list[list[int]]

texts = st.integers(2, 9).flatmap(
    lambda size: st.tuples(
        st.just(size), st.lists(st.lists(st.integers(1, size - 1), max_size=9), min_size=1, max_size=12)
    )
)
"""A vocabulary's size and lines of its words, without `</s>`; blank lines too."""


def silent(items: Any, **_: Any) -> Any:
    return items


def store(lines: Lines, size: int) -> tuple[TokenStore, Vocabulary]:
    vocabulary = Vocabulary(size, EOS, 1, "small")
    return TokenStore.from_lines([np.array([*line, EOS], np.int32) for line in lines], vocabulary), vocabulary


def zipf(number: int, words: int = 29) -> Lines:
    """Lines of words with the frequencies of a text."""
    rng = np.random.default_rng(0)
    return [(rng.zipf(1.3, rng.integers(0, 9)) % words + 1).tolist() for _ in range(number)]


def from_parts(corpus: TokenStore, vocabulary: Vocabulary, options: NgramOptions, most: int) -> NgramTable:
    with tempfile.TemporaryDirectory() as folder:
        table = parts.estimate_in_parts(
            corpus, vocabulary, options, most=most, folder=Path(folder), progress=silent, allocate=in_memory
        )
        assert not list(Path(folder).iterdir()), "parts are deleted when they are no longer needed"
    return table


def check(lines: Lines, size: int, options: NgramOptions, most: int) -> None:
    """Assert that both ways give the same arrays."""
    corpus, vocabulary = store(lines, size)
    wanted, _ = estimate_model(corpus, vocabulary, options)
    found = from_parts(corpus, vocabulary, options, most)
    assert found.offsets.tolist() == wanted.offsets.tolist()
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), name)


@settings(max_examples=80, deadline=None)
@given(
    texts,
    st.integers(1, 6),
    st.sampled_from(["0", "0 1", "0 0 1", "0 1 2"]),
    st.sampled_from(["modified-kneser-ney", "kneser-ney", "witten-bell"]),
    st.integers(1, 30),
)
def test_parts_give_the_model_of_memory(text, order, prune, smoothing, most):
    """Whatever the sizes of the parts: the same ids, links, probabilities and backoffs."""
    size, lines = text
    limits = " ".join(prune.split()[:order])
    check(lines, size, NgramOptions(order=order, prune=limits, smoothing=smoothing), most)


@pytest.mark.parametrize("prune", ["0", "0 0 1"])
@pytest.mark.parametrize("most", [10_000, 300, 40])
def test_a_text_with_discounts(prune: str, most: int) -> None:
    """A text that is long enough for the discounts of Kneser and Ney, in one part and in many."""
    check(zipf(700), 31, NgramOptions(order=5, prune=prune), most)


def test_segments_and_blocks_end_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is read, and the model written, in pieces whose size does not matter."""
    monkeypatch.setattr(part_count, "BLOCK", 7)
    monkeypatch.setattr(part_merge, "SEGMENT", 5)
    check(zipf(200), 31, NgramOptions(order=4), 60)


def test_a_very_frequent_word_is_divided() -> None:
    """One word in three the same: its contexts are split by the word before, and no part is much too large."""
    rng = np.random.default_rng(1)
    lines = rng.integers(2, 40, (900, 8))
    lines[rng.random(lines.shape) < 0.33] = 1
    counts = np.bincount(lines.reshape(-1), minlength=41)
    plan = make_plan(counts, 4, 700)
    assert plan.slices[1] > 5
    assert [part.head for part in plan.parts].count(1) == plan.slices[1]
    check(lines.tolist(), 41, NgramOptions(order=4), 700)
    check(lines.tolist(), 41, NgramOptions(order=2), 700)


@pytest.mark.parametrize("order", [2, 3, 5])
def test_a_very_frequent_pair_is_counted_in_blocks(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pair is a third of the text: the part of its contexts is larger than planned, but mostly repetitions."""
    rng = np.random.default_rng(2)
    lines = rng.integers(3, 30, (600, 9))
    lines[np.ix_(rng.random(600) < 0.85, range(1, 9))] = [1, 2, 1, 2, 1, 2, 1, 2]
    blocks = []
    count = Rows.count.__func__  # pyright: ignore[reportFunctionMemberAccess]
    monkeypatch.setattr(Rows, "count", lambda *given: blocks.append(len(given[0])) or count(Rows, *given))
    check(lines.tolist(), 31, NgramOptions(order=order), 300)
    assert blocks.count(300) > 1
    assert max(blocks) <= 600, "a block, or the different windows before it and in it"


def test_a_pair_with_too_many_ngrams_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says how much memory they need."""
    lines = np.ones((2000, 5), np.int64)
    lines[:, 0], lines[:, 2] = np.arange(2000) + 3, 2
    corpus, vocabulary = store(lines.tolist(), 2003)
    monkeypatch.setattr(memory, "LEAST", 16)
    message = (
        r"the n-grams after one pair of words are too many for this --memory: [\d,]+ different ones in the first "
        r"[\d,]+ of [\d,]+ places; give at least --memory \d+M, or lower --order"
    )
    with pytest.raises(DataError, match=message):
        from_parts(corpus, vocabulary, NgramOptions(order=4), 500)


def test_counts_that_do_not_fit_are_refused() -> None:
    """Instead of a number that wrapped around."""
    assert part_count.as_counts(np.array([MOST_IDS])).dtype == np.int32
    with pytest.raises(DataError, match="occurs 2,147,483,648 times"):
        part_count.as_counts(np.array([1, MOST_IDS + 1]))


def test_a_part_with_too_many_places_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Places in a part are int32."""
    monkeypatch.setattr(part_count, "MOST_IDS", 20)
    with pytest.raises(DataError, match="too many: 6 places, and a part may have 5; lower --order"):
        Rows.count(np.ones((6, 4), np.int32), 3)


def test_parts_hold_about_as_much_as_they_may() -> None:
    """Words share parts up to the limit; frequent words have their own, heads before their slices."""
    plan = make_plan(np.array([0, 100, 3, 4, 5, 1, 0]), 3, 8)
    assert plan.parts[0].word == 7  # `<s>`
    assert plan.parts[1].word == 1
    assert plan.slices.tolist() == [1, 25, 1, 1, 1, 1, 1, 1]
    assert plan.first[1] == 2
    assert plan.first[2] == plan.first[3] == 27
    assert plan.first[4] == plan.first[5] == 28


def test_the_model_may_be_in_files(tmp_path: Path, fit: Callable[..., Any]) -> None:
    """`--memory` gives the model of the same options without it, but no text."""
    lines = zipf(300)
    corpus, vocabulary = store(lines, 31)
    options = NgramOptions(order=3, memory="64G")
    stored = fit_model(corpus, vocabulary, options, FitContext(0, silent, tmp_path))
    table, index = stored.table, stored.index
    wanted = fit(lines, 31, order=3).table
    assert index is None
    for name in ARRAYS:
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), getattr(wanted, name), name)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}.npy" for name in ARRAYS)
    assert isinstance(table.words.base, np.memmap)


@pytest.mark.parametrize("prune", ["0", "0 0 1"])
def test_pruning_by_entropy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: Callable[..., Any], prune: str
) -> None:
    """The merged model is pruned in its files, segment by segment, as it is in memory."""
    options = NgramOptions(order=4, prune=prune, entropy_prune=1e-4)
    wanted = fit(zipf(300), 31, **asdict(options)).table
    assert wanted.total < fit(zipf(300), 31, **asdict(replace(options, entropy_prune=0.0))).table.total
    monkeypatch.setattr(entropy, "SEGMENT", 50)
    monkeypatch.setattr(compaction, "SEGMENT", 70)
    corpus, vocabulary = store(zipf(300), 31)
    run, scratch = tmp_path / "run", tmp_path / "scratch"
    run.mkdir()
    in_parts = replace(options, memory="64G", scratch=str(scratch))
    table = fit_model(corpus, vocabulary, in_parts, FitContext(0, silent, run)).table
    assert table.offsets.tolist() == wanted.offsets.tolist()
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(table, name), getattr(wanted, name), name)
    assert isinstance(table.words.base, np.memmap)
    assert list(scratch.iterdir()) == []


def fit_in(folder: Path, **options: Any) -> None:
    corpus, vocabulary = store(zipf(100), 31)
    fit_model(corpus, vocabulary, NgramOptions(order=3, **options), FitContext(0, silent, None, 1))


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(143), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))]
)
@pytest.mark.parametrize("step", ["split", "smooth", "new_table"])
def test_the_scratch_folder_is_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, step: str
) -> None:
    """After an error or a signal at any step; a full disk is one line with what to do."""

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(parts, step, fail)
    wanted = DataError if isinstance(error, OSError) else type(error)
    with pytest.raises(wanted) as raised:
        fit_in(tmp_path, memory="64G", scratch=str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    if isinstance(error, OSError):
        assert str(raised.value) == (
            f"{tmp_path}: the parts cannot be written (No space left on device): free some space, or give another "
            "folder with --scratch"
        )


def test_a_disk_that_is_too_small_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is written."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(DataError, match=r"needs about 0\.0 GB there, and 0\.0 GB are free: free some space"):
        fit_in(tmp_path, memory="64G", scratch=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its lock is free, and a line says so; the folder of a running process, whose lock is held, stays."""
    caplog.set_level(NOTE)
    left = tmp_path / f"{PREFIX}dead"
    left.mkdir()
    (left / "windows-1").write_bytes(b"rows")
    with scratch_folder(tmp_path, 0) as running, scratch_folder(tmp_path, 0):
        assert not left.exists()
        assert running.exists()
    assert caplog.messages == [f"{tmp_path}: the parts of a stopped count are removed; counting begins again"]
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_other_files_is_not_about_scratch(tmp_path: Path) -> None:
    """A full disk under the model keeps its own message."""
    with (
        pytest.raises(OSError, match="No space"),
        scratch_folder(tmp_path / "scratch", 0),
    ):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "run" / "words.npy"))


def test_a_home_folder_that_does_not_exist() -> None:
    """A `~` of nobody is an error that names the option."""
    with (
        pytest.raises(UsageError, match="--scratch ~nobody-here/x: there is no such home"),
        scratch_folder("~nobody-here/x", 0),
    ):
        pass


def test_a_file_that_lost_its_end_is_found(tmp_path: Path) -> None:
    """A bad disk raises an error instead of giving a smaller model."""
    column = part_scratch.Column(tmp_path / "words", np.int32)
    column.append(0, np.arange(10, dtype=np.int32))
    assert column.read(8, 10).tolist() == [8, 9]
    os.truncate(tmp_path / "words", 36)
    with pytest.raises(OSError, match="shorter than it was written"):
        column.read(8, 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": "much"}, "--memory 'much' is not a size: give, for example, 4G or 500M"),
        ({"memory": "1M"}, "--memory 1M is too little"),
        ({"memory": "4G", "smoothing": "mle"}, "cannot use --smoothing mle: use --smoothing modified-kneser-ney"),
        ({"memory": "4G", "smoothing": "kneser-ney", "interpolate": False}, "kneser-ney --no-interpolate"),
    ],
)  # fmt: skip
def test_options_that_parts_cannot_use(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """Each refusal says what to use instead."""
    with pytest.raises(UsageError, match=message):
        fit_in(tmp_path, **options)


def test_sizes() -> None:
    """Units are powers of 1000; an added B or iB changes nothing."""
    assert [memory.size_of(text) for text in ("1G", "1.5 gb", "500MiB", "70")] == [
        10**9,
        15 * 10**8,
        5 * 10**8,
        70,
    ]


def test_a_text_that_outgrows_the_memory_is_counted_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without --memory, and a note says so; what parts cannot do is tried in memory, with a warning."""
    used: list[int] = []

    def in_parts(
        corpus: TokenStore, vocabulary: Vocabulary, options: NgramOptions, **rest: Any
    ) -> NgramTable:
        used.append(rest["most"])
        return estimate_model(corpus, vocabulary, replace(options, store_text=False))[0]

    monkeypatch.setattr(estimate, "estimate_in_parts", in_parts)
    fit_in(tmp_path)
    assert not used
    monkeypatch.setattr(memory, "needed_in_memory", lambda *_, **__: 10**12)
    monkeypatch.setattr(memory, "available_memory", lambda: 10**11)
    with caplog.at_level(NOTE):
        fit_in(tmp_path)
        fit_in(tmp_path, smoothing="mle")
    assert len(used) == 1
    assert "needs about 1,000.0 GB, and 100.0 GB are available: counting in parts on disk" in caplog.text
    assert "parts on disk need less, but cannot use --smoothing mle" in caplog.text
