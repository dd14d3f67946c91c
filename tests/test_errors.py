"""The texts of other people's exceptions, made to fit into one line."""

import errno

from lmkit.errors import first_line, one_line, reason_of, with_kind


def test_texts_of_exceptions() -> None:
    """One line whatever the exception says; its kind where it says nothing."""
    long = ValueError("bad value\n  at 0x12\n")
    assert one_line(long) == "bad value at 0x12"
    assert first_line(long) == "bad value"
    assert (one_line(ValueError()), first_line(ValueError("\n"))) == ("ValueError", "ValueError")


def test_reasons_of_the_system() -> None:
    """Of an OSError the reason without number and file; of one that only has a text, that text."""
    assert reason_of(OSError(errno.ENOSPC, "No space left on device", "a")) == "No space left on device"
    assert reason_of(OSError("cut\noff")) == "cut off"


def test_kinds_of_exceptions() -> None:
    """The kind comes first, and once."""
    assert with_kind(KeyError("loss")) == "KeyError: 'loss'"
    assert with_kind(ValueError("a\nb"), first_line) == "ValueError: a"
    assert with_kind(ValueError()) == "ValueError"
