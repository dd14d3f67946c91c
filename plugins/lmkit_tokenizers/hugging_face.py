"""Tokenizers of Hugging Face's library `tokenizers`: any tokenizer.json, or byte-level BPE learned from the text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lmkit.contracts import Encoding, Tokenizer, Vocabulary
from lmkit.corpus.words import WHITE_SPACE
from lmkit.errors import DataError, ModelError, UsageError, one_line
from lmkit.extras import needs
from lmkit_tokenizers import hugging_face_file
from lmkit_tokenizers import tokenizer_files as files
from lmkit_tokenizers.hugging_face_file import TokenizerFile
from lmkit_tokenizers.options import HuggingFaceOptions
from lmkit_tokenizers.symbols import spelled
from lmkit_tokenizers.text import encoded

if TYPE_CHECKING:
    from torch import Tensor

EXTRA = "tokenizers"
"""The extra that installs the library."""
NAME = "tokenizer.json"
"""The file in a folder of a model."""
KEPT = "huggingface.json"
"""The copy in a run, where tokenizer.json is the header of lmkit."""
END = "</s>"
LARGEST_FILE = 1 << 28
"""Bytes; the files of the largest vocabularies have 40 MB."""


class HuggingFaceTokenizer(Tokenizer):
    """Ids: those of the file. In one that lmkit trains, 0 is `</s>`, 1 to 256 are bytes, the rest pieces.

    Byte-level BPE restores every line. `lossless` and `exact` are False because other files lose text: one that
    changes letters, leaves some out or has an unknown token does not restore such lines, so they are escaped.

    No text has the ids of special tokens: `<s>` in a text is spelled in pieces like any other text, or is unknown in
    a vocabulary without pieces for it. The file's own frame of special tokens, padding, truncation and dropout are
    not used. A span includes the space that a piece begins with, and characters after the piece that normalization
    merges with it or drops, such as combining marks, up to the next piece or white space.
    """

    unit: ClassVar[str] = "piece"

    def __init__(self, data: bytes, file: TokenizerFile) -> None:
        self._data = data
        self._file = file
        self._library: Any = needs("tokenizers", EXTRA).Tokenizer.from_str(file.table)
        self._library.encode_special_tokens = True
        size = max(len(file.tokens), file.eos_id + 1)
        self._barred = np.zeros(size, bool)
        self._barred[list(file.special)] = True
        print_ = files.fingerprint("hf", [file.table.encode(), b"%d" % file.eos_id])
        self.vocabulary = Vocabulary(size, file.eos_id, file.unk_id, print_)

    @classmethod
    def fit(cls, lines: Iterable[str], options: HuggingFaceOptions) -> Self:
        """Read the file, or learn byte-level BPE (Sennrich et al., 2016; Radford et al., 2019) from the text."""
        if options.file is not None:
            return cls.from_file(Path(options.file), options)
        if options.end_token is not None:
            raise UsageError(
                "end_token names a token of a tokenizer's file: also give --tokenizer hf:FILE, or leave it out"
            )
        library = needs("tokenizers", EXTRA)
        tokenizer = library.Tokenizer(library.models.BPE())
        tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=options.vocab_size,
            min_frequency=options.min_count,
            special_tokens=[END],
            initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(map(_checked, lines), trainer)
        data = tokenizer.to_str().encode()
        return cls(data, hugging_face_file.parse(data, END))

    @classmethod
    def from_file(cls, file: Path, options: HuggingFaceOptions) -> Self:
        """The tokenizer of a tokenizer.json, or of a folder with one."""
        file = file / NAME if file.is_dir() else file
        data = files.read_given(file, LARGEST_FILE)
        try:
            return cls._read(data, options.end_token)
        except ValueError as error:
            raise ModelError(
                f"{file}: lmkit cannot use this tokenizer: {error}; give another file"
            ) from error

    @classmethod
    def _read(cls, data: bytes, end_token: str | None) -> Self:
        """ValueError, with the reason, if lmkit or the library cannot use the file."""
        file = hugging_face_file.parse(data, end_token)
        needs("tokenizers", EXTRA)
        try:
            return cls(data, file)
        except Exception as error:  # the library's errors have no class
            raise ValueError(one_line(error)) from error

    def ids(self, line: str) -> np.ndarray:
        (found,) = self._library.encode_batch_fast([_checked(line)], add_special_tokens=False)
        return self._ordinary(found.ids, [line])

    def block_ids(self, raw: bytes) -> tuple[np.ndarray, np.ndarray]:
        lines = raw.decode().split("\n")
        found = [row.ids for row in self._library.encode_batch_fast(lines, add_special_tokens=False)]
        ends = np.cumsum([len(row) + 1 for row in found], dtype=np.int64)
        ids = np.full(int(ends[-1]), self.vocabulary.eos_id, np.int32)
        inside = np.ones(len(ids), bool)
        inside[ends - 1] = False
        ids[inside] = self._ordinary([i for row in found for i in row], lines)
        return ids, ends

    def encode(self, line: str) -> Encoding:
        found = self._library.encode(_checked(line), add_special_tokens=False)
        offsets = np.array(found.offsets, np.int64).reshape(-1, 2)
        return Encoding(self._ordinary(found.ids, [line]), _covering(line, offsets))

    def _ordinary(self, found: list[int], lines: list[str]) -> np.ndarray:
        """The ids of text; those of special tokens, which some vocabularies give to their names, become unknown."""
        ids = np.array(found, np.int32)
        barred = self._barred[ids]
        if barred.any():
            if self.vocabulary.unk_id is None:
                token = self._file.tokens[int(ids[barred][0])] or ""
                line = next((line for line in lines if token in line), lines[0])
                raise DataError(
                    f"the tokenizer can only read {token!r} in the line {line[:60]!r} as its special token; remove it "
                    "from the text, or use another tokenizer"
                )
            ids[barred] = self.vocabulary.unk_id
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Bytes that are not UTF-8 become U+FFFD; special tokens have no text."""
        return self._text([self._spelling(int(i)) for i in ids if not self._barred[i]])

    def _spelling(self, i: int) -> str:
        return "\ufffd" if i == self.vocabulary.unk_id else self._file.tokens[i] or ""

    def _text(self, tokens: list[str]) -> str:
        decoder = self._library.decoder
        return " ".join(tokens) if decoder is None else decoder.decode(tokens)

    def residual_bits(self, line: str, ids: np.ndarray) -> float:
        """Zero: ids that restore a line need no more bits, and there is no code for the other lines."""
        return 0.0

    def symbols(self) -> list[bytes]:
        """The tokens as in the file (GPT-2's: `Ġthe`); white space in them as in `symbols.spelled`."""
        known = set(self._file.tokens)
        tokens = list(self._file.tokens) + [None] * (self.vocabulary.size - len(self._file.tokens))
        for i, token in enumerate(tokens):
            if not token:  # an id without a token, or one without letters
                token = f"<id{i}>"
                while token in known:
                    token += "_"
                tokens[i] = token
        symbols = spelled(token.encode() for token in tokens if token)
        symbols[self.vocabulary.eos_id] = b"</s>"
        if self.vocabulary.unk_id is not None:
            symbols[self.vocabulary.unk_id] = b"<unk>"
        return symbols

    @classmethod
    def from_symbols(cls, symbols: Sequence[bytes], options: HuggingFaceOptions) -> Self:
        raise UsageError(
            "tokens do not determine how text is segmented: also give the tokenizer's file, --tokenizer hf:FILE (in a "
            f"run: its tokenizer/{KEPT}), or --tokenizer word"
        )

    @cached_property
    def _starts(self) -> np.ndarray:
        """(size,) whether white space precedes a token's text after another token."""
        starts = np.zeros(self.vocabulary.size, bool)
        for i in np.flatnonzero(~self._barred).tolist():
            starts[i] = self._text(["a", self._spelling(i)])[1:2] in tuple(WHITE_SPACE)
        return starts

    def word_starts(self) -> Tensor:
        """(size,) bool: the tokens whose text begins with white space, or is separated by it when decoded."""
        import torch

        return torch.from_numpy(self._starts)

    def save(self, directory: Path) -> None:
        (directory / KEPT).write_bytes(self._data)
        digest = hashlib.sha256(self._data).hexdigest()
        end = (
            self._file.tokens[self.vocabulary.eos_id]
            if self.vocabulary.eos_id < len(self._file.tokens)
            else None
        )
        files.write_header(directory, "hf", self.vocabulary, file_sha256=digest, end_token=end)

    @classmethod
    def load(cls, directory: Path, options: HuggingFaceOptions) -> Self:
        """Load the copy of the file; the library gets only one with the right checksum."""
        header = files.read_header(directory, "hf")
        path = directory / KEPT
        data = files.read_bytes(path, LARGEST_FILE)
        end = header.get("end_token")
        try:
            if hashlib.sha256(data).hexdigest() != header.get("file_sha256"):
                raise ValueError("it is not the file that its header describes")
            if not isinstance(end, str | None):
                raise ValueError("the end_token of its header is not a string")
            tokenizer = cls._read(data, end)
        except ValueError as error:
            raise files.damaged(path, str(error)) from error
        files.check_header(directory, header, tokenizer.vocabulary)
        return tokenizer


def _checked(line: str) -> str:
    encoded(line)  # DataError if it is not text
    return line


def _covering(line: str, spans: np.ndarray) -> np.ndarray:
    """(tokens, 2) spans in ascending order, extended over characters that normalization merges or drops.

    Such characters belong to the piece before them, or to the first; pieces of one character still share its span.
    """
    if not len(spans):
        return spans
    spans = np.maximum.accumulate(np.clip(spans, 0, len(line)))
    if spans[0, 0] and line[: spans[0, 0]].strip():
        spans[spans[:, 0] == spans[0, 0], 0] = 0
    following = np.append(spans[1:, 0], len(line))
    for place in np.flatnonzero(following > spans[:, 1]).tolist():
        start, end = spans[place].tolist()
        dropped = line[end : following[place]].split(None, 1)
        if dropped and not line[end].isspace():
            while place >= 0 and spans[place].tolist() == [start, end]:
                spans[place, 1] = end + len(dropped[0])
                place -= 1
    return spans
