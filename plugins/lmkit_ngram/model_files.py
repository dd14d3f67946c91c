"""Save and memory-map a model's arrays: `ngram.json` describes the .npy files in `ngram/`."""

import contextlib
import os
import re
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from lmkit import strict_json
from lmkit.contracts import Vocabulary
from lmkit.errors import ModelError, reason_of
from lmkit.runs import read_json
from lmkit.specs import MOST_IDS
from lmkit_ngram.options import MOST_WORDS, SMOOTHINGS
from lmkit_ngram.table import ARRAYS, Link, NgramTable, TextIndex, layout

FORMATS: dict[int, Link] = {1: np.int32, 2: np.int64}
"""The type of links by format, so that versions of lmkit that know only the first name the cause."""
HEADER = "ngram.json"
FOLDER = "ngram"
MAGIC = b"\x93NUMPY\x01\x00"
LARGEST_ARRAY_HEADER = 4096
"""Maximum bytes of the header of an array; those of lmkit are far smaller."""
ARRAY_HEADER = re.compile(
    rb"\{'descr': '([<>|=]?[a-zA-Z]\d{0,9})', 'fortran_order': False, 'shape': \((\d{0,19},?[\d, ]{0,99})\), \} *\n"
)
"""The header that numpy writes for an array of numbers, a Python dictionary; numpy's own reader evaluates it."""
TEXT = (("text", np.int32), ("positions", np.int32))
"""The arrays of a TextIndex."""
IMPORTED = "imported"
"""The smoothing of a model with probabilities from another program."""


@dataclass(frozen=True)
class StoredModel:
    """The contents of the files of a model.

    index: None if the text was not stored. alpha: the factor of a model of stupid backoff (`stupid_backoff`).
    """

    table: NgramTable
    index: TextIndex | None
    smoothing: str
    normalized: bool
    alpha: float | None = None


class Allocator:
    """Creates large arrays: in memory, or in .npy files of a folder, for arrays larger than memory.

    Called as allocate(name, length, type). A second array of a name replaces the first one in the folder; the first
    remains usable. Raises OSError, with the file, when the disk is too small, before anything is written.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._files: dict[str, Path] = {}

    def __call__(self, name: str, length: int, dtype: type[np.generic]) -> np.ndarray:
        if self.folder is None or not length:
            return np.empty(length, dtype)
        before = self._files.get(name)
        # Each has another name, since a mapped file must not be written again.
        path = self.folder / (f"{name}.npy" if before is None else f"{before.stem}-next.npy")
        self._files[name] = path
        mapped = np.lib.format.open_memmap(path, "w+", dtype, (length,))
        if before is not None:
            with contextlib.suppress(OSError):  # some systems keep mapped files
                before.unlink()
        if hasattr(os, "posix_fallocate"):
            # Otherwise a full disk would kill the process when it writes to the map.
            with path.open("rb+") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
                except OSError as error:
                    raise OSError(error.errno, error.strerror, str(path)) from error
        return np.asarray(mapped)  # kernels need plain arrays


def save(directory: Path, model: StoredModel, vocabulary: Vocabulary) -> None:
    """Write a model into an existing directory; arrays from an Allocator in files are linked, not copied."""
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    table, index = model.table, model.index
    arrays = {name: getattr(table, name) for name in ARRAYS}
    if index is not None:
        arrays |= {name: getattr(index, name) for name, _ in TEXT}
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        path.unlink(missing_ok=True)  # it may be the mapped file, so it is not written to
        _write(path, array)
    header = {
        "format": next(number for number, link in FORMATS.items() if link == table.link),
        "order": table.order,
        "vocab_size": table.vocab_size,
        "eos_id": vocabulary.eos_id,
        "unk_id": vocabulary.unk_id,
        "offsets": [int(offset) for offset in table.offsets],
        "text": None if index is None else [len(index.text), len(index.positions)],
        "smoothing": model.smoothing,
        "normalized": model.normalized,
    }
    if model.alpha is not None:
        header["alpha"] = model.alpha
    (directory / HEADER).write_text(strict_json.dumps(header, indent=1) + "\n", encoding="utf-8")


def load(directory: Path, vocabulary: Vocabulary) -> StoredModel:
    """Load the files of `save`, mapped read-only; only sizes are read, so this takes no time.

    Queries check links in the arrays when they follow them. Raises ModelError for files that are missing, damaged,
    or of a model with another vocabulary.
    """
    path = directory / HEADER
    header = _read_header(path)
    wanted = (vocabulary.size, vocabulary.eos_id, vocabulary.unk_id)
    found = tuple(header.get(name) for name in ("vocab_size", "eos_id", "unk_id"))
    if found != wanted or any(isinstance(value, bool) for value in found):
        _refuse(path, f"its vocabulary is {reprlib.repr(found)}, but the tokenizer's is {wanted}")
    if header.get("smoothing") not in (*SMOOTHINGS, IMPORTED) or type(header.get("normalized")) is not bool:
        _refuse(path, "it has no known smoothing")
    order = _whole(header.get("order"), 1, MOST_WORDS, path, "order")
    link = FORMATS[header["format"]]
    offsets = _offsets(header.get("offsets"), order, vocabulary.size, path, np.iinfo(link).max)
    total, contexts = offsets[order], offsets[order - 1]
    lengths = {"children": contexts + 1, "backoffs": contexts}
    folder = directory / FOLDER
    arrays = {
        name: _map(folder / f"{name}.npy", dtype, lengths.get(name, total))
        for name, dtype in layout(link).items()
    }
    table = NgramTable(order, vocabulary.size, np.array(offsets, np.int64), **arrays)
    for k in range(order):
        # The first child of the first context of an order is the first n-gram of the next order.
        if table.children[offsets[k]] != offsets[k + 1]:
            _refuse(folder / "children.npy", f"the n-grams of {k + 2} words do not begin where they should")
    index = None
    if header.get("text") is not None:
        index = _load_text(folder, header["text"], path)
    return StoredModel(table, index, header["smoothing"], header["normalized"], _alpha(header, path))


def _alpha(header: dict[str, Any], path: Path) -> float | None:
    """The factor of stupid backoff; None for other smoothings."""
    if header["smoothing"] != "stupid-backoff":
        return None
    alpha = header.get("alpha")
    if alpha is None:
        raise ModelError(
            f"{path}: from an earlier lmkit, whose stupid backoff ignored alpha after unseen contexts; "
            "train the model again"
        )
    if type(alpha) is not float or not 0 < alpha <= 1:
        _refuse(path, f"'alpha' has {reprlib.repr(alpha)}, not a number from 0 to 1")
    return alpha


def _load_text(folder: Path, lengths: Any, path: Path) -> TextIndex:
    if not isinstance(lengths, list) or len(lengths) != 2:
        _refuse(path, "'text' must have two lengths")
    length = _whole(lengths[0], 0, MOST_IDS, path, "text")
    sizes = (length, _whole(lengths[1], 0, length, path, "text"))
    return TextIndex(
        *(_map(folder / f"{name}.npy", dtype, size) for (name, dtype), size in zip(TEXT, sizes, strict=True))
    )


def _write(path: Path, array: np.ndarray) -> None:
    mapped = array if isinstance(array, np.memmap) else array.base
    # A whole array that an Allocator mapped to a file; loaded arrays belong to another model.
    if isinstance(mapped, np.memmap) and mapped.mode == "r+" and mapped.nbytes == array.nbytes:
        mapped.flush()
        with contextlib.suppress(OSError):  # another disk, another system, or a changed file: copied
            os.link(str(mapped.filename), path)
            return
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), (1, 0), allow_pickle=False)


def _read_header(path: Path) -> dict[str, Any]:
    header = read_json(path)
    found = header.get("format")
    if type(found) is not int or found not in FORMATS:
        known = " and ".join(map(str, FORMATS))
        raise ModelError(
            f"{path}: it has format {reprlib.repr(found)}, this version of lmkit reads {known}; use the version "
            "that wrote it"
        )
    return header


def _offsets(found: Any, order: int, vocab_size: int, path: Path, most: int) -> list[int]:
    if not isinstance(found, list) or len(found) != order + 1:
        _refuse(path, f"'offsets' must be {order + 1} numbers")
    offsets = [_whole(offset, 0, most, path, "offsets") for offset in found]
    if offsets[:2] != [0, vocab_size + 1] or offsets != sorted(offsets):
        _refuse(
            path, "'offsets' must begin with 0 and the size of the vocabulary with <s>, and never decrease"
        )
    return offsets


def _whole(value: Any, least: int, most: int, path: Path, name: str) -> int:
    if type(value) is not int or not least <= value <= most:
        _refuse(path, f"'{name}' has {reprlib.repr(value)}, not a whole number from {least} to {most}")
    return value


def _map(path: Path, dtype: type[np.generic], length: int) -> np.ndarray:
    """The array of a file, mapped read-only."""
    wanted = np.dtype(dtype).newbyteorder("<")
    try:
        if path.exists() and not path.is_file():
            _refuse(path, "it is not a file")
        with path.open("rb") as file:
            start = _check_array(path, file, wanted, length)
            size = os.fstat(file.fileno()).st_size
            if size != start + length * wanted.itemsize:
                _refuse(path, f"it has {size:,} bytes, not {start + length * wanted.itemsize:,}")
            if not length:
                return np.empty(0, dtype)  # an empty file cannot be mapped
            return np.asarray(np.memmap(file, wanted, "r", start, (length,)))
    except OSError as error:
        _refuse(path, f"it cannot be read ({reason_of(error)})")


def _check_array(path: Path, file: BinaryIO, dtype: np.dtype, length: int) -> int:
    """The offset of the array's values; ModelError unless there are `length` of this type, contiguous."""
    magic, size = file.read(len(MAGIC)), int.from_bytes(file.read(2), "little")
    if magic != MAGIC or size > LARGEST_ARRAY_HEADER:
        _refuse(path, "it is not a .npy file of version 1.0")
    found = ARRAY_HEADER.fullmatch(file.read(size))
    if found is None:
        _refuse(path, "it is not a .npy file of one array of numbers")
    kind, shape = (group.decode() for group in found.groups())
    if (kind, shape) != (dtype.str, f"{length},"):
        _refuse(path, f"it holds '{kind}' of shape ({shape}), not '{dtype.str}' of shape ({length},)")
    return file.tell()


def _refuse(path: Path, reason: str) -> NoReturn:
    raise ModelError(f"{path}: {reason}; restore it from a backup or train again")
