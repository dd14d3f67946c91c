"""Fill in the blank of a line with several models, and find the words that the answers depend on."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lmkit.evaluation.fill import Filled
from lmkit.evaluation.fill import fill as fill_with
from lmkit.evaluation.fill_why import Why
from lmkit.evaluation.fill_why import why as explain
from lmkit.scoring.segmentation import unknown_words
from lmkit.studies.inputs import Models, loaded


@dataclass(frozen=True)
class Answers:
    """The candidates that one model ranked.

    unknown: by candidate, its words that the vocabulary lacks. why: the words of the line that support the best answer.
    """

    filled: Filled
    unknown: dict[str, list[str]] = field(default_factory=dict)
    why: Why | None = None


def fill(
    models: Models,
    text: str,
    candidates: Sequence[str] = (),
    *,
    max_tokens: int = 3,
    normalize: str | None = None,
    why: bool = False,
    device: str = "auto",
) -> dict[str, Answers]:
    """Rank candidates for the blank of a line, "... so i will ____ .", by each model; by label.

    candidates: None for the proposals of each model, of at most max_tokens tokens. normalize: how to compare
    candidates of different lengths, see `evaluation.fill.fill`. why: also find the words that support the best answer.
    Raises UsageError for a text without exactly one blank and for bad candidates.
    """
    found = {}
    for label, model in loaded(models, device=device).items():
        filled = fill_with(
            model.directions, model.tokenizer, text, candidates, max_tokens=max_tokens, normalize=normalize
        )
        unknown = {one: unknown_words(model.tokenizer, one) for one in filled.candidates}
        reasons = explain(model.directions, model.tokenizer, filled) if why else None
        found[label] = Answers(filled, {one: words for one, words in unknown.items() if words}, reasons)
    return found
