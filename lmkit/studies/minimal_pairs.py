"""Measure the accuracy of models on pairs of good and bad sentences."""

from collections.abc import Sequence

from lmkit.api import Model
from lmkit.contracts import Progress
from lmkit.evaluation.minimal_pairs import Judgement, judge
from lmkit.evaluation.pair_files import Pair
from lmkit.studies.inputs import Models, loaded, usual_progress

BATCH = 512
"""Pairs scored per update of the progress bar."""


def minimal_pairs(
    models: Models,
    pairs: Sequence[Pair],
    *,
    device: str = "auto",
    progress: Progress = usual_progress,
) -> dict[str, Judgement]:
    """The scores of pairs by each model, by label; `evaluation.pair_files.read_pairs` reads pairs from files.

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
