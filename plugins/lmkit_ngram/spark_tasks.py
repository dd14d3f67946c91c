"""What Spark's workers do with the blocks of a text and with its parts, by the kernels of a single machine.

Arrays travel as rows of bytes: a row has up to PIECE of them, and rows of an array follow each other.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

import lmkit
from lmkit_ngram import part_kernels
from lmkit_ngram.options import NgramOptions
from lmkit_ngram.part_count import Rows
from lmkit_ngram.part_smooth import Level, Settings, smooth
from lmkit_ngram.part_tally import Tally, nodes_of

if TYPE_CHECKING:
    import pyarrow as pa

TEXT = "skip int, tokens binary"
"""The columns of a text: the tokens of a block, int32, and how many are only words before it."""
SCHEMA = "part int, name string, type string, data binary"
"""The columns of arrays."""
PIECE = 4 << 20
"""The most bytes of a row."""
PIECES = 8
"""The most rows that Spark hands to a worker at once."""
ROWS = ("rows", "spans", "counts")
"""The arrays of a Rows."""
LEVEL = ("sizes", "backoffs", "words", "suffixes", "log_probs", "first_words")
"""The arrays of a Level that the model needs."""
OTHER_LMKIT = "OtherLmkit"

Piece = tuple[int, str, str, bytes]
Arrays = dict[str, np.ndarray]


class OtherLmkit(Exception):  # noqa: N818 (Spark prints the name, which `spark_session.explained` looks for)
    """A worker has another version of lmkit, whose numbers might differ."""


@dataclass(frozen=True)
class Task:
    """A function from batches of rows to batches of rows, sent to the workers. version: lmkit's, where it was made."""

    version: str

    def run(self, batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        if self.version != lmkit.__version__:
            raise OtherLmkit(f"a worker of Spark has lmkit {lmkit.__version__}, not {self.version} as here")
        yield from to_batches(self.pieces(batches))

    def pieces(self, batches: "Iterator[pa.RecordBatch]") -> Iterator[Piece]:
        raise NotImplementedError


@dataclass(frozen=True)
class Split(Task):
    """The windows of blocks of a text, by part. first, slices: of the plan."""

    order: int
    eos_id: int
    vocab_size: int
    num_parts: int
    first: np.ndarray
    slices: np.ndarray

    def pieces(self, batches: "Iterator[pa.RecordBatch]") -> Iterator[Piece]:
        starts, ends = np.zeros(self.vocab_size, np.int64), np.empty(self.num_parts, np.int64)
        for skip, data in _values(batches):
            tokens = np.frombuffer(bytearray(data), np.int32)
            rows = np.empty((len(tokens) - skip, self.order), np.int32)
            part_kernels.windows(
                tokens, skip, self.eos_id, self.vocab_size, self.first, self.slices, starts, ends, rows
            )
            at = 0
            for part, end in enumerate(ends.tolist()):
                yield from to_pieces(part, {"windows": rows[at:end]})
                at = end


@dataclass(frozen=True)
class Count(Task):
    """The sorted windows of parts, and what the discounts and unigrams need from them.

    slices: the numbers of the parts whose bigrams belong to another one.
    """

    vocab_size: int
    options: NgramOptions
    slices: frozenset[int]

    def pieces(self, batches: "Iterator[pa.RecordBatch]") -> Iterator[Piece]:
        order = self.options.order
        for part, arrays in to_arrays(_values(batches)):
            rows = Rows.count(arrays["windows"].reshape(-1, order), self.vocab_size)
            yield from to_pieces(part, {name: getattr(rows, name) for name in ROWS})
            nodes = nodes_of(rows, self.options)
            tally = Tally.empty(order, self.vocab_size)
            if part in self.slices:
                tally.add(nodes, 3)
                bigrams = nodes.bigrams_with(None)
                yield from to_pieces(
                    part,
                    {
                        "bigram-words": bigrams.words,
                        "bigram-counts": bigrams.counts,
                        "bigram-raw": bigrams.raw,
                    },
                )
            else:
                tally.add(nodes, 2)
            words = np.flatnonzero(tally.before)
            found = {
                "seen": tally.seen,
                "sizes": tally.sizes,
                "before-words": words,
                "before": tally.before[words],
            }
            yield from to_pieces(part, found)


@dataclass(frozen=True)
class Smooth(Task):
    """The n-grams of parts with their probabilities and backoffs. shared: the bigrams of slices, by part."""

    options: NgramOptions
    settings: Settings
    shared: dict[int, Level]

    def pieces(self, batches: "Iterator[pa.RecordBatch]") -> Iterator[Piece]:
        order = self.options.order
        for part, arrays in to_arrays(_values(batches)):
            rows = Rows(arrays["rows"].reshape(-1, order), arrays["spans"], arrays["counts"])
            shared = self.shared.get(part)
            levels = smooth(nodes_of(rows, self.options), self.settings, shared)
            for length in range(2 if shared is None else 3, order + 1):
                level = levels[length - 2]
                yield from to_pieces(part, {f"{name}-{length}": getattr(level, name) for name in LEVEL})


def level_from(arrays: Arrays, length: int) -> Level:
    """The n-grams of one order that came from a worker, without `probs`."""
    found = {name: arrays.get(f"{name}-{length}") for name in LEVEL}
    types = {name: np.float32 if name in ("backoffs", "log_probs") else np.int32 for name in LEVEL}
    filled = {name: np.empty(0, types[name]) if array is None else array for name, array in found.items()}
    return Level(**filled, probs=np.empty(0, np.float32))


def to_pieces(part: int, arrays: Arrays) -> Iterator[Piece]:
    """The rows of arrays; an empty array has none."""
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).tobytes()
        for at in range(0, len(data), PIECE):
            yield part, name, array.dtype.str, data[at : at + PIECE]


def to_arrays(pieces: Iterable[Sequence]) -> Iterator[tuple[int, Arrays]]:
    """The arrays of each part from their rows; the rows of a part follow each other."""
    for part, rows in groupby(pieces, lambda piece: piece[0]):
        data: dict[tuple[str, str], list[bytes]] = {}
        for _, name, kind, piece in rows:
            data.setdefault((name, kind), []).append(piece)
        # Of a bytearray, so that kernels get arrays that can be written.
        arrays = {
            name: np.frombuffer(bytearray().join(chunks), kind) for (name, kind), chunks in data.items()
        }
        yield part, arrays


def to_batches(pieces: Iterable[Piece]) -> "Iterator[pa.RecordBatch]":
    """Rows in batches of about PIECE bytes."""
    waiting: list[Piece] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece[3])
        if size >= PIECE:
            yield _batch(waiting)
            waiting, size = [], 0
    if waiting:
        yield _batch(waiting)


def _batch(pieces: list[Piece]) -> "pa.RecordBatch":
    import pyarrow as pa

    types = (("part", pa.int32()), ("name", pa.string()), ("type", pa.string()), ("data", pa.binary()))
    columns = zip(*pieces, strict=True)
    arrays = [pa.array(column, kind) for column, (_, kind) in zip(columns, types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, [name for name, _ in types])


def _values(batches: "Iterator[pa.RecordBatch]") -> Iterator[tuple]:
    """The rows of batches, as tuples."""
    for batch in batches:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
