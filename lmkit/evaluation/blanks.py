"""Lines with a blank: the score of every candidate in it, by models that see one side or both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lmkit import states
from lmkit.contracts import LanguageModel, Tokenizer
from lmkit.evaluation.directions import BACKWARD, from_the_end

TOKENS = 16384
"""Tokens scored in one call, padding included."""

TWO_SIDED = "two-sided"


@dataclass(frozen=True)
class Blank:
    """A line whose candidates stand between two texts."""

    before: str
    after: str


def candidate_scores(
    models: Mapping[str, LanguageModel],
    tokenizer: Tokenizer,
    blanks: Sequence[Blank],
    candidates: Sequence[str],
    *,
    own: bool = False,
) -> dict[str, np.ndarray]:
    """(blanks, candidates) float64 scores, natural logarithms, by direction; each line begins a text of its own.

    models: by direction, as `causal_models` gives them. Of a causal model it is the log-probability of the whole
    line, what stands right of the blank included. Of a bidirectional encoder it is that of the candidate's own
    tokens, given what its direction has read; "two-sided" is the sum of both. own: that of a causal model too.
    """
    found = {}
    for direction, model in models.items():
        whole = len(models) == 1 and not own
        rows = [_row(tokenizer, blank, candidates, whole, direction) for blank in blanks]
        found[direction] = np.zeros((len(blanks), len(candidates)))
        _fill(model, rows, found[direction])
    if len(found) > 1:
        found[TWO_SIDED] = sum(found.values(), np.zeros((len(blanks), len(candidates))))
    return found


@dataclass(frozen=True)
class _Row:
    """The ids of a line with each candidate, as its direction reads them.

    wanted: of each, the tokens [first, end) whose log-probabilities count; what comes later is cut off.
    common: the tokens at the front that all have, and that do not count apart.
    """

    ids: list[np.ndarray]
    wanted: list[tuple[int, int]]
    common: int


def _row(tokenizer: Tokenizer, blank: Blank, candidates: Sequence[str], whole: bool, direction: str) -> _Row:
    ids, wanted = [], []
    eos = tokenizer.vocabulary.eos_id
    for candidate in candidates:
        encoding = tokenizer.encode(blank.before + candidate + blank.after)
        line = np.append(encoding.ids, eos).astype(np.int64)
        first, end = 0, len(line)
        if not whole:
            first, end = tokens_of(encoding.spans, len(blank.before), len(blank.before) + len(candidate))
        if direction == BACKWARD:
            # The tokens of a line from its end, `</s>` last.
            line, (first, end) = from_the_end(line), (len(line) - 1 - end, len(line) - 1 - first)
        ids.append(line[:end])
        wanted.append((first, end))
    shortest = min(len(line) for line in ids)
    same = np.array([line[:shortest] == ids[0][:shortest] for line in ids]).all(0)
    common = int(same.argmin()) if not same.all() else shortest
    # What is scored apart has at least a token, since the common part gives one sum to all.
    return _Row(ids, wanted, min(common, shortest - 1 if shortest else 0))


def tokens_of(spans: np.ndarray, start: int, end: int) -> tuple[int, int]:
    """The tokens [first, last) that have any of the characters [start, end); spans: (tokens, 2)."""
    inside = np.flatnonzero((spans[:, 0] < end) & (spans[:, 1] > start))
    return (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)


@torch.no_grad()
def _fill(model: LanguageModel, rows: Sequence[_Row], scores: np.ndarray) -> None:
    """Fill in scores (blanks, candidates): common fronts once, then each candidate's rest."""
    lengths: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        lengths.setdefault(row.common, []).append(place)
    for common, places in lengths.items():
        longest = max(len(line) for place in places for line in rows[place].ids) - common
        size = max(1, TOKENS // (max(1, longest) * scores.shape[1]))
        for start in range(0, len(places), size):
            batch = places[start : start + size]
            scores[batch] = _batch(model, [rows[place] for place in batch], common)


def _batch(model: LanguageModel, rows: Sequence[_Row], common: int) -> np.ndarray:
    """(rows, candidates) scores of rows with common fronts of one length."""
    fronts = np.array([row.ids[0][:common] for row in rows]).reshape(len(rows), common)
    front, state = model.log_probs(torch.from_numpy(fronts).to(model.device), model.initial_state(len(rows)))
    number = len(rows[0].ids)
    rests = [line[common:] for row in rows for line in row.ids]
    ids = np.zeros((len(rests), max(map(len, rests))), np.int64)
    for padded, rest in zip(ids, rests, strict=True):
        padded[: len(rest)] = rest
    each = torch.arange(len(rows), device=model.device).repeat_interleave(number)
    rest, _ = model.log_probs(torch.from_numpy(ids).to(model.device), states.take(state, each))
    fronts_found, rests_found = front.cpu().double().numpy(), rest.cpu().double().numpy()
    scores = np.zeros((len(rows), number))
    for place, row in enumerate(rows):
        for candidate, (first, end) in enumerate(row.wanted):
            own = rests_found[place * number + candidate]
            scores[place, candidate] = (
                fronts_found[place, first:common].sum()
                + own[max(0, first - common) : max(0, end - common)].sum()
            )
    return scores
