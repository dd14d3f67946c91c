"""Check the header of a safetensors file in bounded memory before a library maps the file.

The format: 8 bytes with the header's size (little-endian), a JSON object from each tensor's name to its type,
shape and place, then the bytes of all tensors without a gap (https://github.com/huggingface/safetensors).
"""

import math
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmkit import strict_json
from lmkit.errors import ModelError
from lmkit.pickles import refuse_pickle

LARGEST_HEADER = 1 << 24
"""Bytes, room for about 100,000 tensors; the format's own limit, 100 MB, would parse to gigabytes."""
LONGEST_NAME = 512
MOST_DIMENSIONS = 64
LARGEST_DIMENSION = 1 << 63

SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
"""Bytes of one element, by type."""

_PREFIX = 8
_METADATA = "__metadata__"


@dataclass(frozen=True)
class Entry:
    """The entry of a tensor in a header; its bytes are [begin, end) after the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def check_header(path: Path) -> dict[str, Entry]:
    """The tensors of a safetensors file by name.

    Raises ModelError when the file is a pickle, cut off, or invalid in any way, and OSError when it cannot be
    read. Reads only the header.
    """
    if path.exists() and not path.is_file():
        raise ModelError(f"{path}: is a directory, a pipe or a device, not a file; restore it")
    refuse_pickle(path)
    try:
        header, room = _read(path)
        entries = {name: _entry(name, fact) for name, fact in header.items() if name != _METADATA}
        _check_metadata(header.get(_METADATA, {}))
        _check_places(entries, room)
    except ValueError as error:
        raise ModelError(
            f"{path}: not a valid safetensors file: {error}; restore it from a backup or train again"
        ) from None
    return entries


def _read(path: Path) -> tuple[dict[str, Any], int]:
    """The parsed header, and the number of bytes after it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(_PREFIX)
        if len(prefix) < _PREFIX:
            raise ValueError(f"it has {size} bytes, too few for a header")
        length = int.from_bytes(prefix, "little")
        if length > LARGEST_HEADER:
            raise ValueError(f"its header claims {length:,} bytes, more than {LARGEST_HEADER:,}")
        if _PREFIX + length > size:
            raise ValueError(f"its header claims {length:,} bytes, past the file's end at {size:,}")
        text = file.read(length)
    if not text.startswith(b"{"):
        raise ValueError("its header does not begin with '{'")
    try:
        header = strict_json.parse(text)
    except ValueError as error:
        raise ValueError(f"its header is not valid JSON ({error})") from None
    return header, size - _PREFIX - length


def _entry(name: str, fact: Any) -> Entry:
    if not name.isprintable() or not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(
            f"the tensor {reprlib.repr(name)} needs a name of 1 to {LONGEST_NAME} printable characters"
        )
    if not isinstance(fact, dict) or fact.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the tensor '{name}' needs dtype, shape and data_offsets, and nothing else")
    dtype, shape, place = fact["dtype"], fact["shape"], fact["data_offsets"]
    if not isinstance(dtype, str) or dtype not in SIZES:
        raise ValueError(f"the tensor '{name}' is of the unknown type {reprlib.repr(dtype)}")
    if not _whole(shape) or len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"the tensor '{name}' has the impossible shape {reprlib.repr(shape)}")
    if not _whole(place) or len(place) != 2 or place[0] > place[1]:
        raise ValueError(f"the tensor '{name}' has the impossible data_offsets {reprlib.repr(place)}")
    begin, end = place
    # The library multiplies in 64 bits, zeros included.
    if math.prod(max(1, n) for n in shape) * SIZES[dtype] >= LARGEST_DIMENSION:
        raise ValueError(f"the tensor '{name}' has the shape {reprlib.repr(shape)}, larger than any memory")
    wanted = math.prod(shape) * SIZES[dtype]
    if end - begin != wanted:
        raise ValueError(f"the tensor '{name}' takes {wanted:,} bytes, but has {end - begin:,} in the file")
    return Entry(dtype, tuple(shape), begin, end)


def _whole(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(n) is int and 0 <= n < LARGEST_DIMENSION for n in numbers)


def _check_metadata(table: Any) -> None:
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise ValueError(f"its {_METADATA} is not a table of strings")


def _check_places(entries: dict[str, Entry], room: int) -> None:
    """Raise ValueError unless the tensors cover each byte after the header once."""
    covered, last = 0, "the header"
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.end > room:
            raise ValueError(
                f"the tensor '{name}' ends at byte {entry.end:,} of {room:,}: the file is cut off"
            )
        if entry.begin < covered:
            raise ValueError(f"the tensor '{name}' overlaps {last}")
        if entry.begin > covered:
            raise ValueError(
                f"{entry.begin - covered:,} bytes between {last} and '{name}' belong to no tensor"
            )
        covered, last = entry.end, f"'{name}'"
    if covered < room:
        raise ValueError(f"{room - covered:,} bytes after {last} belong to no tensor")
