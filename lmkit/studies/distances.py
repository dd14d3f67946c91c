"""Measure how far back models remember the cause of a sentence's last words."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lmkit.api import Model
from lmkit.contracts import BACKWARD, FORWARD, Progress
from lmkit.corpus.distances import answers, items
from lmkit.evaluation.distance_task import Ranking, chance, rank
from lmkit.evaluation.normalization import NORMALIZATIONS
from lmkit.evaluation.tables import Table
from lmkit.html import Html, Line, chart, fragment
from lmkit.run_paths import unique
from lmkit.scoring.segmentation import unknown_words
from lmkit.studies.inputs import Models, loaded, usual_progress


@dataclass(frozen=True)
class Distances:
    """The rankings of models, by label, with the direction for each of an encoder.

    models: the label of each ranking's model.
    unknown: by label, the number of consequences with words that the vocabulary lacks.
    learned: as in `Ranking.learned`, by the labels of `rankings`. None also for what cannot be learned: answers
    without a cause, and the direction of an encoder that does not read the side of the cause.
    chance: the accuracy of guessing, in percent. count: sentences of each number of clauses. normalize: how
    consequences of different lengths were compared.
    """

    rankings: dict[str, Ranking]
    models: dict[str, str]
    sentences: int
    unknown: dict[str, int]
    learned: dict[str, bool | None]
    chance: float
    count: int
    normalize: str

    def columns(self, by: str = "clauses") -> dict[str, list[dict[str, Any]]]:
        """The accuracies by "clauses" or "words" (`Ranking.accuracy`); labels say which models learned nothing."""
        return {
            name if self.learned[name] is not False else f"{name} (not learned)": ranking.accuracy(by)
            for name, ranking in self.rankings.items()
        }

    def table(self, by: str = "clauses") -> Table:
        """The accuracies, one column per model."""
        columns = self.columns(by)
        rows: list[list[str]] = []
        for place, row in enumerate(next(iter(columns.values()))):
            words = [] if by == "words" else [f"{row['words']:.0f}"]
            own = [f"{column[place]['accuracy']:.1f}" for column in columns.values()]
            rows.append([str(row["distance"]), *words, *own])
        of = (
            f"{self.count} sentences per distance"
            if by == "clauses"
            else f"{self.sentences:,} sentences in all"
        )
        note = f"percent of {of}; chance is {self.chance:.1f}"
        if self.normalize != "none":
            note += f"; ranked by {NORMALIZATIONS[self.normalize]} (--normalize {self.normalize})"
        return Table([by, *([] if by == "words" else ["words"]), *columns], rows, note=note)

    def html(self, by: str = "clauses") -> list[Html]:
        """A chart of the accuracies, and their table."""
        lines = []
        for name, column in self.columns(by).items():
            xs = [row["words"] if by == "clauses" else row["distance"] for row in column]
            lines.append(Line(name, xs, [row["accuracy"] for row in column]))
        ends = [min(xs for line in lines for xs in line.xs), max(xs for line in lines for xs in line.xs)]
        lines.append(Line("chance", ends, [self.chance] * 2))
        title = "Right consequence ranked first, percent"
        drawn = chart(lines, title=title, x="words from the object to the blank", y="percent", low=0)
        return [drawn, *self.table(by).html(title)]

    def _repr_html_(self) -> str:
        return fragment(*self.html())


def distances(
    models: Models,
    *,
    language: str = "zh",
    farthest: int = 20,
    count: int = 100,
    cause: str = "left",
    control: str | None = None,
    normalize: str = "none",
    seed: int = 0,
    device: str = "auto",
    progress: Progress = usual_progress,
) -> Distances:
    """Rank the consequences of causes with 0 to `farthest` clauses in between, `count` sentences of each.

    The sentences are those of `corpus.distances.items`, which `language`, `cause`, `control` and `seed` choose.
    normalize: how to compare consequences of different lengths, as in `fill`.
    """
    groups = [
        list(items(language, clauses, count, seed=seed, cause=cause, control=control))
        for clauses in range(farthest + 1)
    ]
    rankings: dict[str, Ranking] = {}
    owners, unknown = {}, {}
    learned: dict[str, bool | None] = {}
    guess, blind = chance(language) / 100, BACKWARD if cause == "left" else FORWARD
    for label, model in loaded(models, device=device).items():
        unknown[label] = _unknown(model, language)
        parts = [
            rank(model.directions, model.tokenizer, language, group, normalize=normalize)
            for group in progress(groups, total=len(groups), label=label)
        ]
        for direction in parts[0]:
            name = unique(label if len(parts[0]) == 1 else f"{label} {direction}", rankings)
            owners[name] = label
            rankings[name] = _joined([part[direction] for part in parts])
            can_learn = control != "left-out" and (len(parts[0]) == 1 or direction != blind)
            learned[name] = rankings[name].learned(guess) if can_learn else None
    return Distances(
        rankings, owners, sum(map(len, groups)), unknown, learned, chance(language), count, normalize
    )


def _unknown(model: Model, language: str) -> int:
    return sum(bool(unknown_words(model.tokenizer, answer)) for answer in answers(language))


def _joined(parts: Sequence[Ranking]) -> Ranking:
    names = [item.name for item in fields(Ranking)]
    return Ranking(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
