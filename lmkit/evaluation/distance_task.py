"""The distance task: how often a model ranks the right consequence first, by the distance of the cause."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmkit.contracts import LanguageModel, Tokenizer
from lmkit.corpus.distances import Item, answers
from lmkit.evaluation.fill_candidates import Blank, candidate_scores

LEVEL = 0.001
"""The probability, at most, that a model which guesses is taken for one that has learned the task."""


@dataclass(frozen=True)
class Ranking:
    """A model's answers to some items: arrays (items,), one entry per item.

    best: the consequence ranked first. answer: the right one; original: the right one without a control.
    """

    clauses: np.ndarray
    words: np.ndarray
    answer: np.ndarray
    original: np.ndarray
    best: np.ndarray

    def accuracy(self, by: str) -> list[dict[str, Any]]:
        """A row for each distance, by "clauses" or "words": accuracy in percent, its mean words, its items."""
        rows = []
        distances = getattr(self, by)
        for distance in np.unique(distances):
            at = distances == distance
            rows.append(
                {
                    "distance": int(distance),
                    "words": float(self.words[at].mean()),
                    "items": int(at.sum()),
                    "accuracy": 100 * float((self.best[at] == self.answer[at]).mean()),
                    "original": 100 * float((self.best[at] == self.original[at]).mean()),
                }
            )
        return rows

    def learned(self, guess: float) -> bool | None:
        """Whether the model is better than guessing, at any distance or over all; None: too few items to tell.

        guess: the probability of a right guess. The test is the exact one-sided binomial one, for each number of
        clauses and for all items together; the levels of these tests sum to `LEVEL` (Bonferroni).
        Too few are items of which half could be right without a significant result.
        """
        right = self.best == self.answer
        groups = [right, *(right[self.clauses == number] for number in np.unique(self.clauses))]
        level = LEVEL / len(groups)
        if any(at_least(int(group.sum()), len(group), guess) < level for group in groups):
            return True
        return False if at_least(-(-len(right) // 2), len(right), guess) < level else None


def rank(
    models: Mapping[str, LanguageModel],
    tokenizer: Tokenizer,
    language: str,
    items: Sequence[Item],
    *,
    normalize: str = "none",
) -> dict[str, Ranking]:
    """By direction, the answers of the models among all consequences of the task.

    normalize: how to compare consequences of different lengths; see `candidate_scores`.
    """
    blanks = [Blank(item.before, item.after) for item in items]
    scores = candidate_scores(models, tokenizer, blanks, answers(language), normalize=normalize)
    columns = {
        name: np.array([getattr(item, name) for item in items])
        for name in ("clauses", "words", "answer", "original")
    }
    return {direction: Ranking(**columns, best=table.argmax(1)) for direction, table in scores.items()}


def chance(language: str) -> float:
    """The accuracy of guessing, in percent."""
    return 100 / len(answers(language))


def at_least(right: int, items: int, guess: float) -> float:
    """The probability of `right` or more right answers to `items` by guessing (binomial)."""
    number = np.arange(right, items + 1)
    log_factorials = np.cumsum(np.log(np.maximum(np.arange(items + 1), 1)))
    ways = log_factorials[items] - log_factorials[number] - log_factorials[items - number]
    return float(np.exp(ways + number * math.log(guess) + (items - number) * math.log1p(-guess)).sum())
