"""The sums over a text from which scores are computed, line by line or by blocks of lines."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from lmkit.contracts import LanguageModel
from lmkit.corpus.line_blocks import block_ids
from lmkit.corpus.lines import Line, LineBlock
from lmkit.corpus.words import count_words
from lmkit.corpus.writing_systems import ScriptCounter
from lmkit.scoring.line_code import BlockBits, LineBits, LineCoder
from lmkit.scoring.measured_lines import RawLine


@dataclass
class Tally:
    """Sums over a text, from which every figure is computed; sums of parts of a text can be added."""

    lines: int = 0
    tokens: int = 0
    oov_tokens: int = 0
    num_bytes: int = 0
    words: int = 0
    characters: int = 0
    nats: float = 0.0
    """-log p over all tokens."""
    oov_nats: float = 0.0
    """-log p of the unknown tokens only."""
    bits: float = 0.0
    """The length of the text's code."""
    residual_bits: float = 0.0
    """Bits that restore the raw text from the ids, including escape flags; in lines that are not escaped."""
    spelling_bits: float = 0.0
    """The part of it that spells unknown tokens."""
    escaped_bytes: int = 0
    escaped_lines: int = 0
    scripts: ScriptCounter = field(default_factory=ScriptCounter)

    def add(self, line: RawLine, unknown: np.ndarray, scores: np.ndarray, code: LineBits) -> None:
        """Add a line, or a piece, given which tokens are unknown, their log-probabilities with `</s>`, and its code."""
        self.lines += not line.continues
        self.tokens += len(scores) - line.continues
        self.num_bytes += line.num_bytes
        self.words += line.num_words
        self.characters += len(line.text)
        self.nats -= float(scores.sum())
        if unknown.any():
            self.oov_tokens += int(unknown.sum())
            self.oov_nats -= float(scores[:-1][unknown].sum())
        self.scripts.add(line.text)
        self.bits += float(code.tokens.sum())
        self.residual_bits += code.residual
        self.spelling_bits += code.spelling
        if code.escaped:
            self.escaped_bytes += line.num_bytes + 1
            self.escaped_lines += 1

    def add_block(self, raw: bytes, scores: np.ndarray, code: BlockBits) -> None:
        """Add lines joined by line feeds, given the log-probabilities of their tokens, and their code."""
        text, line_feeds = raw.decode(), len(code.residual) - 1
        self.lines += line_feeds + 1
        self.tokens += len(scores)
        self.num_bytes += len(raw) - line_feeds
        self.words += count_words(raw)
        self.characters += len(text) - line_feeds
        self.nats -= float(scores.sum())
        self.oov_tokens += len(code.unknown)
        self.oov_nats -= float(scores[code.unknown].sum())
        self.scripts.add(text)
        residual = float(code.residual.sum())
        self.bits += float(code.tokens.sum()) + residual
        self.residual_bits += residual
        self.spelling_bits += float(code.spelling.sum())


def add_blocks(
    tally: Tally, parts: Iterable[Line | LineBlock], model: LanguageModel, coder: LineCoder
) -> Iterator[Line]:
    """Add the blocks of a text to a tally, for a model that `takes_blocks`; return all other lines.

    These include all lines of a block in which a line cannot be restored.
    """
    for part in parts:
        if isinstance(part, Line):
            yield part
            continue
        ids, ends = block_ids(coder.tokenizer, part.raw)
        scores = model.line_log_probs(ids)
        code = None if scores is None else coder.code_block(part.raw, ids, ends, scores)
        if scores is None or code is None:
            yield from part.lines()
        else:
            tally.add_block(part.raw, scores, code)
