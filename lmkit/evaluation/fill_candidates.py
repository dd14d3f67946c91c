"""Score every candidate in the blank of a line, with models of one direction or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lmkit import states
from lmkit.contracts import LanguageModel, Tokenizer
from lmkit.scoring.directions import BACKWARD, from_the_end
from lmkit.scoring.stream import takes_blocks

TOKENS = 16384
"""Tokens scored in one call, including padding."""

TWO_SIDED = "two-sided"


@dataclass(frozen=True)
class Blank:
    """A line with a blank: the texts before and after its candidates."""

    before: str
    after: str


def candidate_scores(
    models: Mapping[str, LanguageModel],
    tokenizer: Tokenizer,
    blanks: Sequence[Blank],
    candidates: Sequence[str],
    *,
    own: bool = False,
    normalize: str = "none",
) -> dict[str, np.ndarray]:
    """(blanks, candidates) float64 scores, natural logarithms, by direction; each line is a separate text.

    models: by direction, as in a model's `directions`. The score of a causal model is the log-probability of the
    whole line, including the part right of the blank. The score of a bidirectional encoder is that of the
    candidate's own tokens in each direction; "two-sided" is the sum of both. own: score only these tokens with a
    causal model too.

    normalize: how to make candidates of different lengths comparable, one of `NORMALIZATIONS`. It changes only the
    log-probability of the candidate's own tokens, those that contain any of its characters:
    - "token", "char": divide by the number of these tokens or characters, and multiply by the mean number of all
      candidates in this blank, so that a candidate of mean length keeps its score;
    - "pmi": subtract the log-probability of the same tokens without context, so that the score is the line's
      evidence for the candidate (Holtzman et al., 2021, arXiv:2104.08315).
    The rest of a causal model's line, left and right of the blank, is the same for all and added unchanged.
    """
    found = {}
    lengths = np.array([[len(candidate) for candidate in candidates]], np.float64)
    for direction, model in models.items():
        whole = len(models) == 1 and not own
        rows = [_row(tokenizer, blank, candidates, whole, direction) for blank in blanks]
        own_scores, rest = np.zeros((2, len(blanks), len(candidates)))
        _fill(model, rows, own_scores, rest)
        if normalize == "token":
            tokens = [[max(1, end - first) for first, end in row.own] for row in rows]
            own_scores *= _weights(np.array(tokens, np.float64))
        elif normalize == "char":
            own_scores *= _weights(lengths)
        elif normalize == "pmi":
            own_scores = _less(own_scores, _alone(model, rows))
        found[direction] = rest + own_scores
    if len(found) > 1:
        found[TWO_SIDED] = sum(found.values(), np.zeros((len(blanks), len(candidates))))
    return found


def _weights(lengths: np.ndarray) -> np.ndarray:
    """(blanks, candidates) factors that make sums over these lengths comparable: the mean length over each."""
    return lengths.mean(1, keepdims=True) / np.maximum(lengths, 1)


def _less(scores: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """The difference; -inf if either score is -inf."""
    impossible = np.isneginf(scores) | np.isneginf(alone)
    return np.where(
        impossible, -np.inf, np.subtract(scores, alone, where=~impossible, out=np.zeros_like(scores))
    )


def _alone(model: LanguageModel, rows: Sequence[_Row]) -> np.ndarray:
    """(blanks, candidates) log-probabilities of candidates' own tokens without context."""
    import torch

    pieces = [ids[first:end] for row in rows for ids, (first, end) in zip(row.ids, row.own, strict=True)]
    known: dict[bytes, float] = {}
    for ids in pieces:
        if ids.tobytes() not in known:
            with torch.no_grad():
                state = model.initial_state(1, start=False)
                scores, _ = model.log_probs(torch.from_numpy(ids[None]).to(model.device), state)
            known[ids.tobytes()] = float(scores.double().sum())
    return np.array([known[ids.tobytes()] for ids in pieces]).reshape(len(rows), -1)


@dataclass(frozen=True)
class _Row:
    """The ids of a line with each candidate, as its direction reads them.

    own: the candidate's tokens [first, end) of each. whole: the others, including `</s>`, also count; otherwise the
    tokens after the candidate's are cut off. common: the number of tokens of the shared prefix.
    """

    ids: list[np.ndarray]
    own: list[tuple[int, int]]
    whole: bool
    common: int


def _row(tokenizer: Tokenizer, blank: Blank, candidates: Sequence[str], whole: bool, direction: str) -> _Row:
    ids, own = [], []
    eos = tokenizer.vocabulary.eos_id
    for candidate in candidates:
        encoding = tokenizer.encode(blank.before + candidate + blank.after)
        line = np.append(encoding.ids, eos).astype(np.int64)
        first, end = encoding.tokens_of(len(blank.before), len(blank.before) + len(candidate))
        if direction == BACKWARD:
            # The tokens of a line from its end, `</s>` last.
            line, (first, end) = from_the_end(line), (len(line) - 1 - end, len(line) - 1 - first)
        ids.append(line if whole else line[:end])
        own.append((first, end))
    shortest = min(len(line) for line in ids)
    same = np.array([line[:shortest] == ids[0][:shortest] for line in ids]).all(0)
    common = int(same.argmin()) if not same.all() else shortest
    # Each candidate's rest has at least one token, since the common part has one sum for all.
    return _Row(ids, own, whole, min(common, shortest - 1 if shortest else 0))


def _fill(model: LanguageModel, rows: Sequence[_Row], own: np.ndarray, others: np.ndarray) -> None:
    """Fill in the scores (blanks, candidates) of candidates' own tokens and of the others that count.

    Common prefixes are scored once, then each candidate's rest, unless the model scores many whole lines at once.
    """
    if takes_blocks(model):
        _fill_by_lines(model, rows, own, others)
        return
    lengths: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        lengths.setdefault(row.common, []).append(place)
    for common, places in lengths.items():
        longest = max(len(line) for place in places for line in rows[place].ids) - common
        size = max(1, TOKENS // (max(1, longest) * own.shape[1]))
        for start in range(0, len(places), size):
            batch = [rows[place] for place in places[start : start + size]]
            for place, lines in zip(places[start : start + size], _batch(model, batch, common), strict=True):
                own[place], others[place] = _sums(rows[place], lines)


def _fill_by_lines(model: LanguageModel, rows: Sequence[_Row], own: np.ndarray, others: np.ndarray) -> None:
    eos = [] if rows[0].whole else [np.array([model.vocabulary.eos_id])]
    for place, row in enumerate(rows):
        lines = [np.concatenate([line, *eos]) for line in row.ids]
        scores = model.line_log_probs(np.concatenate(lines))
        assert scores is not None
        ends = np.cumsum([len(line) for line in lines])
        own[place], others[place] = _sums(row, np.split(scores, ends[:-1]))


def _batch(model: LanguageModel, rows: Sequence[_Row], common: int) -> list[list[np.ndarray]]:
    """For rows with common prefixes of one length, the scores of the tokens with each candidate."""
    import torch

    fronts = np.array([row.ids[0][:common] for row in rows]).reshape(len(rows), common)
    number = len(rows[0].ids)
    rests = [line[common:] for row in rows for line in row.ids]
    ids = np.zeros((len(rests), max(map(len, rests))), np.int64)
    for padded, rest in zip(ids, rests, strict=True):
        padded[: len(rest)] = rest
    with torch.no_grad():
        start = model.initial_state(len(rows))
        front, state = model.log_probs(torch.from_numpy(fronts).to(model.device), start)
        each = torch.arange(len(rows), device=model.device).repeat_interleave(number)
        rest, _ = model.log_probs(torch.from_numpy(ids).to(model.device), states.take(state, each))
    fronts_found, rests_found = front.cpu().double().numpy(), rest.cpu().double().numpy()
    return [
        [
            np.concatenate(
                [fronts_found[place], rests_found[place * number + candidate, : len(line) - common]]
            )
            for candidate, line in enumerate(row.ids)
        ]
        for place, row in enumerate(rows)
    ]


def _sums(row: _Row, lines: Sequence[np.ndarray]) -> tuple[list[float], list[float]]:
    """For each candidate, the sum of the scores of its own tokens, and of the others that count."""
    pairs = list(zip(lines, row.own, strict=True))
    own = [float(line[first:end].sum()) for line, (first, end) in pairs]
    if not row.whole:
        return own, [0.0] * len(own)
    return own, [float(line[:first].sum() + line[end:].sum()) for line, (first, end) in pairs]
