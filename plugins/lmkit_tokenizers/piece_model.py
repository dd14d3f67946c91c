"""Check a sentencepiece model field by field, so that the C++ library gets only valid ones."""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

EOS, UNK = 0, 1
EOS_PIECE, UNK_PIECE = "</s>", "<unk>"
SPACE = "▁"
"""The character for a space in pieces."""

LONGEST_PIECE = 1024
"""Bytes; the trainer's own limit is 16 characters."""

# sentencepiece_model.proto: fields of ModelProto, SentencePiece, TrainerSpec and NormalizerSpec.
_PIECES, _TRAINER, _NORMALIZER, _SELF_TEST, _DENORMALIZER = 1, 2, 3, 4, 5
_TEXT, _SCORE, _KIND = 1, 2, 3
_MODEL_TYPE, _SPLIT_BY_SPACES, _SPACE_LAST, _BYTE_FALLBACK = 3, 22, 24, 35
_CHARSMAP, _DUMMY_PREFIX, _TRIM, _ESCAPE = 2, 3, 4, 5
_UNIGRAM, _BPE, _WORD, _CHAR = 1, 2, 3, 4
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

# ModelProto.trainer_spec.unk_surface, added to a model: fields of a repeated message are merged.
UNKNOWN_SURFACE = b"\x12\x06\xe2\x02\x03" + "\ufffd".encode()
"""Bytes to append to a model, so that it decodes the unknown piece as U+FFFD."""

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


@dataclass(frozen=True)
class PieceModel:
    """The contents of a model. pieces and kinds: by id. parts: everything that decides ids, for the fingerprint.

    restores: text is neither changed nor trimmed, each space is a U+2581 that no piece crosses, and what has no
    piece is spelled in bytes: so the pieces restore every line without a literal U+2581.
    """

    pieces: tuple[str, ...]
    kinds: tuple[int, ...]
    restores: bool
    parts: tuple[bytes, ...]


def parse(data: bytes) -> PieceModel:
    """The model in `data`; ValueError, with the reason, if it is damaged or lmkit cannot use it."""
    pieces: list[str] = []
    kinds: list[int] = []
    parts: list[bytes] = []
    specs: dict[int, bytes] = {}
    for number, value in _fields(data):
        if not isinstance(value, bytes) or number not in (
            _PIECES,
            _TRAINER,
            _NORMALIZER,
            _SELF_TEST,
            _DENORMALIZER,
        ):
            raise ValueError(f"it has an unexpected field {number}")
        if number == _PIECES:
            text, kind = _piece(value, len(pieces))
            pieces.append(text)
            kinds.append(kind)
            parts.append(value)
        elif number in specs:
            raise ValueError(f"it has field {number} twice")
        else:
            specs[number] = value
    if _TRAINER not in specs or _NORMALIZER not in specs:
        raise ValueError("it has no settings: it is cut off or not a sentencepiece model")
    _check_pieces(pieces, kinds)
    if dict(_fields(specs.get(_DENORMALIZER, b""))).get(_CHARSMAP):
        raise ValueError("it changes text when decoding")
    trainer = dict(_fields(specs[_TRAINER]))
    model_type = trainer.get(_MODEL_TYPE, _UNIGRAM)
    if model_type not in (_UNIGRAM, _BPE, _WORD, _CHAR):
        raise ValueError(f"its model type {model_type!r} is unknown")
    if trainer.get(_SPACE_LAST, 0):
        raise ValueError(
            "its pieces have spaces at the end (treat_whitespace_as_suffix), not at the beginning"
        )
    parts += [specs[_NORMALIZER], bytes([model_type])]
    normalizer = dict(_fields(specs[_NORMALIZER]))
    restores = (
        not normalizer.get(_CHARSMAP)
        and (normalizer.get(_DUMMY_PREFIX, 1), normalizer.get(_TRIM, 1), normalizer.get(_ESCAPE, 1))
        == (0, 0, 1)
        and trainer.get(_SPLIT_BY_SPACES, 1) == 1
        and BYTE in kinds
        and USER_DEFINED not in kinds
    )
    if not _is_own(pieces, kinds, model_type, normalizer):
        # Other settings of the training, such as byte_fallback, also decide ids.
        parts.append(specs[_TRAINER])
    return PieceModel(tuple(pieces), tuple(kinds), restores, tuple(parts))


def _is_own(pieces: list[str], kinds: list[int], model_type: int, normalizer: dict[int, Any]) -> bool:
    """Whether `piece_trainer.train` could have created a model."""
    return (
        pieces[:2] == [EOS_PIECE, UNK_PIECE]
        and kinds[:2] == [CONTROL, UNKNOWN]
        and set(kinds[2:]) <= {NORMAL, BYTE}
        and model_type in (_UNIGRAM, _BPE)
        and normalizer.get(_DUMMY_PREFIX, 1) == 0
    )


def byte_of(piece: str) -> int:
    """The byte of a byte piece such as `<0x0A>`."""
    return int(piece[3:5], 16)


def byte_piece(byte: int) -> str:
    return f"<0x{byte:02X}>"


def _piece(data: bytes, i: int) -> tuple[str, int]:
    values = dict(_fields(data))
    text, score, kind = values.get(_TEXT), values.get(_SCORE, 0.0), values.get(_KIND, NORMAL)
    if not isinstance(text, bytes) or not 0 < len(text) <= LONGEST_PIECE:
        raise ValueError(f"its piece {i} is empty or longer than {LONGEST_PIECE} bytes")
    if not isinstance(score, float) or not math.isfinite(score):
        raise ValueError(f"its piece {i} has no finite score")
    if not isinstance(kind, int):
        raise ValueError(f"its piece {i} has no kind")
    return text.decode(), kind


def _check_pieces(pieces: list[str], kinds: list[int]) -> None:
    if kinds.count(UNKNOWN) != 1:
        raise ValueError("it must have exactly one unknown piece")
    if len(set(pieces)) != len(pieces):
        raise ValueError("it has a piece twice")
    if set(kinds) - {NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE}:
        raise ValueError("it has pieces of an unknown kind")
    in_bytes = sorted(piece for piece, kind in zip(pieces, kinds, strict=True) if kind == BYTE)
    if in_bytes and in_bytes != sorted(map(byte_piece, range(256))):
        raise ValueError("it has some byte pieces, not all 256")


def _fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """The fields of an encoded protobuf message; every length is checked."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
        else:
            if wire == _BYTES:
                size, at = _varint(data, at)
            elif wire in (_FOUR_BYTES, _EIGHT_BYTES):
                size = 4 if wire == _FOUR_BYTES else 8
            else:
                raise ValueError("it is not a sentencepiece model")
            value, at = data[at : at + size], at + size
            if at > len(data):
                raise ValueError("it is cut off or not a sentencepiece model")
            if wire == _FOUR_BYTES:
                (value,) = struct.unpack("<f", value)
        yield number, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            raise ValueError("it is cut off or not a sentencepiece model")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise ValueError("it is not a sentencepiece model")
