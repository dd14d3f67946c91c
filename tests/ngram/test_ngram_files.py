"""A model's files: written and read back the same, mapped instead of copied, and refused when they are damaged."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lmkit_ngram import model_files as files
from lmkit_ngram.model import NgramModel
from lmkit_ngram.model_files import Allocator
from lmkit_ngram.table import ARRAYS, layout

from lmkit.contracts import Vocabulary
from lmkit.errors import ModelError

Fit = Callable[..., NgramModel]

SIZE = 6
LINES = [[2, 3, 4], [2, 3, 5, 1], [], [4, 4, 2, 3]]
FILES = [*ARRAYS, *(name for name, _ in files.TEXT)]


@pytest.fixture(autouse=True)
def silent(caplog: pytest.LogCaptureFixture) -> None:
    """Small texts give no discounts, with a warning each time."""
    caplog.set_level(logging.ERROR)


@pytest.fixture
def saved(fit: Fit, tmp_path: Path) -> Path:
    """The files of a small model of order 3."""
    fit(LINES, SIZE, order=3).save(tmp_path)
    return tmp_path


def load(folder: Path, size: int = SIZE) -> NgramModel:
    model = NgramModel.load(folder, None, Vocabulary(size, 0, 1, "small"))  # pyright: ignore[reportArgumentType]
    model.next_log_probs(torch.arange(-1, model.table.contexts))
    return model


@given(
    st.lists(st.lists(st.integers(1, SIZE - 1), max_size=6), min_size=1, max_size=6),
    st.integers(1, 5),
    st.booleans(),
    st.sampled_from(["modified-kneser-ney", "stupid-backoff"]),
)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_what_is_saved_is_loaded(
    fit: Fit, tmp_path: Path, lines: list[list[int]], order: int, store_text: bool, smoothing: str
) -> None:
    """Every array, of any order, and what else the model knows of itself; no file is a pickle."""
    model = fit(lines, SIZE, order=order, store_text=store_text, smoothing=smoothing)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    model.save(tmp_path)
    again = load(tmp_path)
    assert again.normalized == model.normalized
    assert again.table.offsets.tolist() == model.table.offsets.tolist()
    for name, dtype in layout(model.table.link).items():
        found, wanted = getattr(again.table, name), getattr(model.table, name)
        assert found.dtype == wanted.dtype == dtype
        np.testing.assert_array_equal(found, wanted)
    if model.index is None:
        assert again.index is None
    else:
        assert again.index is not None
        np.testing.assert_array_equal(again.index.text, model.index.text)
        np.testing.assert_array_equal(again.index.positions, model.index.positions)
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    wanted = FILES if store_text else ARRAYS
    assert names == {"ngram.json", *(f"{name}.npy" for name in wanted)}


def test_loaded_arrays_are_mapped(saved: Path) -> None:
    """Loading reads no array: each is a read-only map of its file."""
    table = load(saved).table
    for name in ARRAYS:
        array = getattr(table, name)
        assert isinstance(array.base, np.memmap)
        assert not array.flags.writeable


def test_arrays_made_in_files_are_linked(tmp_path: Path, fit: Fit) -> None:
    """What an Allocator made in files is not written a second time; what was loaded is copied, never shared."""
    model = fit(LINES, SIZE, order=2)
    made, first, second = (tmp_path / name for name in ("made", "first", "second"))
    for folder in (made, first, second):
        folder.mkdir()
    allocate = Allocator(made)
    for name, dtype in layout(model.table.link).items():
        mapped = allocate(name, len(getattr(model.table, name)), dtype)
        mapped[:] = getattr(model.table, name)
        setattr(model.table, name, mapped)
    model.save(first)
    load(first).save(second)
    for name in ARRAYS:
        path = first / "ngram" / f"{name}.npy"
        assert path.samefile(made / f"{name}.npy")
        assert not path.samefile(second / "ngram" / f"{name}.npy")
    shutil.rmtree(made)
    np.testing.assert_array_equal(load(first).table.words, load(second).table.words)


def test_allocator_keeps_an_array_whose_name_is_taken(tmp_path: Path) -> None:
    """A second array of a name has a separate file; the first is unchanged."""
    allocate = Allocator(tmp_path)
    arrays = [allocate("words", 1000, np.int32) for _ in range(3)]
    for value, array in enumerate(arrays):
        array[:] = value
    assert [set(array.tolist()) for array in arrays] == [{0}, {1}, {2}]
    assert len(allocate("words", 0, np.int32)) == 0
    assert len(Allocator()("words", 7, np.float32)) == 7


def test_a_model_is_saved_over_itself(saved: Path) -> None:
    """Saving a mapped model into its own folder replaces the files that it is read from, and loses nothing."""
    model = load(saved)
    words = model.table.words.copy()
    model.save(saved)
    np.testing.assert_array_equal(model.table.words, words)
    np.testing.assert_array_equal(load(saved).table.words, words)


def refused(folder: Path, where: str | None = None) -> None:
    with pytest.raises(ModelError, match=where) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [f"{name}.npy" for name in FILES])
def test_damaged_arrays_are_refused(saved: Path, name: str) -> None:
    """A file that is missing, cut, longer, of another type, shape or kind is a ModelError that names it."""
    path = saved / "ngram" / name
    good = path.read_bytes()
    array = np.load(path)
    for bad in (
        b"",
        good[:50],
        good[:-1],
        good + b"\0",
        b"PK" + good[2:],
        good.replace(b"'descr'", b"'descx'"),
    ):
        path.write_bytes(bad)
        refused(saved, name)
    for bad in (array.astype(np.int64), array[:-1], array[None], array.astype(">i4"), np.array([None])):
        path.unlink()
        np.save(path, bad, allow_pickle=True)
        refused(saved, name)
    path.unlink()
    refused(saved, name)
    path.mkdir()
    refused(saved, name)


@pytest.mark.parametrize(
    "header",
    [
        b"(" * 900,
        b"(" * 900 + b")" * 900,
        b"{" * 90,
        b"-" * 3000 + b"1",
        b'"""',
        b"{[]: 1}",
        b"{'descr': '<i4', 'fortran_order': False, 'shape': (" + b"9" * 900 + b",), }",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (16,), }",
        b"{'descr': '<i4', 'fortran_order': True, 'shape': (16,), }",
    ],
    ids=lambda header: header[:12].decode(),
)
def test_headers_of_arrays_are_not_evaluated(saved: Path, header: bytes) -> None:
    """The header of an array is text in Python: only the form that lmkit writes is read, however deep another is."""
    path = saved / "ngram" / "children.npy"
    good = path.read_bytes()
    size = int.from_bytes(good[8:10], "little")
    path.write_bytes(good[:8] + (len(header) + 1).to_bytes(2, "little") + header + b"\n" + good[10 + size :])
    refused(saved, "children.npy")


def test_pipes_are_refused(saved: Path) -> None:
    """A file that would never end, or never begin, is not opened."""
    path = saved / "ngram" / "words.npy"
    path.unlink()
    os.mkfifo(path)
    refused(saved, "not a file")


CHANGES: list[dict[str, Any]] = [
    {"format": 4},
    {"order": 0},
    {"order": 4},
    {"order": True},
    {"order": 10**30},
    {"vocab_size": SIZE + 1},
    {"eos_id": 2},
    {"eos_id": False},
    {"unk_id": None},
    {"offsets": None},
    {"offsets": [0, SIZE + 1, 5, 40]},
    {"offsets": [0, SIZE + 1, 2**31, 2**31]},
    {"offsets": [0, SIZE + 1, 2**30, 2**30 + 1]},
    {"offsets": [0, SIZE + 1, 16.0, 30]},
    {"text": 3},
    {"text": [1, 2]},
    {"text": [2**30, 2**30]},
    {"text": [-1, -1]},
    {"smoothing": "magic"},
    {"smoothing": ["mle"]},
    {"normalized": 1},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_damaged_headers_are_refused(saved: Path, change: dict[str, Any]) -> None:
    """Whatever the header claims is checked before an array is looked at; nothing is allocated for it."""
    path = saved / "ngram.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    refused(saved)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 1, "format": 1}', "\xff", "[" * 5000])
def test_headers_that_are_no_json_are_refused(saved: Path, text: str) -> None:
    """A header that is no JSON object is a ModelError."""
    (saved / "ngram.json").write_text(text, encoding="latin-1")
    refused(saved, "ngram.json")


def test_orders_that_do_not_begin_where_they_should_are_refused(saved: Path) -> None:
    """The first child of each order's first n-gram is the first of the next order: seen without reading them all."""
    path = saved / "ngram" / "children.npy"
    array = np.load(path)
    array[0] += 1
    np.save(path, array)
    refused(saved, "do not begin")


def test_another_vocabulary_is_refused(saved: Path) -> None:
    """A model is read with the vocabulary that it was made with."""
    with pytest.raises(ModelError, match="vocabulary"):
        load(saved, SIZE + 1)
