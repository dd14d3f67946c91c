"""Figures of predictions: accuracy, F1, precision and recall of each class, and the confusion table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ClassFigures:
    """precision: the share of the texts given this class that are of it; recall: the share of its texts given it.

    f1: their harmonic mean. Each is 0 where its denominator is. texts: how many are of this class.
    """

    label: str
    precision: float
    recall: float
    f1: float
    texts: int


@dataclass(frozen=True)
class Report:
    """The figures of labelled texts.

    confusion: (classes, classes), how often a text of the row's class was given the column's.
    """

    labels: tuple[str, ...]
    confusion: np.ndarray

    @classmethod
    def of(cls, labels: Sequence[str], truth: Sequence[str], predicted: Sequence[str]) -> "Report":
        """The figures of predictions; all labels are among `labels`."""
        places = {label: place for place, label in enumerate(labels)}
        confusion = np.zeros((len(labels), len(labels)), np.int64)
        np.add.at(confusion, ([places[one] for one in truth], [places[one] for one in predicted]), 1)
        return cls(tuple(labels), confusion)

    @property
    def texts(self) -> int:
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.confusion) / max(self.texts, 1))

    @property
    def classes(self) -> list[ClassFigures]:
        """The figures of each class."""
        found = []
        for place, label in enumerate(self.labels):
            right = int(self.confusion[place, place])
            given, own = int(self.confusion[:, place].sum()), int(self.confusion[place].sum())
            found.append(
                ClassFigures(
                    label, _share(right, given), _share(right, own), _share(2 * right, given + own), own
                )
            )
        return found

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that a text has or was given."""
        seen = self.confusion.sum(0) + self.confusion.sum(1) > 0
        return float(np.mean([one.f1 for one, counts in zip(self.classes, seen, strict=True) if counts]))

    def to_json(self) -> dict[str, Any]:
        return {
            "texts": self.texts,
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "classes": {
                one.label: {
                    "precision": one.precision,
                    "recall": one.recall,
                    "f1": one.f1,
                    "texts": one.texts,
                }
                for one in self.classes
            },
            "confusion": {
                label: dict(zip(self.labels, row, strict=True))
                for label, row in zip(self.labels, self.confusion.tolist(), strict=True)
            },
        }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
