"""Save and load a model's arrays: `ngram.json` describes the .npy files in `ngram/`."""

import contextlib
import os
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmkit import strict_json
from lmkit.contracts import Vocabulary
from lmkit.errors import ModelError
from lmkit.specs import MOST_IDS
from lmkit_ngram.array_files import map_array, read_header, refuse, vocabulary_facts, whole, write_array
from lmkit_ngram.options import MOST_WORDS, SMOOTHINGS
from lmkit_ngram.quantize import MOST_LOG10, Packed, packed_layout, unpack
from lmkit_ngram.table import ARRAYS, Link, NgramTable, TextIndex, layout
from lmkit_ngram.threads import available

FORMATS: dict[int, Link] = {1: np.int32, 2: np.int64}
"""The type of links by format, so that versions of lmkit that know only the first name the cause."""
QUANTIZED = 3
"""The format of a model whose arrays are those of `Packed`."""
HEADER = "ngram.json"
FOLDER = "ngram"
TEXT = (("text", np.int32), ("positions", np.int32))
"""The arrays of a TextIndex."""
IMPORTED = "imported"
"""The smoothing of a model with probabilities from another program."""


@dataclass(frozen=True)
class StoredModel:
    """The contents of the files of a model.

    index: None if the text was not stored. alpha: the factor of a model of stupid backoff (`stupid_backoff`).
    packed: the form in which a quantized table is saved; None for others.
    """

    table: NgramTable
    index: TextIndex | None
    smoothing: str
    normalized: bool
    alpha: float | None = None
    packed: Packed | None = None


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
    table, index, packed = model.table, model.index, model.packed
    for name in ARRAYS if packed is None else packed_layout(table.offsets):
        write_array(folder / f"{name}.npy", getattr(table if packed is None else packed, name))
    if index is not None:
        save_text(folder, index)
    header = {
        "format": next(number for number, link in FORMATS.items() if link == table.link)
        if packed is None
        else QUANTIZED,
        "order": table.order,
        **vocabulary_facts(vocabulary),
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

    Queries check links in the arrays when they follow them. A quantized model is read and restored in memory.
    Raises ModelError for files that are missing, damaged, or of a model with another vocabulary.
    """
    path = directory / HEADER
    header = read_header(path, [*FORMATS, QUANTIZED], vocabulary)
    if header.get("smoothing") not in (*SMOOTHINGS, IMPORTED) or type(header.get("normalized")) is not bool:
        refuse(path, "it has no known smoothing")
    order = whole(header.get("order"), 1, MOST_WORDS, path, "order")
    link = FORMATS.get(header["format"], np.int64)
    offsets = _offsets(header.get("offsets"), order, vocabulary.size, path, np.iinfo(link).max)
    folder = directory / FOLDER
    packed = None
    if header["format"] == QUANTIZED:
        packed = _load_packed(folder, offsets)
        try:
            table = unpack(packed, threads=available())
        except ModelError as error:
            refuse(folder, str(error))
    else:
        table = _map_table(folder, offsets, link)
    index = None
    if header.get("text") is not None:
        index = load_text(folder, header["text"], path)
    return StoredModel(table, index, header["smoothing"], header["normalized"], _alpha(header, path), packed)


def _map_table(folder: Path, offsets: np.ndarray, link: Link) -> NgramTable:
    order, contexts, total = len(offsets) - 1, int(offsets[-2]), int(offsets[-1])
    lengths = {"children": contexts + 1, "backoffs": contexts}
    arrays = {
        name: map_array(folder / f"{name}.npy", dtype, lengths.get(name, total))
        for name, dtype in layout(link).items()
    }
    table = NgramTable(order, int(offsets[1]) - 1, offsets, **arrays)
    for k in range(order):
        # The first child of the first context of an order is the first n-gram of the next order.
        if table.children[offsets[k]] != offsets[k + 1]:
            refuse(folder / "children.npy", f"the n-grams of {k + 2} words do not begin where they should")
    return table


def _load_packed(folder: Path, offsets: np.ndarray) -> Packed:
    """The arrays of a quantized table, of which the numbers are checked, but not what `unpack` checks."""
    arrays = {
        name: map_array(folder / f"{name}.npy", dtype, length)
        for name, (dtype, length) in packed_layout(offsets).items()
    }
    if not (arrays["unigrams"] <= 0).all():
        refuse(folder / "unigrams.npy", "it holds logarithms of probabilities that are not from 0 to 1")
    if not (np.abs(arrays["ranges"]) <= MOST_LOG10).all():
        refuse(folder / "ranges.npy", f"it holds numbers that are not from -{MOST_LOG10} to {MOST_LOG10}")
    return Packed(offsets, **arrays)


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
        refuse(path, f"'alpha' has {reprlib.repr(alpha)}, not a number from 0 to 1")
    return alpha


def save_text(folder: Path, index: TextIndex) -> None:
    """Write a text and its positions into a folder."""
    for name, _ in TEXT:
        write_array(folder / f"{name}.npy", getattr(index, name))


def load_text(folder: Path, lengths: Any, path: Path) -> TextIndex:
    """The files of `save_text`; lengths: of both arrays, an entry of the header at `path`."""
    if not isinstance(lengths, list) or len(lengths) != 2:
        refuse(path, "'text' must have two lengths")
    length = whole(lengths[0], 0, MOST_IDS, path, "text")
    sizes = (length, whole(lengths[1], 0, length, path, "text"))
    return TextIndex(
        *(
            map_array(folder / f"{name}.npy", dtype, size)
            for (name, dtype), size in zip(TEXT, sizes, strict=True)
        )
    )


def _offsets(found: Any, order: int, vocab_size: int, path: Path, most: int) -> np.ndarray:
    if not isinstance(found, list) or len(found) != order + 1:
        refuse(path, f"'offsets' must be {order + 1} numbers")
    offsets = [whole(offset, 0, most, path, "offsets") for offset in found]
    if offsets[:2] != [0, vocab_size + 1] or offsets != sorted(offsets):
        refuse(
            path, "'offsets' must begin with 0 and the size of the vocabulary with <s>, and never decrease"
        )
    return np.array(offsets, np.int64)
