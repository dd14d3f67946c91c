"""Write arrays as .npy files and map them, checked: type, length and size follow from a header in JSON."""

import contextlib
import os
import re
import reprlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from lmkit.contracts import Vocabulary
from lmkit.errors import ModelError, reason_of
from lmkit.runs import read_json

MAGIC = b"\x93NUMPY\x01\x00"
LARGEST_ARRAY_HEADER = 4096
"""Maximum bytes of the header of an array; those of lmkit are far smaller."""
ARRAY_HEADER = re.compile(
    rb"\{'descr': '([<>|=]?[a-zA-Z]\d{0,9})', 'fortran_order': False, 'shape': \((\d{0,19},?[\d, ]{0,99})\), \} *\n"
)
"""The header that numpy writes for an array of numbers, a Python dictionary; numpy's own reader evaluates it."""


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file; an array that an Allocator mapped to a file is linked, not copied."""
    path.unlink(missing_ok=True)  # it may be the mapped file, so it is not written to
    mapped = array if isinstance(array, np.memmap) else array.base
    # A whole array that an Allocator mapped to a file; loaded arrays belong to another model.
    if isinstance(mapped, np.memmap) and mapped.mode == "r+" and mapped.nbytes == array.nbytes:
        mapped.flush()
        with contextlib.suppress(OSError):  # another disk, another system, or a changed file: copied
            os.link(str(mapped.filename), path)
            return
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), (1, 0), allow_pickle=False)


def read_header(path: Path, formats: Collection[int], vocabulary: Vocabulary) -> dict[str, Any]:
    """The header of a model in one of the formats and with this vocabulary; ModelError for any other file."""
    header = read_json(path)
    found = header.get("format")
    if type(found) is not int or found not in formats:
        known = " and ".join(map(str, formats))
        raise ModelError(
            f"{path}: it has format {reprlib.repr(found)}, this version of lmkit reads {known}; use the version "
            "that wrote it"
        )
    wanted = tuple(vocabulary_facts(vocabulary).values())
    sizes = tuple(header.get(name) for name in vocabulary_facts(vocabulary))
    if sizes != wanted or any(isinstance(value, bool) for value in sizes):
        refuse(path, f"its vocabulary is {reprlib.repr(sizes)}, but the tokenizer's is {wanted}")
    return header


def vocabulary_facts(vocabulary: Vocabulary) -> dict[str, int | None]:
    """The entries of a header that describe the vocabulary."""
    return {"vocab_size": vocabulary.size, "eos_id": vocabulary.eos_id, "unk_id": vocabulary.unk_id}


def whole(value: Any, least: int, most: int, path: Path, name: str) -> int:
    """The value of a header; ModelError unless it is a whole number in the range."""
    if type(value) is not int or not least <= value <= most:
        refuse(path, f"'{name}' has {reprlib.repr(value)}, not a whole number from {least} to {most}")
    return value


def map_array(path: Path, dtype: type[np.generic], length: int) -> np.ndarray:
    """The array of a file, mapped read-only."""
    wanted = np.dtype(dtype).newbyteorder("<")
    try:
        if path.exists() and not path.is_file():
            refuse(path, "it is not a file")
        with path.open("rb") as file:
            start = _check_array(path, file, wanted, length)
            size = os.fstat(file.fileno()).st_size
            if size != start + length * wanted.itemsize:
                refuse(path, f"it has {size:,} bytes, not {start + length * wanted.itemsize:,}")
            if not length:
                return np.empty(0, dtype)  # an empty file cannot be mapped
            return np.asarray(np.memmap(file, wanted, "r", start, (length,)))
    except OSError as error:
        refuse(path, f"it cannot be read ({reason_of(error)})")


def _check_array(path: Path, file: BinaryIO, dtype: np.dtype, length: int) -> int:
    """The offset of the array's values; ModelError unless there are `length` of this type, contiguous."""
    magic, size = file.read(len(MAGIC)), int.from_bytes(file.read(2), "little")
    if magic != MAGIC or size > LARGEST_ARRAY_HEADER:
        refuse(path, "it is not a .npy file of version 1.0")
    found = ARRAY_HEADER.fullmatch(file.read(size))
    if found is None:
        refuse(path, "it is not a .npy file of one array of numbers")
    kind, shape = (group.decode() for group in found.groups())
    if (kind, shape) != (dtype.str, f"{length},"):
        refuse(path, f"it holds '{kind}' of shape ({shape}), not '{dtype.str}' of shape ({length},)")
    return file.tell()


def refuse(path: Path, reason: str) -> NoReturn:
    """Raise ModelError for a file of a model."""
    raise ModelError(f"{path}: {reason}; restore it from a backup or train again")
