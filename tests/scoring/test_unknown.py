"""Figures of a text that a model can hardly read come with a warning."""

import logging

import pytest

from lmkit.scoring.unknown import warn_of_unknown


@pytest.mark.parametrize(
    ("unknown", "tokens", "said"), [(0, 0, False), (0, 9, False), (4, 9, False), (5, 10, True)]
)
def test_half_of_the_tokens(unknown: int, tokens: int, said: bool, caplog: pytest.LogCaptureFixture) -> None:
    """From half of the tokens on, unknown ones are said; a text without tokens has none."""
    caplog.set_level(logging.WARNING)
    warn_of_unknown(unknown, tokens + 1, 1)
    assert ("unknown to the model" in caplog.text) == said


def test_one_warning_with_one_count(caplog: pytest.LogCaptureFixture) -> None:
    """What unknown tokens do and why there are many of them is one warning, with one count."""
    caplog.set_level(logging.WARNING)
    warn_of_unknown(9, 11, 2, effect="each costs the same")
    assert len(caplog.records) == 1
    assert "9 of 11 tokens" in caplog.text
    assert "each costs the same" in caplog.text
    assert "other text" in caplog.text
    warn_of_unknown(1, 11, 2, effect="each costs the same")
    assert "other text" not in caplog.records[1].getMessage()
