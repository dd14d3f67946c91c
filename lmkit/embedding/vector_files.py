"""Vectors in files: safetensors, Parquet or HDF5, written as they come, whole or not at all."""

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, tee
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from torch import Tensor

from lmkit import strict_json
from lmkit.embedding.text import EmbeddedLine
from lmkit.errors import DataError, UsageError
from lmkit.files import check_new, new_file

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".safetensors", ".parquet", ".hdf5")

HEADER = 1024
"""Bytes kept free for the header of a safetensors file, which is known last; blanks may follow it."""
ROW_GROUP = 1 << 24
"""Numbers of a row group in Parquet: 64 MB are held in memory."""


@dataclass(frozen=True)
class Form:
    """What was asked for, and so the shapes of vectors; `lmkit.embedding.layers.selection` says what they mean."""

    layer: str | int
    pool: str

    @property
    def pooled(self) -> bool:
        return self.pool != "none"

    @property
    def all_layers(self) -> bool:
        return self.layer == "all"

    def rows(self, vectors: Tensor) -> np.ndarray:
        """(rows, features) or, of all layers, (rows, layers, features): a row a token, or one if pooled."""
        if self.pooled:
            vectors = vectors[None]
        elif self.all_layers:
            vectors = vectors.transpose(0, 1)
        return np.ascontiguousarray(vectors.numpy(), "<f4")


def check_target(path: Path, form: Form, *, overwrite: bool) -> None:
    """UsageError when vectors of this form cannot be written to this file."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: the file's name says its format: end it with {', '.join(SUFFIXES)}")
    if path.suffix == ".hdf5" and form.pooled:
        raise UsageError(
            "HDF5 dumps hold a vector a token: leave --pool out, or write .safetensors or .parquet"
        )
    check_new(path, overwrite=overwrite)


def write_vectors(lines: Iterable[EmbeddedLine], path: Path, form: Form) -> None:
    """Write the vectors of lines in the format that the name of the file says; docs/embedding.md has each.

    A file of that name is replaced when all is written. Held in memory is a line, of Parquet a row group.
    Raises UsageError where no file can be made or a library is missing.
    """
    if path.suffix == ".hdf5":
        _write_hdf5(lines, path)
        return
    write: Callable[[Iterable[EmbeddedLine], Form, BinaryIO], None]
    write = _write_parquet if path.suffix == ".parquet" else _write_safetensors
    with new_file(path, overwrite=True) as file:
        write(lines, form, file)


def read_vectors(path: str | Path) -> list[Tensor]:
    """The vectors of each line in a safetensors file of `lmkit embed`, in the shapes that `Model.embed` gives.

    Raises ModelError where it is no sound safetensors file, DataError where others wrote it.
    """
    from safetensors import safe_open

    from lmkit.safetensors_check import check_header

    names = check_header(Path(path)).keys()
    if names - {"rows"} not in ({"vectors"}, {"vectors", "ends"}):
        raise DataError(
            f"{path}: not from `lmkit embed`, which writes 'vectors' and 'ends'; give one that is"
        )
    with safe_open(path, "pt") as file:
        vectors: Tensor = file.get_tensor("vectors")
        if "ends" not in names:
            return list(vectors)
        ends: list[int] = file.get_tensor("ends").flatten().tolist()
    spans = list(pairwise([0, *ends]))
    if vectors.dim() not in (2, 3) or any(a > b for a, b in spans) or [0, *ends][-1] != len(vectors):
        raise DataError(
            f"{path}: its lines do not end where its vectors do; write it again with `lmkit embed`"
        )
    lines = [vectors[first:last] for first, last in spans]
    return [line.transpose(0, 1) for line in lines] if vectors.dim() == 3 else lines


def _write_safetensors(lines: Iterable[EmbeddedLine], form: Form, sink: BinaryIO) -> None:
    """ "vectors": those of all lines one after another; "ends": where each line's end, unless they are pooled;
    "rows": each line's row of the table."""
    sink.write(bytes(HEADER))
    # Of 32 bits, since what follows rows of float32 is in its place at any multiple of four bytes.
    ends, numbers = array("i"), array("i")
    shape: tuple[int, ...] = ()
    total = 0
    for line in lines:
        rows = form.rows(line.vectors)
        sink.write(rows.data)
        total += len(rows)
        ends.append(total)
        numbers.append(line.row)
        shape = rows.shape[1:]
    size = total * int(np.prod(shape)) * 4
    header: dict[str, object] = {
        "__metadata__": {"layer": str(form.layer), "pool": form.pool},
        "vectors": {"dtype": "F32", "shape": [total, *shape], "data_offsets": [0, size]},
    }
    columns = {"rows": numbers} if form.pooled else {"ends": ends, "rows": numbers}
    for name, column in columns.items():
        sink.write(np.asarray(column, "<i4").data)
        place = [size, size + 4 * len(column)]
        header[name] = {"dtype": "I32", "shape": [len(column)], "data_offsets": place}
        size = place[1]
    sink.seek(0)
    sink.write((HEADER - 8).to_bytes(8, "little"))
    sink.write(strict_json.dumps(header).encode().ljust(HEADER - 8))


def _write_parquet(lines: Iterable[EmbeddedLine], form: Form, sink: BinaryIO) -> None:
    """A row a token (line, token, text, vector), or a line if they are pooled (line, text, vector)."""
    from pyarrow import parquet

    writer: parquet.ParquetWriter | None = None
    try:
        for group in _row_groups(lines, form):
            table = _table(group, form)
            writer = writer or parquet.ParquetWriter(sink, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _row_groups(
    lines: Iterable[EmbeddedLine], form: Form
) -> Iterator[list[tuple[int, EmbeddedLine, np.ndarray]]]:
    """Lines with their numbers, from 1, and their rows, gathered until there are ROW_GROUP numbers."""
    group, held = [], 0
    for number, line in enumerate(lines, 1):
        rows = form.rows(line.vectors)
        group.append((number, line, rows))
        held += rows.size
        if held >= ROW_GROUP:
            yield group
            group, held = [], 0
    if group:
        yield group


def _table(lines: list[tuple[int, EmbeddedLine, np.ndarray]], form: Form) -> "pa.Table":
    import pyarrow as pa

    rows = np.concatenate([rows for _, _, rows in lines])
    vectors = pa.array(rows.reshape(-1))
    for size in reversed(rows.shape[1:]):
        vectors = pa.FixedSizeListArray.from_arrays(vectors, size)
    if form.pooled:
        numbers = [number for number, _, _ in lines]
        texts = [line.text for _, line, _ in lines]
        table_rows = pa.array([line.row for _, line, _ in lines], pa.int64())
        return pa.table(
            {"line": pa.array(numbers, pa.int64()), "text": texts, "vector": vectors, "row": table_rows}
        )
    numbers = [number for number, line, _ in lines for _ in line.tokens]
    places = [place for _, line, _ in lines for place in range(len(line.tokens))]
    texts = [text for _, line, _ in lines for text in line.tokens]
    return pa.table(
        {
            "line": pa.array(numbers, pa.int64()),
            "token": pa.array(places, pa.int64()),
            "text": pa.array(texts, pa.string()),
            "vector": vectors,
            "row": pa.array([line.row for _, line, _ in lines for _ in line.tokens], pa.int64()),
        }
    )


def _write_hdf5(lines: Iterable[EmbeddedLine], path: Path) -> None:
    from lmkit.embedding.dumps import write_dump

    first, second = tee(lines)
    write_dump(path, (line.vectors for line in first), (line.text for line in second), overwrite=True)
