"""Nested tuples of tensors, batch first."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from lmkit import states
from lmkit.states import State

BATCH = 4


def filled(shape: list, batch: int = BATCH, value: float | None = None) -> State:
    """A state of the nesting that `shape` shows: an integer is a leaf with that many further dimensions."""
    if isinstance(shape, int):
        size = (batch, *[2] * shape)
        return torch.randn(size) if value is None else torch.full(size, value)
    return tuple(filled(part, batch, value) for part in shape)


nestings = st.recursive(
    st.integers(0, 2), lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=6
)


@given(nestings)
def test_take(shape: list) -> None:
    """A slice gives its rows, an index also repeats and reorders them."""
    state = filled(shape)
    for got, leaf in zip(states.leaves(states.take(state, slice(2))), states.leaves(state), strict=True):
        assert torch.equal(got, leaf[:2])
    order = torch.tensor([2, 2, 0])
    for got, leaf in zip(states.leaves(states.take(state, order)), states.leaves(state), strict=True):
        assert torch.equal(got, leaf[order])


@given(nestings, st.lists(st.booleans(), min_size=BATCH, max_size=BATCH))
def test_where_chooses(shape: list, mask: list[bool]) -> None:
    """Each row comes whole from one side; what is left out does not survive, NaN included."""
    good = filled(shape)
    bad = filled(shape, value=torch.nan)
    chosen = states.where(torch.tensor(mask), good, bad)
    for got, leaf in zip(states.leaves(chosen), states.leaves(good), strict=True):
        for row, keep in enumerate(mask):
            assert torch.equal(got[row], leaf[row]) if keep else bool(got[row].isnan().all())


def test_structure_is_kept() -> None:
    """A tensor stays a tensor and a tuple a tuple, in order."""
    state = (torch.zeros(2), (torch.ones(2, 3), torch.full((2,), 2)))
    doubled = states.apply(lambda t: t * 2, state)
    assert isinstance(doubled, tuple)
    assert isinstance(doubled[1], tuple)
    assert [leaf.flatten()[0].item() for leaf in states.leaves(doubled)] == [0, 2, 4]
    assert torch.equal(states.leaves(torch.ones(1))[0], torch.ones(1))


def test_detach() -> None:
    """detach cuts the graph and keeps the values."""
    weight = torch.ones(2, 3, requires_grad=True)
    cut = states.detach((weight * 2, (weight * 3,)))
    assert [leaf.requires_grad for leaf in states.leaves(cut)] == [False, False]
    assert [leaf.unique().tolist() for leaf in states.leaves(cut)] == [[2.0], [3.0]]
