"""The code of a raw line under a model: the bits of bits per byte, token by token."""

import logging
import math
from dataclasses import dataclass

import numpy as np

from lmkit.blame import described, remedy_for
from lmkit.contracts import Tokenizer
from lmkit.errors import PluginError
from lmkit.scoring.claims import claim_of
from lmkit.scoring.measured_lines import RawLine

ESCAPE_FLAG_BITS = -math.log2(1 - 2**-16)
"""Bits for the flag that a line is not escaped, under a tokenizer that may have to escape lines."""
ESCAPE_BITS = 16
"""Bits for the flag that a line is escaped, before 8 bits for each of its bytes and its end."""

PIECE_BITS = 32
"""Bits for the number of tokens of a piece of a very long line, except the last."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LineBits:
    """The code of a line: the model's part, token by token, and the residual that restores the raw line from the ids.

    tokens: (tokens + 1,) bits of each token and of `</s>`; their sum is the total cost of the line.
    residual, spelling: the bits that restore the line from its ids, and those of them for unknown tokens.
    """

    tokens: np.ndarray
    residual: float = 0.0
    spelling: float = 0.0
    escaped: bool = False


@dataclass(frozen=True)
class BlockBits:
    """The code of many lines, none of which is escaped.

    tokens: (tokens,) bits of each token without its spelling, and of `</s>` without the residual. unknown: the places
    of unknown tokens. residual, spelling: (lines,) as in LineBits.
    """

    tokens: np.ndarray
    unknown: np.ndarray
    residual: np.ndarray
    spelling: np.ndarray


class LineCoder:
    """The code of lines under one tokenizer (docs/scores.md).

    A token costs -log2((1 - novelty) p), an unknown one -log2(novelty + (1 - novelty) p) plus its spelling. The cost
    of `</s>` includes white space and the like. A line that cannot be restored is escaped: its bytes are coded.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._claim = claim_of(tokenizer) if tokenizer.exact else None
        self._novelty = tokenizer.novelty or 0.0
        if not 0 <= self._novelty < 1:
            raise PluginError(
                f"{described(tokenizer)} has the novelty {self._novelty}, which is not from 0 to 1; "
                f"{remedy_for(tokenizer)}"
            )

    def code(
        self, line: RawLine, ids: np.ndarray, scores: np.ndarray, spans: np.ndarray | None = None
    ) -> LineBits:
        """The code of a line: its ids without `</s>`, and the log-probabilities of its tokens with `</s>`.

        spans: (tokens, 2) characters of each token, to distribute the bytes of an escaped line; without
        them, `</s>` gets all of them.
        """
        residual = self._residual(line, ids)
        if residual is None:
            return LineBits(_escape(line, len(scores), spans), escaped=True)
        unknown = np.flatnonzero(ids == self.tokenizer.vocabulary.unk_id)
        bits = self.model_bits(scores, unknown)
        if line.continues:
            bits[-1] = 0.0  # its `</s>` is not coded
        spelling = 0.0
        if len(unknown):
            each = self.tokenizer.spelling_bits(line.text, ids)
            spelling = float(each.sum())
            bits[unknown] += each
        bits[-1] += residual - spelling
        return LineBits(bits, residual, spelling)

    def code_block(
        self, raw: bytes, ids: np.ndarray, ends: np.ndarray, scores: np.ndarray
    ) -> BlockBits | None:
        """The code of lines joined by line feeds; None if some line has to be coded by itself.

        ids, ends: of `Tokenizer.block_ids`. scores: the log-probabilities of these ids.
        """
        if not self._block_believed(raw, ids, ends):
            return None
        residual, spelling = self.tokenizer.block_residual(raw, ids, ends).T
        if not ((residual >= 0) & (residual < math.inf)).all():
            return None
        unknown = np.flatnonzero(ids == self.tokenizer.vocabulary.unk_id)
        return BlockBits(self.model_bits(scores, unknown), unknown, residual, spelling)

    def constant_bits(self, line: RawLine, ids: np.ndarray) -> tuple[float, bool]:
        """The bits of a line that depend on no model, and whether it is escaped, so that it has no others."""
        residual = self._residual(line, ids)
        return (_escape_bits(line), True) if residual is None else (residual, False)

    def model_bits(self, scores: np.ndarray, unknown: np.ndarray) -> np.ndarray:
        """(tokens,) bits of the tokens of a line that is not escaped, given the places of unknown ones."""
        bits = scores / -math.log(2)
        if self._novelty:
            bits -= math.log2(1 - self._novelty)
            if len(unknown):
                bits[unknown] = -np.log2(self._novelty + np.exp2(-bits[unknown]))
        return bits

    def _residual(self, line: RawLine, ids: np.ndarray) -> float | None:
        """The bits that restore a line from its ids; None if it has to be escaped."""
        bits = self.tokenizer.residual_bits(line.text, ids) + PIECE_BITS * line.continues
        if self._believed(line.text, ids):
            return bits if 0 <= bits < math.inf else None
        if not 0 <= bits < math.inf or self.tokenizer.decode(ids.tolist()) != line.text:
            return None
        return bits + ESCAPE_FLAG_BITS

    def _block_believed(self, raw: bytes, ids: np.ndarray, ends: np.ndarray) -> bool:
        """The same of all lines of a block."""
        if self._claim is not None and self._claim.tested:
            return self._claim.violation is None
        lines = zip(raw.decode().split("\n"), np.split(ids, ends[:-1]), strict=True)
        return all(self._believed(line, row[:-1]) for line, row in lines)

    def _believed(self, line: str, ids: np.ndarray) -> bool:
        """Whether the line is known to be restored without calling `decode`."""
        if self._claim is None:
            return False
        if self._claim.violation is None:
            self._claim.test(self.tokenizer, line, ids)
            if self._claim.violation is not None:
                log.warning(
                    "%s claims to restore every line, but %s: lines that its ids do not restore are escaped; use "
                    "another tokenizer, or %s (see lmkit.residual)",
                    described(self.tokenizer),
                    self._claim.violation,
                    remedy_for(self.tokenizer),
                )
        return self._claim.violation is None


def _escape(line: RawLine, num_tokens: int, spans: np.ndarray | None) -> np.ndarray:
    """(tokens,) bits: each character's bytes are charged to the last token that begins at or before it."""
    bits = np.zeros(num_tokens)
    if spans is not None and len(spans):
        codes = np.frombuffer(line.text.encode("utf-32-le"), "<u4")
        sizes = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)
        starts, owners = np.unique(spans[:, 0], return_index=True)
        places = np.maximum(np.searchsorted(starts, np.arange(len(codes)), side="right") - 1, 0)
        np.add.at(bits, owners[places], 8.0 * sizes)
    bits[-1] += _escape_bits(line) - bits.sum()
    return bits


def _escape_bits(line: RawLine) -> float:
    return ESCAPE_BITS + 8.0 * (line.num_bytes + 1)
