"""The distance task: how often a model ranks the right consequence first, by the distance of the cause."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmkit.contracts import LanguageModel, Tokenizer
from lmkit.corpus.distances import Item, answers
from lmkit.evaluation.fill_candidates import Blank, candidate_scores


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
