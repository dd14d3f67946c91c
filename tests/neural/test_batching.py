"""Batches of sequences of like lengths."""

from hypothesis import given
from hypothesis import strategies as st

from lmkit.neural.batching import by_length


@given(st.lists(st.integers(0, 50)), st.integers(1, 200), st.one_of(st.none(), st.integers(1, 8)))
def test_batches_by_length(lengths, most_tokens, most_sequences):
    """Every sequence is in one batch; no batch is over a limit, unless it is one sequence; the longest go first."""
    batches = list(by_length(lengths, most_tokens=most_tokens, most_sequences=most_sequences))
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= (most_sequences or len(lengths))
        assert len(batch) == 1 or max(lengths[place] for place in batch) * len(batch) <= most_tokens
    order = [lengths[place] for batch in batches for place in batch]
    assert order == sorted(lengths, reverse=True)
