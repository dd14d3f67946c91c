"""Subword pieces of sentencepiece, learned from the text or from a trained model."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from sentencepiece import SentencePieceProcessor

from lmkit.contracts import Encoding, Tokenizer, Vocabulary
from lmkit.corpus.words import WHITE_SPACE
from lmkit.errors import ModelError, UsageError
from lmkit.notes import NOTE
from lmkit_tokenizers import piece_model
from lmkit_tokenizers import tokenizer_files as files
from lmkit_tokenizers.options import SentencePieceOptions
from lmkit_tokenizers.piece_model import BYTE, SPACE, UNKNOWN_SURFACE, PieceModel, byte_of, byte_piece
from lmkit_tokenizers.piece_trainer import train
from lmkit_tokenizers.symbols import spelled
from lmkit_tokenizers.text import encoded

if TYPE_CHECKING:
    from torch import Tensor

LONGEST_PART = 1 << 16
"""Characters to segment at once; longer lines are cut before a space, which no piece crosses."""

LARGEST_MODEL = 1 << 30
"""Bytes."""

log = logging.getLogger(__name__)


class SentencePieceTokenizer(Tokenizer):
    """Ids: those of the model. In one that lmkit trains, 0 is `</s>`, 1 the unknown, the rest pieces.

    With the default options, ids restore every line, even a literal U+2581: sentencepiece would decode it as a
    space, so it is spelled in its three bytes here. `lossless` and `exact` are False because other options lose
    text.

    No space is added before a line, so its first word begins with a piece that may be inside a word elsewhere: the
    first token of a line always begins a word, whatever its `word_starts`. The bytes of one character all have that
    character's span.

    A model from elsewhere keeps its ids, its normalization, a space that it adds before each line, and its symbols.
    A model without `</s>` gets one more id, the last. No text has the ids of control symbols such as `<s>`.
    """

    unit: ClassVar[str] = "piece"

    def __init__(self, data: bytes, model: PieceModel) -> None:
        self._data = data
        self._model = model
        self._processor = SentencePieceProcessor(model_proto=data + UNKNOWN_SURFACE)
        # Unless other text is restored, a special case for U+2581 has no benefit.
        mark = [byte_piece(byte) for byte in SPACE.encode()] if model.restores else []
        self._mark = np.array([model.pieces.index(piece) for piece in mark], np.int32)
        size, eos = len(model.pieces), self._processor.eos_id()
        if eos < 0:
            size, eos = size + 1, size
        print_ = files.fingerprint("sentencepiece", model.parts)
        self.vocabulary = Vocabulary(size, eos, self._processor.unk_id(), print_)

    @classmethod
    def fit(cls, lines: Iterable[str], options: SentencePieceOptions) -> Self:
        if options.file is not None:
            return cls.from_file(Path(options.file), options)
        data = train(lines, options)
        model = piece_model.parse(data)
        if len(model.pieces) < options.vocab_size:
            log.log(
                NOTE,
                "vocab_size %d is more than the text allows: reduced to %d",
                options.vocab_size,
                len(model.pieces),
            )
        return cls(data, model)

    def ids(self, line: str) -> np.ndarray:
        encoded(line)  # DataError if it is not text
        return _joined([self._part_ids(text) for _, text in self._parts(line)])

    def block_ids(self, raw: bytes) -> tuple[np.ndarray, np.ndarray]:
        lines = raw.decode().split("\n")
        # sentencepiece reads many lines faster at once; most lines are one part.
        is_whole = [self._is_one_part(line) for line in lines]
        whole = list(compress(lines, is_whole))
        found = iter(self._processor.encode(whole, return_type="numpy", num_threads=1) if whole else [])
        rows = [next(found) if one else self.ids(line) for line, one in zip(lines, is_whole, strict=True)]
        ends = np.cumsum([len(row) + 1 for row in rows], dtype=np.int64)
        ids = np.full(ends[-1], self.vocabulary.eos_id, np.int32)
        inside = np.ones(len(ids), np.bool_)
        inside[ends - 1] = False
        ids[inside] = np.concatenate(rows)
        return ids, ends

    def encode(self, line: str) -> Encoding:
        encoded(line)
        ids, spans = [], []
        for start, text in self._parts(line):
            if self._is_mark(text):
                ids.append(self._mark)
                spans.append(np.full((len(self._mark), 2), [start, start + 1], np.int64))
            else:
                found = self._processor.encode(text, return_type="offset_mapping")
                ids.append(np.array(found["ids"], np.int32))
                spans.append(_shared(np.array(found["offsets"], np.int64).reshape(-1, 2)) + start)
        return Encoding(_joined(ids), np.concatenate([np.zeros((0, 2), np.int64), *spans]))

    def decode(self, ids: Sequence[int]) -> str:
        """Bytes that are not UTF-8 become U+FFFD."""
        eos = self.vocabulary.eos_id
        return self._processor.decode([int(i) for i in ids if i != eos])

    def residual_bits(self, line: str, ids: np.ndarray) -> float:
        """Zero: ids that restore a line need no more bits, and there is no code for the other lines."""
        return 0.0

    def symbols(self) -> list[bytes]:
        """The pieces, which write a space as U+2581; other white space in them as in `symbols.spelled`."""
        special = {self.vocabulary.eos_id: b"</s>", self.vocabulary.unk_id: b"<unk>"}
        pieces = self._model.pieces
        others = iter(spelled(piece.encode() for i, piece in enumerate(pieces) if i not in special))
        return [special.get(i) or next(others) for i in range(self.vocabulary.size)]

    @classmethod
    def from_symbols(cls, symbols: Sequence[bytes], options: SentencePieceOptions) -> Self:
        raise UsageError(
            "pieces do not determine how text is segmented: also give the tokenizer's model, --tokenizer "
            "sentencepiece:FILE (in a run: its tokenizer/sentencepiece.model), or --tokenizer word"
        )

    @classmethod
    def from_file(cls, file: Path, options: SentencePieceOptions) -> Self:
        """The tokenizer of a trained sentencepiece model of any type."""
        data = files.read_given(file, LARGEST_MODEL)
        try:
            return cls(data, piece_model.parse(data))
        except (ValueError, RuntimeError) as error:
            raise ModelError(
                f"{file}: lmkit cannot use this sentencepiece model: {error}; train one with lmkit, or give "
                "--tokenizer word and text segmented into its pieces"
            ) from error

    def word_starts(self) -> Tensor:
        """(size,) bool: the pieces whose text begins with white space.

        Pieces of only white space are included, since a word ends before them.
        """
        pairs = zip(self._model.pieces, self._model.kinds, strict=True)
        starts = [_first_character(piece, kind) in WHITE_SPACE for piece, kind in pairs]
        starts += [False] * (self.vocabulary.size - len(starts))  # `</s>`
        import torch

        return torch.tensor(starts)

    def save(self, directory: Path) -> None:
        (directory / "sentencepiece.model").write_bytes(self._data)
        digest = hashlib.sha256(self._data).hexdigest()
        files.write_header(directory, "sentencepiece", self.vocabulary, model_sha256=digest)

    @classmethod
    def load(cls, directory: Path, options: SentencePieceOptions) -> Self:
        """Load the model; the C++ library gets only a file with the right checksum and valid fields."""
        header = files.read_header(directory, "sentencepiece")
        path = directory / "sentencepiece.model"
        data = files.read_bytes(path, LARGEST_MODEL)
        try:
            model = piece_model.parse(data)
            if hashlib.sha256(data).hexdigest() != header.get("model_sha256"):
                raise ValueError("it is not the file that its header describes")
            tokenizer = cls(data, model)
        except (ValueError, RuntimeError) as error:
            raise files.damaged(path, str(error)) from error
        files.check_header(directory, header, tokenizer.vocabulary)
        return tokenizer

    def _part_ids(self, text: str) -> np.ndarray:
        return self._mark if self._is_mark(text) else self._processor.encode(text, return_type="numpy")

    def _is_mark(self, text: str) -> bool:
        return self._model.restores and text == SPACE

    def _is_one_part(self, line: str) -> bool:
        return not self._model.restores or (len(line) <= LONGEST_PART and SPACE not in line)

    def _parts(self, line: str) -> Iterator[tuple[int, str]]:
        """The start of each part of the line, and its text: a literal U+2581 or text to segment at once."""
        if self._is_one_part(line):
            yield 0, line
            return
        start = 0
        while start < len(line):
            end = _part_end(line, start)
            yield start, line[start:end]
            start = end


def _part_end(line: str, start: int) -> int:
    if line[start] == SPACE:
        return start + 1
    limit = min(start + LONGEST_PART, len(line))
    mark = line.find(SPACE, start, limit)
    if mark >= 0:
        return mark
    space = line.rfind(" ", start + 1, limit) if limit < len(line) else -1
    return space if space >= 0 else limit


def _shared(offsets: np.ndarray) -> np.ndarray:
    """(tokens, 2) offsets: the bytes of a character share its span, which sentencepiece gives only to the last."""
    wide = np.flatnonzero(offsets[:, 1] > offsets[:, 0])
    if len(wide) < len(offsets):
        following = np.searchsorted(wide, np.arange(len(offsets)))
        has = following < len(wide)
        offsets[has] = offsets[wide[following[has]]]
    return offsets


def _joined(ids: list[np.ndarray]) -> np.ndarray:
    """One writable array; sentencepiece's own are views of read-only buffers."""
    return np.concatenate([np.zeros(0, np.int32), *ids])


def _first_character(piece: str, kind: int) -> str:
    if kind == BYTE:
        return chr(byte_of(piece))
    return " " if piece[0] == SPACE else piece[0]
