"""Texts of separate items that a model read as one stream."""

import logging

import pytest

from lmkit.scoring.measured_lines import RawLine
from lmkit.scoring.stimuli import StreamWatch, is_one_sentence


@pytest.mark.parametrize(
    ("text", "one"),
    [
        ("The cat sat.", True),
        ("“Did it?”", True),
        ("今天天气很好。", True),
        ("no full stop", False),
        ("The cat sat. The dog sat.", False),
        ("今天很好。我去。", False),
        ("", False),
    ],
)
def test_one_sentence(text: str, one: bool) -> None:
    """A sentence's mark at the end, and none that ends another sentence within the line."""
    assert is_one_sentence(text) == one


def warned(
    policy: str, texts: list[str], caplog: pytest.LogCaptureFixture, *, documents: bool = False
) -> bool:
    caplog.clear()
    caplog.set_level(logging.WARNING)
    watch = StreamWatch(policy)
    for number, text in enumerate(texts):
        watch.add(RawLine(text, len(text), len(text.split()), documents or number == 0))
    watch.report()
    return "--independent" in caplog.text


def test_sentences_with_a_carried_state(caplog: pytest.LogCaptureFixture) -> None:
    """From nine in ten one-sentence lines on there is a warning, unless the state is reset or a line is blank."""
    nine = ["The cat sat."] * 9
    assert warned("never", [*nine, "a heading"], caplog)
    assert not warned("never", [*nine[1:], "a heading", "another"], caplog)
    assert not warned("line", nine, caplog)
    assert not warned("never", [*nine, ""], caplog)
    assert not warned("never", nine[:1], caplog)


def test_rows_of_a_table(caplog: pytest.LogCaptureFixture) -> None:
    """Rows are documents: only a model that never resets carries its state over them."""
    assert warned("never", ["a", "b"], caplog, documents=True)
    assert not warned("document", ["a", "b"], caplog, documents=True)


def test_long_runs_of_white_space() -> None:
    """The time is linear: a line of a million blanks after a full stop would else take hours."""
    assert not is_one_sentence("The cat sat." + " " * 1_000_000 + "x")
    assert is_one_sentence("The cat sat." + " " * 1_000_000)
