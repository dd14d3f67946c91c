"""Numbers and names in ARPA files: what is written reads back as it was."""

import math
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lmkit_ngram.arpa_parse import parse_number
from lmkit_ngram.arpa_text import ROOM_FOR_NUMBERS, WRONG_NUMBER, put_number
from lmkit_ngram.arpa_words import original, renamed


def written(value: float) -> bytes:
    buffer = np.zeros(ROOM_FOR_NUMBERS, np.uint8)
    end = put_number(np.float32(value), buffer, 0)
    assert end <= (ROOM_FOR_NUMBERS - 3) // 2, "two of them, two tabs and a line end fit"
    return buffer[:end].tobytes()


def parsed(text: bytes) -> float:
    return parse_number(np.frombuffer(text, np.uint8), 0, len(text))


def bits(value: float) -> bytes:
    return struct.pack("<f", value)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(-0.0)
@example(1e-45)
@example(np.finfo(np.float32).max)
@example(9.99999904632568359375)
@example(9.999999747378752e-05)
def test_numbers_come_back_bit_by_bit(value: float) -> None:
    """Any finite float32 is written so that any reader, and ours, finds the same bits."""
    text = written(value)
    assert bits(np.float32(float(text))) == bits(value)
    if value != -99:
        assert bits(parsed(text)) == bits(value)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(-7.4e-05)
def test_numbers_have_no_exponent(value: float) -> None:
    """The reader `arpa` of PyPI drops the exponent of a backoff: -7.4e-05 becomes -7.4."""
    assert set(written(value)) <= set(b"-.0123456789")


def test_log_0_is_minus_99() -> None:
    """SRILM's convention: -99 is log 0, both ways; the numbers around it are themselves."""
    assert written(-math.inf) == b"-99"
    assert parsed(b"-99") == parsed(b"-99.000000") == -math.inf
    assert [parsed(b"-98.5"), parsed(b"-100")] == [-98.5, -100]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_wrong_numbers_are_not_written(value: float) -> None:
    """What no reader could take is told to the caller."""
    assert put_number(np.float32(value), np.zeros(ROOM_FOR_NUMBERS, np.uint8), 0) == WRONG_NUMBER


@pytest.mark.parametrize(
    "value", ["-1.5", "+2", "0", "-0", ".5", "-3.", "1e-3", "-2E+01", "1" * 30, "0." + "0" * 40 + "1"]
)
def test_spellings_of_numbers(value: str) -> None:
    """Signs, points and exponents wherever C allows them."""
    assert bits(parsed(value.encode())) == bits(np.float32(float(value)))


@pytest.mark.parametrize("value", ["-inf", "-INF", "-Infinity"])
def test_spellings_of_log_0(value: str) -> None:
    """What C prints for log 0 is read."""
    assert parsed(value.encode()) == -math.inf


@pytest.mark.parametrize(
    "value",
    [
        *("", "-", ".", "e5", "1e", "1e+", "1x", "0x10", "1.2.3", "--1", "1 "),
        *("nan", "-nan", "inf", "-infinit", "1e39", "-1e400"),
    ],
)
def test_no_numbers(value: str) -> None:
    """Anything else is NaN, numbers too large for float32 among it."""
    assert math.isnan(parsed(value.encode()))


@given(st.from_regex(r"[@<]{0,3}/?(s|unk|UNK|x)[@>]{0,3}", fullmatch=True))
def test_names_can_be_undone(word: str) -> None:
    """No two words have one name, none is called <s>, </s> or <unk>, and the word can be told from its name."""
    name = renamed(word.encode())
    assert original(name) == word.encode()
    assert name not in (b"<s>", b"</s>", b"<unk>", b"<UNK>")


def test_names() -> None:
    """The three taken names, and those that look like what became of them."""
    words = [b"<s>", b"</s>", b"<unk>", b"@s@", b"@@unk@@", b"@s@@", b"s", b"@"]
    names = [b"@s@", b"@/s@", b"@unk@", b"@@s@@", b"@@@unk@@@", b"@@s@@@", b"s", b"@"]
    assert [renamed(word) for word in words] == names
