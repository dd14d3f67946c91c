"""Group sequences of similar lengths into batches, to reduce padding."""

from collections.abc import Iterator, Sequence

ROWS = 8
"""BLAS computes a product with few or leftover rows differently, which changes a row's last bits. In batches of a
multiple of this many rows, including empty ones, a row does not depend on the others."""


def full_rows(rows: int) -> int:
    """The next multiple of ROWS."""
    return -(-rows // ROWS) * ROWS


def by_length(
    lengths: Sequence[int], *, most_tokens: int, most_sequences: int | None = None
) -> Iterator[list[int]]:
    """Batches of indices of sequences, the longest first; sequences of one length keep their order.

    lengths: tokens of each. most_tokens: of a batch, including padding; a longer sequence is a separate batch.
    """
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if batch and (len(batch) == most_sequences or lengths[batch[0]] * (len(batch) + 1) > most_tokens):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
