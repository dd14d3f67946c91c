"""Score the continuations of contexts: the tokens of the whole text that hold any character of a continuation."""

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from lmkit.contracts import LanguageModel, Progress, Tokenizer
from lmkit.errors import ModelError
from lmkit.generation.text import LINE_END
from lmkit.scoring.stream import LOG_PROB, Measure, Sentence, measure_lines
from lmkit.scoring.unknown import warn_of_unknown
from lmkit.scoring.whole_rows import WholeRows

ROUNDING = 1e-3
"""By how much a log-probability may miss the bound on that of the most probable token, in nats."""


@dataclass(frozen=True)
class Row:
    """Tokens that the model reads from its initial state.

    ids: (tokens,), with `</s>` at the end. scored: (tokens,), whether each belongs to the continuation.
    """

    ids: np.ndarray
    scored: np.ndarray

    @property
    def key(self) -> tuple[bytes, bytes]:
        """Equal for equal rows."""
        return self.ids.tobytes(), self.scored.tobytes()


def rows_of(tokenizer: Tokenizer, context: str, continuation: str, *, by_line: bool) -> list[Row]:
    """The rows to score for a continuation; none if it has no tokens.

    The whole text is tokenized, since tokens may change where two texts are joined. A token that holds characters of
    both is scored, so white space at the end of the context changes nothing for a tokenizer of words. `</s>` is
    scored where the continuation has a line end, and not at the end of the text.
    by_line: the model is reset at each line, so each line is a row, and those of the context are not needed.
    """
    lines = (context + continuation).split(LINE_END)
    rows, start = [], 0
    for number, line in enumerate(lines, 1):
        encoding = tokenizer.encode(line)
        ends = start + np.append(encoding.spans[:, 1], len(line) + 1)
        scored = ends > len(context)
        scored[-1] &= number < len(lines)
        rows.append(Row(np.append(encoding.ids, tokenizer.vocabulary.eos_id).astype(np.int64), scored))
        start += len(line) + 1
    if not by_line:
        rows = [Row(np.concatenate([row.ids for row in rows]), np.concatenate([row.scored for row in rows]))]
    return [row for row in rows if row.scored.any()]


def score_continuations(
    model: LanguageModel,
    tokenizer: Tokenizer,
    pairs: Iterable[tuple[str, str]],
    *,
    batch_size: int,
    progress: Progress,
) -> list[tuple[float, bool]]:
    """For each pair (context, continuation), the natural log-probability of the continuation after the context, and
    whether its tokens are the most probable ones at their places, or as probable as these.

    Equal tokens have equal scores, whatever the batch. Raises ModelError if a score is not a number, which the
    harness would count as the best.
    """
    by_line = model.reset_policy == "line"
    requests = [rows_of(tokenizer, *pair, by_line=by_line) for pair in pairs]
    rows = {row.key: row for request in requests for row in request}
    _warn_of_unknown(tokenizer, rows.values())
    measured = _measured(model, rows.values(), LOG_PROB, batch_size)
    scores = dict(zip(rows, progress(measured, total=len(rows), label="scoring continuations"), strict=True))
    if any(np.isnan(found).any() for found in scores.values()):
        raise ModelError(
            "the model gives a continuation a score that is not a number, which the harness would count as right: "
            "train it again with a lower learning rate"
        )
    # The most probable of all tokens is at least as probable as each would be if all were equal.
    least = -math.log(tokenizer.vocabulary.size) - ROUNDING if model.normalized else -math.inf
    candidates = [request for request in requests if all(scores[row.key].min() >= least for row in request)]
    doubtful = {row.key: row for request in candidates for row in request}
    measured = _measured(
        model, doubtful.values(), WholeRows(None, tokenizer.vocabulary.eos_id, rank=True), batch_size
    )
    ranks = zip(doubtful, progress(measured, total=len(doubtful), label="ranking tokens"), strict=True)
    greedy = {key for key, found in ranks if (found == 1).all()}
    # `fsum` is exact, so that the same scores in another order tie.
    return [
        (
            math.fsum(score for row in request for score in scores[row.key]),
            all(row.key in greedy for row in request),
        )
        for request in requests
    ]


def _measured(
    model: LanguageModel, rows: Collection[Row], measure: Measure, batch_size: int
) -> Iterator[np.ndarray]:
    """The figure of each scored token of each row."""
    sentences = (Sentence(row.ids, starts_document=True) for row in rows)
    tables = measure_lines(model, sentences, measure, batch_size=batch_size, independent=True)
    return (table[row.scored, 0] for row, table in zip(rows, tables, strict=True))


def _warn_of_unknown(tokenizer: Tokenizer, rows: Iterable[Row]) -> None:
    """Warn of continuations with words that the vocabulary lacks."""
    ids = np.concatenate([row.ids[row.scored] for row in rows] or [np.empty(0, np.int64)])
    unknown = int((ids == tokenizer.vocabulary.unk_id).sum())
    lines = int((ids == tokenizer.vocabulary.eos_id).sum())
    warn_of_unknown(
        unknown,
        len(ids),
        lines,
        effect="each has the probability of the unknown token, whatever its spelling",
    )
