"""Fill in the blank of a line with several models, and find the words that the answers depend on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lmkit.evaluation.fill import Filled
from lmkit.evaluation.fill import fill as fill_with
from lmkit.evaluation.fill_page import answer_section
from lmkit.evaluation.fill_why import Why
from lmkit.evaluation.fill_why import why as explain
from lmkit.html import Html, fragment
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


class AnswersByModel(dict[str, Answers]):
    """The answers of each model, by label."""

    def html(self, top: int = 10) -> list[Html]:
        """A section for each model: its best `top` candidates, and the coloured line if the reasons are known."""
        return [answer_section(label, one.filled, one.why, top) for label, one in self.items()]

    def _repr_html_(self) -> str:
        return fragment(*self.html())


def fill(
    models: Models,
    text: str,
    candidates: Sequence[str] = (),
    *,
    max_tokens: int = 3,
    normalize: str | None = None,
    why: bool = False,
    device: str = "auto",
) -> AnswersByModel:
    """Rank candidates for the blank of a line, "... so i will ____ .", by each model; by label.

    candidates: None for the proposals of each model, of at most max_tokens tokens. normalize: how to compare
    candidates of different lengths, see `evaluation.fill.fill`. why: also find the words that support the best answer.
    Raises UsageError for a text without exactly one blank and for bad candidates.
    """
    found = AnswersByModel()
    for label, model in loaded(models, device=device).items():
        filled = fill_with(
            model.directions, model.tokenizer, text, candidates, max_tokens=max_tokens, normalize=normalize
        )
        unknown = {one: unknown_words(model.tokenizer, one) for one in filled.candidates}
        reasons = explain(model.directions, model.tokenizer, filled) if why else None
        found[label] = Answers(filled, {one: words for one, words in unknown.items() if words}, reasons)
    return found


def records(label: str, answers: Answers, top: int) -> list[dict[str, Any]]:
    """A record for each of the `top` best candidates of a model, the best first; that one has the result of `why`."""
    filled = answers.filled
    rows: list[dict[str, Any]] = [
        {
            "run": label,
            "text": candidate,
            "log_prob": None if filled.two_sided else log_prob,
            "score": score,
            "normalize": filled.normalize,
            "share": share,
            "two_sided": filled.two_sided,
        }
        for candidate, log_prob, score, share in zip(
            filled.candidates, filled.sums, filled.scores, filled.shares, strict=True
        )
    ][:top]
    if answers.why is not None:
        rows[0]["why"] = {
            name: [
                part and {"text": part.text, "cost": part.cost, "share_cost": part.share_cost}
                for part in parts
            ]
            for name, parts in (("words", answers.why.words), ("clauses", answers.why.clauses))
        }
    return rows
