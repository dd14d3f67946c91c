"""The check of a sentencepiece model: what `fit` makes passes, everything else is a ValueError."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_tokenizers import piece_model
from lmkit_tokenizers.piece_model import parse


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def piece(text: str, kind: int = 1, score: float = 0.0) -> bytes:
    body = field(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score) + field(3, kind)
    return field(1, body)


SPECIAL = piece("</s>", 3) + piece("<unk>", 2)
TRAINER = field(2, field(3, 1))
NORMALIZER = field(3, field(3, 0) + field(4, 0))
BYTES = b"".join(piece(piece_model.byte_piece(byte), 6) for byte in range(256))
SOUND = SPECIAL + piece("▁a") + piece("b") + TRAINER + NORMALIZER


def test_a_sound_model_is_read():
    """Pieces, and their kinds."""
    model = parse(SOUND)
    assert model.pieces == ("</s>", "<unk>", "▁a", "b")
    assert model.kinds == (3, 2, 1, 1)


@pytest.mark.parametrize(
    "other",
    [
        BYTES + SOUND.replace(NORMALIZER, field(3, b"")),
        BYTES + SOUND.replace(NORMALIZER, field(3, field(3, 0) + field(4, 1))),
        BYTES + SOUND.replace(NORMALIZER, field(3, field(3, 0) + field(4, 0) + field(5, 0))),
        BYTES + SOUND.replace(TRAINER, field(2, field(3, 1) + field(22, 0))),
        BYTES + SOUND + piece("<sep>", 4),
        SOUND,
    ],
)
def test_a_model_restores_text_only_if_nothing_changes_it(other):
    """Not with a space before each line, trimmed lines, other spaces, pieces across spaces, symbols, no bytes."""
    assert parse(BYTES + SOUND).restores
    assert not parse(other).restores


def test_settings_of_other_programs_are_in_the_fingerprint():
    """Of a model of lmkit only pieces, normalizer and type decide ids; elsewhere also the trainer's settings."""
    with_fallback = field(2, field(3, 1) + field(35, 1))
    assert parse(SOUND).parts == parse(SOUND.replace(TRAINER, with_fallback)).parts
    other = SOUND + piece("<sep>", 4)
    assert parse(other).parts != parse(other.replace(TRAINER, with_fallback)).parts


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no settings"),
        (SPECIAL, "no settings"),
        (SOUND + piece("x", 2), "one unknown"),
        (SOUND.replace(piece("<unk>", 2), piece("<unk>", 1)), "one unknown"),
        (SOUND + piece("b"), "twice"),
        (SOUND + piece("x" * 200_000), "longer"),
        (SOUND + piece(""), "empty"),
        (SOUND + piece("x", 7), "unknown kind"),
        (SOUND + piece("<0x41>", 6), "some byte pieces"),
        (SOUND + piece("x", score=float("nan")), "finite"),
        (SOUND + TRAINER, "twice"),
        (SOUND + field(9, b"x"), "unexpected"),
        (SOUND + field(1, 5), "unexpected"),
        (SOUND + field(5, field(2, b"x")), "decoding"),
        (SOUND.replace(TRAINER, field(2, field(3, 5))), "model type"),
        (SOUND.replace(TRAINER, field(2, field(24, 1))), "spaces at the end"),
        (SOUND + varint(1 << 3 | 2) + varint(2**62), "cut off"),
        (SOUND + b"\xff" * 11, "not a sentencepiece model"),
        (SOUND + b"\x0b", "not a sentencepiece model"),
    ],
)
def test_an_unsound_model_is_refused_with_the_reason(data, reason):
    """Each check has its message."""
    with pytest.raises(ValueError, match=reason):
        parse(data)


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=100), st.integers(0, len(SOUND) - 1).map(lambda n: SOUND[:n])))
def test_nothing_but_a_value_error_comes_of_other_bytes(data):
    """Random bytes and models that are cut off never give a model."""
    with pytest.raises(ValueError, match="it"):
        parse(data)


def test_byte_pieces_name_their_byte():
    """`<0x0A>` is the line feed."""
    assert all(piece_model.byte_of(piece_model.byte_piece(b)) == b for b in range(256))
    assert piece_model.byte_piece(10) == "<0x0A>"
