"""Compute the log-probabilities of whole lines, many at once, without figures of tokens."""

from collections.abc import Iterable, Iterator

import numpy as np

from lmkit.contracts import LanguageModel, Tokenizer
from lmkit.corpus.decoding import decoded
from lmkit.corpus.lines import PIECE, BadLines, Line, LineBlock, LineReader, expanded
from lmkit.errors import DataError
from lmkit.scoring.measured_lines import NO_LINES, measured_lines
from lmkit.scoring.stream import takes_blocks

CHUNK = 1 << 22
"""Bytes of a text to process at once."""


def line_scores(
    model: LanguageModel,
    tokenizer: Tokenizer,
    text: bytes,
    *,
    batch_size: int = 32,
    independent: bool = False,
) -> np.ndarray:
    """(lines,) float64, the natural log-probability of each line of UTF-8 text, including `</s>`.

    independent: score each line by itself, whatever the model's reset policy.
    If a model scores separate lines faster than batches (`line_log_probs`), it gets large blocks of them; otherwise
    lines are scored as in `lmkit eval`. Raises DataError for bytes that are not UTF-8 text, or for no lines.
    """
    if not text:
        raise DataError(NO_LINES)
    if takes_blocks(model) and len(text) <= PIECE and b"\r" not in text:
        block = text.removesuffix(b"\n")
        if decoded(block) is not None:  # the fastest way for one line a call
            return sums_of_lines(model, *tokenizer.block_ids(block))
    reader = LineReader(lambda line, byte: f"line {line} of the text", BadLines("error"))
    blocks = reader.read_blocks(text[first : first + CHUNK] for first in range(0, len(text), CHUNK))
    if takes_blocks(model):
        scores = [sums_of_lines(model, ids, ends) for ids, ends in _lines(tokenizer, blocks)]
        return scores[0] if len(scores) == 1 else np.concatenate(scores)
    figures = measured_lines(
        model, tokenizer, expanded(blocks), batch_size=batch_size, independent=independent
    )
    sums: list[float] = []
    for line, _, table in figures:
        if line.inside:
            sums[-1] += table[:, 0].sum()
        else:
            sums.append(table[:, 0].sum())
    return np.array(sums, np.float64)


def _lines(
    tokenizer: Tokenizer, blocks: Iterable[Line | LineBlock]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ids of whole lines, each with `</s>`, and the end of each line in them."""
    pieces: list[np.ndarray] = []
    for block in blocks:
        if isinstance(block, LineBlock):
            yield tokenizer.block_ids(block.raw)
            continue
        pieces.append(tokenizer.ids(block.text))
        if not block.continues:
            ids = np.append(np.concatenate(pieces), np.int32(tokenizer.vocabulary.eos_id))
            yield ids, np.array([len(ids)])
            pieces = []


def sums_of_lines(model: LanguageModel, ids: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(lines,) float64, the log-probability of each line, for a model that `takes_blocks`.

    ids, ends: as from `Tokenizer.block_ids`.
    """
    scores = model.line_log_probs(ids)
    assert scores is not None
    if len(ends) == 1:  # the fastest way for one line a call
        return np.add.reduce(scores, keepdims=True)
    return np.add.reduceat(scores, np.concatenate([[0], ends[:-1]]))
