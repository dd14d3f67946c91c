"""Write vectors to safetensors, Parquet or HDF5 files, as a stream and atomically."""

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
"""Bytes reserved for the header of a safetensors file, which is written last; blanks may follow it."""
ROW_GROUP = 1 << 24
"""Numbers of a row group in Parquet: 64 MB in memory."""


@dataclass(frozen=True)
class Form:
    """The chosen layer and pooling, which decide the shapes of vectors; see `lmkit.embedding.layers.selection`."""

    layer: str | int
    pool: str

    @property
    def pooled(self) -> bool:
        return self.pool != "none"

    @property
    def all_layers(self) -> bool:
        return self.layer == "all"

    def rows(self, vectors: Tensor) -> np.ndarray:
        """(rows, features) or, for all layers, (rows, layers, features): one row per token, or one if pooled."""
        if self.pooled:
            vectors = vectors[None]
        elif self.all_layers:
            vectors = vectors.transpose(0, 1)
        return np.ascontiguousarray(vectors.numpy(), "<f4")


def check_target(path: Path, form: Form, *, overwrite: bool) -> None:
    """Raise UsageError when vectors of this form cannot be written to this file."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: unknown format; use a name ending in {', '.join(SUFFIXES)}")
    if path.suffix == ".hdf5" and form.pooled:
        raise UsageError(
            "HDF5 dumps hold one vector per token: leave --pool out, or write .safetensors or .parquet"
        )
    check_new(path, overwrite=overwrite)


def write_vectors(lines: Iterable[EmbeddedLine], path: Path, form: Form) -> None:
    """Write the vectors of lines in the format of the file's suffix; docs/embedding.md describes each.

    An existing file is replaced at the end. Memory holds one line, or one row group of Parquet.
    Raises UsageError if the file cannot be written or a library is missing.
    """
    if path.suffix == ".hdf5":
        _write_hdf5(lines, path)
        return
    write: Callable[[Iterable[EmbeddedLine], Form, BinaryIO], None]
    write = _write_parquet if path.suffix == ".parquet" else _write_safetensors
    with new_file(path, overwrite=True) as file:
        write(lines, form, file)


def read_vectors(path: str | Path) -> list[Tensor]:
    """The vectors of each line in a safetensors file of `lmkit embed`, in the shapes of `Model.embed`.

    Raises ModelError if it is not a valid safetensors file, DataError if another program wrote it.
    """
    from safetensors import safe_open

    from lmkit.safetensors_check import check_header

    names = check_header(Path(path)).keys()
    if names - {"rows"} not in ({"vectors"}, {"vectors", "ends"}):
        raise DataError(f"{path}: not from `lmkit embed` (no 'vectors' and 'ends'); give such a file")
    with safe_open(path, "pt") as file:
        vectors: Tensor = file.get_tensor("vectors")
        if "ends" not in names:
            return list(vectors)
        ends: list[int] = file.get_tensor("ends").flatten().tolist()
    spans = list(pairwise([0, *ends]))
    if vectors.dim() not in (2, 3) or any(a > b for a, b in spans) or [0, *ends][-1] != len(vectors):
        raise DataError(f"{path}: its 'ends' do not match its vectors; write it again with `lmkit embed`")
    lines = [vectors[first:last] for first, last in spans]
    return [line.transpose(0, 1) for line in lines] if vectors.dim() == 3 else lines


def _write_safetensors(lines: Iterable[EmbeddedLine], form: Form, sink: BinaryIO) -> None:
    """ "vectors": those of all lines, concatenated; "ends": the end of each line's vectors, unless pooled;
    "rows": each line's row of the table."""
    sink.write(bytes(HEADER))
    # 32 bits: after rows of float32, any multiple of four bytes is aligned.
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
    """One row per token (line, token, text, vector), or per line if pooled (line, text, vector)."""
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
    """Groups of lines, with their numbers from 1 and their rows, of about ROW_GROUP numbers."""
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
