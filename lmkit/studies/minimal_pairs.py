"""The accuracy of models on pairs of sentences of which one breaks a rule."""

from collections.abc import Sequence

from lmkit.api import Model
from lmkit.contracts import Progress
from lmkit.evaluation.minimal_pairs import Judgement, judge
from lmkit.evaluation.pair_files import Pair
from lmkit.studies.inputs import Models, loaded, without_progress

BATCH = 512
"""Pairs scored between two moves of a progress bar."""


def minimal_pairs(
    models: Models,
    pairs: Sequence[Pair],
    *,
    device: str = "auto",
    progress: Progress = without_progress,
) -> dict[str, Judgement]:
    """What each model makes of pairs, by label; `evaluation.pair_files.read_pairs` reads them from files.

    `evaluation.minimal_pairs.accuracies` gives the accuracy on each paradigm.
    """
    return {
        label: _judged(label, model, pairs, progress)
        for label, model in loaded(models, device=device).items()
    }


def _judged(label: str, model: Model, pairs: Sequence[Pair], progress: Progress) -> Judgement:
    batches = [pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH)]
    found = [
        judge(model.directions, model.tokenizer, batch)
        for batch in progress(batches, total=len(batches), label=label)
    ]
    return Judgement.joined(found)
