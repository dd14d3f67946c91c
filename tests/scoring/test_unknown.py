"""Figures of a text that a model can hardly read come with a warning."""

import logging

import pytest

from lmkit.scoring.unknown import warn_if_mostly_unknown


@pytest.mark.parametrize(
    ("unknown", "tokens", "said"), [(0, 0, False), (0, 9, False), (4, 9, False), (5, 10, True)]
)
def test_half_of_the_tokens(unknown: int, tokens: int, said: bool, caplog: pytest.LogCaptureFixture) -> None:
    """From half of the tokens on, unknown ones are said; a text without tokens has none."""
    caplog.set_level(logging.WARNING)
    warn_if_mostly_unknown(unknown, tokens)
    assert ("unknown to the model" in caplog.text) == said
