"""Find the words of a line that support the answer in its blank, by the cost of leaving each out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lmkit.contracts import LanguageModel, Tokenizer
from lmkit.evaluation.fill import Filled, log_shares, total
from lmkit.evaluation.fill_candidates import Blank, candidate_scores
from lmkit.scoring import segmentation

Cut = Callable[[str], list[tuple[int, int]]]
"""Gives the characters [start, end) of the parts of a text."""


@dataclass(frozen=True)
class Part:
    """A word or clause of the line, and the cost for the answer of leaving it out, in nats; negative if that helps.

    start: its first character, on its side of the blank. space: the white space after it. cost: the log-probability
    of the answer's tokens in context (two-sided: the sum of both directions), minus the same without the part.
    share_cost: the same difference for the log of the answer's share among the candidates, which also depends on
    the words that a causal model reads after the blank.
    """

    text: str
    start: int
    space: str
    cost: float
    share_cost: float


@dataclass(frozen=True)
class Why:
    """The costs for the answer, a candidate: of the line's words, and of its clauses.

    None marks the blank, which `space` follows. normalize: how candidates were compared.
    """

    answer: str
    space: str
    words: list[Part | None]
    clauses: list[Part | None]
    normalize: str = "none"


def why(models: Mapping[str, LanguageModel], tokenizer: Tokenizer, filled: Filled) -> Why:
    """The effect of each word and each clause of the line on the best candidate."""
    blank, answer = filled.blank, filled.candidates[0]
    cuts: list[Cut] = [lambda text: segmentation.units(tokenizer, text), segmentation.clauses]
    sides = [side for cut in cuts for side in _pieces(blank, cut)]
    blanks = [blank, *(piece.rest for side in sides for piece in side)]
    own = total(candidate_scores(models, tokenizer, blanks, [answer], own=True))[:, 0]
    shares = log_shares(
        total(candidate_scores(models, tokenizer, blanks, filled.candidates, normalize=filled.normalize))
    )[:, 0]
    costs = zip(_lost(own), _lost(shares), strict=True)
    left_words, right_words, left_clauses, right_clauses = (
        [Part(piece.text, piece.start, piece.space, *next(costs)) for piece in side] for side in sides
    )
    return Why(
        filled.candidates[0],
        _space(blank.after, 0),
        [*left_words, None, *right_words],
        [*left_clauses, None, *right_clauses],
        filled.normalize,
    )


@dataclass(frozen=True)
class _Piece:
    """A part of a line, and the line without it."""

    text: str
    start: int
    space: str
    rest: Blank


def _pieces(blank: Blank, cut: Cut) -> tuple[list[_Piece], list[_Piece]]:
    """The parts left and right of the blank."""
    before, after = blank.before, blank.after
    return [
        _Piece(before[start:end], start, _space(before, end), Blank(_without(before, start, end), after))
        for start, end in cut(before)
    ], [
        _Piece(after[start:end], start, _space(after, end), Blank(before, _without(after, start, end)))
        for start, end in cut(after)
    ]


def _lost(scores: np.ndarray) -> list[float]:
    """The difference of the whole line, the first, to each other; 0 if both are impossible."""
    whole, without = scores[0], scores[1:]
    return np.subtract(whole, without, out=np.zeros_like(without), where=whole != without).tolist()


def _space(text: str, place: int) -> str:
    """The white space at a place."""
    return text[place : len(text) - len(text[place:].lstrip())]


def _without(text: str, start: int, end: int) -> str:
    # The space after it is also removed, to avoid double spaces.
    doubled = not start or text[start - 1] == " "
    return text[:start] + (text[end:].removeprefix(" ") if doubled else text[end:])
