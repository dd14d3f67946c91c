"""Which sequences are computed in one batch: those of like lengths, so that little of it is padding."""

from collections.abc import Iterator, Sequence

ROWS = 8
"""BLAS takes other ways through a product with few rows, or with some left over, and a row's last bits depend on
which: in batches of multiples of this many, empty rows among them, they do not depend on the others."""


def full_rows(rows: int) -> int:
    """The next multiple of ROWS."""
    return -(-rows // ROWS) * ROWS


def by_length(
    lengths: Sequence[int], *, most_tokens: int, most_sequences: int | None = None
) -> Iterator[list[int]]:
    """Batches of places of sequences, the longest first; sequences of one length keep their order.

    lengths: tokens of each. most_tokens: of a batch, padding included; a longer sequence is a batch of its own.
    """
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if batch and (len(batch) == most_sequences or lengths[batch[0]] * (len(batch) + 1) > most_tokens):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
