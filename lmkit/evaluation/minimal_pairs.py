"""Minimal pairs: measure how often a model gives the grammatical sentence the higher probability."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lmkit.contracts import LanguageModel, Tokenizer
from lmkit.evaluation.pair_files import Pair
from lmkit.scoring.sentence_scores import sentence_scores

SAME = 1e-9
"""Scores that differ by less than this share count as equal, such as sums in another order."""

COLUMNS: dict[str, type] = {
    "run": str,
    "paradigm": str,
    "pair": int,
    "sentence_good": str,
    "sentence_bad": str,
    "score_good": float,
    "score_bad": float,
    "difference": float,
    "unknown_good": int,
    "unknown_bad": int,
    "identical": bool,
    "tie": bool,
    "correct": float,
    "two_sided": bool,
    "note": str,
}
"""The columns of a row for a pair, and their types."""

_NOT_A_NUMBER = "the model gives a sentence a score that is not a number"
_ZERO = "the model gives a sentence the probability zero"


@dataclass(frozen=True)
class Judgement:
    """A model's scores of pairs; all arrays are (pairs,).

    good, bad: the scores of the sentences, natural logarithms. unknown_good, unknown_bad: the number of their
    unknown tokens. identical: whether both sentences have the same tokens, for example if they differ only in words
    outside the vocabulary. two_sided: whether scores are sums over both directions, so not log-probabilities.
    """

    good: np.ndarray
    bad: np.ndarray
    unknown_good: np.ndarray
    unknown_bad: np.ndarray
    identical: np.ndarray
    two_sided: bool

    @property
    def difference(self) -> np.ndarray:
        """The score of the good sentence minus that of the bad one, in nats; 0 for a tie, NaN if a score is NaN."""
        with np.errstate(invalid="ignore"):
            return np.where(self.tie, 0.0, self.good - self.bad)

    @property
    def tie(self) -> np.ndarray:
        """Whether both sentences score the same, up to rounding."""
        with np.errstate(invalid="ignore"):
            largest = np.maximum(np.abs(self.good), np.abs(self.bad))
            close = np.isfinite(largest) & (np.abs(self.good - self.bad) <= SAME * largest)
        return close | (self.good == self.bad)

    @property
    def correct(self) -> np.ndarray:
        """1 if the good sentence scores higher, 0 if the bad one does, 0.5 for a tie; NaN if a score is NaN."""
        difference = self.difference
        return np.where(np.isnan(difference), np.nan, (np.sign(difference) + 1) / 2)

    @classmethod
    def joined(cls, parts: "Sequence[Judgement]") -> "Judgement":
        """Concatenate the scores of several sets of pairs."""
        names = ("good", "bad", "unknown_good", "unknown_bad", "identical")
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(**arrays, two_sided=parts[0].two_sided)


@dataclass(frozen=True)
class Accuracy:
    """The accuracy on the pairs of a paradigm, or the mean over paradigms, with counts.

    percent: a tie counts one half; None if a score is not a number. standard_error: of `percent`; None if it is
    unknown. ties: pairs with equal scores. identical: ties whose sentences are the same tokens; identical_unknown:
    of these, pairs with unknown words. impossible: ties of two sentences with probability zero. unknown_words: in
    all sentences; pairs_with_unknown: the number of pairs with any.
    """

    percent: float | None
    standard_error: float | None
    pairs: int
    ties: int
    identical: int
    identical_unknown: int
    impossible: int
    unknown_words: int
    pairs_with_unknown: int

    def counts(self) -> dict[str, Any]:
        """All fields except the accuracy, for JSON."""
        return {name: value for name, value in vars(self).items() if name != "percent"}


def judge(models: Mapping[str, LanguageModel], tokenizer: Tokenizer, pairs: Sequence[Pair]) -> Judgement:
    """Score both sentences of each pair: whole sentences, without correction for length, as Warstadt et al. (2020).

    models: by direction, as a model's `directions` gives them; the scores are those of `sentence_scores`.
    """
    good, bad = [pair.good for pair in pairs], [pair.bad for pair in pairs]
    ids_good, ids_bad = ([tokenizer.ids(sentence) for sentence in side] for side in (good, bad))
    scores = sentence_scores(models, tokenizer, [*good, *bad]).sum(0)
    identical = np.array([np.array_equal(a, b) for a, b in zip(ids_good, ids_bad, strict=True)], bool)
    found_good, found_bad = scores[: len(pairs)], scores[len(pairs) :]
    return Judgement(
        found_good,
        # Rows of a batch may differ in their last bits.
        np.where(identical, found_good, found_bad),
        _unknown(ids_good, tokenizer),
        _unknown(ids_bad, tokenizer),
        identical,
        len(models) > 1,
    )


def accuracies(pairs: Sequence[Pair], found: Judgement) -> dict[str, Accuracy]:
    """The accuracy on each paradigm."""
    places: dict[str, list[int]] = {}
    for place, pair in enumerate(pairs):
        places.setdefault(pair.paradigm, []).append(place)
    return {paradigm: _accuracy(found, np.array(own)) for paradigm, own in places.items()}


def mean_accuracy(paradigms: Sequence[Accuracy]) -> Accuracy:
    """The mean over paradigms, each with the same weight, and the counts of all."""
    percents, errors = [one.percent for one in paradigms], [one.standard_error for one in paradigms]
    percent = None if None in percents else sum(p for p in percents if p is not None) / len(percents)
    error = None if None in errors else math.hypot(*(e for e in errors if e is not None)) / len(errors)
    names = [item.name for item in fields(Accuracy) if item.name not in ("percent", "standard_error")]
    return Accuracy(percent, error, **{name: sum(getattr(one, name) for one in paradigms) for name in names})


def rows(run: str, pairs: Sequence[Pair], found: Judgement) -> Iterator[dict[str, Any]]:
    """One row per pair with the columns `COLUMNS`; pairs are numbered from 1."""
    columns = zip(
        pairs, found.good.tolist(), found.bad.tolist(), found.difference.tolist(), found.unknown_good.tolist(),
        found.unknown_bad.tolist(), found.identical.tolist(), found.tie.tolist(), found.correct.tolist(), strict=True,
    )  # fmt: skip
    for number, (pair, good, bad, difference, *counts, identical, tie, correct) in enumerate(columns, 1):
        yield {
            "run": run,
            "paradigm": pair.paradigm,
            "pair": number,
            "sentence_good": pair.good,
            "sentence_bad": pair.bad,
            "score_good": _number(good),
            "score_bad": _number(bad),
            "difference": _number(difference),
            "unknown_good": counts[0],
            "unknown_bad": counts[1],
            "identical": identical,
            "tie": tie,
            "correct": _number(correct),
            "two_sided": found.two_sided,
            "note": _note(good, bad),
        }


def withheld(paradigms: Mapping[str, Accuracy]) -> dict[str, str]:
    """The reason for a missing accuracy, by paradigm."""
    return {name: _NOT_A_NUMBER for name, one in paradigms.items() if one.percent is None}


def _accuracy(found: Judgement, places: np.ndarray) -> Accuracy:
    correct, number = found.correct[places], len(places)
    is_known = not np.isnan(correct).any()
    unknown = found.unknown_good[places] + found.unknown_bad[places]
    return Accuracy(
        100 * float(correct.mean()) if is_known else None,
        100 * float(correct.std(ddof=1)) / math.sqrt(number) if is_known and number > 1 else None,
        number,
        int(found.tie[places].sum()),
        int(found.identical[places].sum()),
        int((found.identical[places] & (unknown > 0)).sum()),
        int((np.isneginf(found.good[places]) & np.isneginf(found.bad[places])).sum()),
        int(unknown.sum()),
        int((unknown > 0).sum()),
    )


def _unknown(rows: Sequence[np.ndarray], tokenizer: Tokenizer) -> np.ndarray:
    unknown = tokenizer.vocabulary.unk_id
    return np.array([0 if unknown is None else int((ids == unknown).sum()) for ids in rows], np.int64)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _note(good: float, bad: float) -> str:
    if math.isnan(good) or math.isnan(bad):
        return _NOT_A_NUMBER
    return "" if math.isfinite(good) and math.isfinite(bad) else _ZERO
