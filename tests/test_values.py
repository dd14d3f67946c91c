"""Numbers and times as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit import values


@given(st.floats(0, 1e7))
def test_a_duration_is_read_back(seconds):
    """h:mm:ss, m:ss or a number of seconds, rounded."""
    parts = values.duration(seconds).removesuffix("s").split(":")
    assert sum(int(part) * 60**i for i, part in enumerate(reversed(parts))) == round(seconds)


@pytest.mark.parametrize(
    ("value", "text"),
    [(6.5, "6.5"), (8.30146, "8.3015"), (1234567, "1,234,567"), (30.0, "30"), (None, "none"), ("gru", "gru")],
)
def test_figures_have_no_silly_digits(value, text):
    """Figures for people: thousands apart, four digits after the point at most, no zeros at the end."""
    assert values.figure(value) == text
