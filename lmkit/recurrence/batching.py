"""Which sequences are computed in one batch: those of like lengths, so that little of it is padding."""

from collections.abc import Iterator, Sequence


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
