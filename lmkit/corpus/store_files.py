"""The files of a token store: their types, their sizes, and whether they are what was written."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmkit.mapped import let_go

if TYPE_CHECKING:
    from lmkit.contracts import Vocabulary

LINE_ARRAYS: tuple[str, ...] = ("line_ends", "line_bytes", "line_words", "document_starts")
ARRAYS: tuple[str, ...] = ("tokens", *LINE_ARRAYS)
"""The arrays of a store, each in a file of its name."""
_PART = 1 << 20
"""Values to check at a time."""


def content_hash(arrays: dict[str, np.ndarray], vocabulary: "Vocabulary") -> str:
    """The fingerprint of a store's contents under a vocabulary."""
    sha = hashlib.sha256(vocabulary.fingerprint.encode())
    for name in ARRAYS:
        sha.update(f"\n{name} {len(arrays[name])} ".encode())
        for part in _parts(arrays[name]):
            sha.update(np.ascontiguousarray(part).data)
    return sha.hexdigest()


def check(arrays: dict[str, np.ndarray], vocabulary: "Vocabulary", fingerprint: str) -> None:
    """Raise ValueError unless contents are those of the fingerprint, every id has a word, and boundaries rise.

    The fingerprint finds accidental changes; the rest holds whoever wrote the files, since compiled code relies on it.
    """
    if content_hash(arrays, vocabulary) != fingerprint:
        raise ValueError("its contents have changed since they were written")
    tokens, ends, starts = arrays["tokens"], arrays["line_ends"], arrays["document_starts"]
    for part in _parts(tokens):
        if part.min() < 0 or part.max() >= vocabulary.size:
            raise ValueError(f"an id is not in the vocabulary of {vocabulary.size}")
    if not divides(ends, len(tokens)):
        raise ValueError("its line ends do not divide its tokens")
    let_go(ends)
    if (starts[1:] < starts[:-1]).any() or (starts[:1] < 0).any() or (starts[-1:] >= len(ends)).any():
        raise ValueError("its documents do not begin at lines")


def _parts(array: np.ndarray) -> Iterator[np.ndarray]:
    """Pieces of an array, of whose file little is in memory at a time."""
    for start in range(0, len(array), _PART):
        yield array[start : start + _PART]
        let_go(array)


def divides(ends: np.ndarray, total: int) -> bool:
    """Whether these ends divide `total` ids into lines of at least one id, `</s>`."""
    last = int(ends[-1]) if len(ends) else 0
    return last == total and not (ends[:1] < 1).any() and not (ends[1:] <= ends[:-1]).any()


def mapped(path: Path, length: int, vocabulary: "Vocabulary") -> np.ndarray:
    """A file of the store as a memory-mapped array; ValueError if it has another size."""
    dtype = np.dtype(dtype_of(vocabulary) if path.name == "tokens" else np.int64)
    size = path.stat().st_size
    if size != length * dtype.itemsize:
        raise ValueError(f"{path.name} has {size} bytes, not {length * dtype.itemsize}")
    # An empty file cannot be mapped.
    return np.memmap(path, dtype, mode="r", shape=(length,)) if length else np.empty(0, dtype)


def dtype_of(vocabulary: "Vocabulary") -> type[np.generic]:
    """The type of tokens."""
    return np.uint16 if vocabulary.size <= 1 << 16 else np.int32
