"""Which words of a line carry the answer in its blank: what leaving each of them out costs it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lmkit.contracts import LanguageModel, Tokenizer
from lmkit.errors import UsageError
from lmkit.evaluation import segmentation
from lmkit.evaluation.blanks import Blank, candidate_scores
from lmkit.evaluation.fill import Filled, log_shares, total

Span = tuple[int, int]


@dataclass(frozen=True)
class Part:
    """A word or clause of the line, and what leaving it out costs the answer, in nats; negative where it helps.

    space: the white space that follows it. cost: the log of the answer's share among the candidates, less the same
    without the part. own_cost: the same difference of the log-probability of the answer's own tokens, given what
    the model has read (two-sided: the sum of both directions').
    """

    text: str
    space: str
    cost: float
    own_cost: float


@dataclass(frozen=True)
class Why:
    """What carries the answer, a candidate: the line in words, and the same line in clauses.

    None stands for the blank, which `space` follows.
    """

    answer: str
    space: str
    words: list[Part | None]
    clauses: list[Part | None]


def why(
    models: Mapping[str, LanguageModel], tokenizer: Tokenizer, filled: Filled, answer: str | None = None
) -> Why:
    """What each word and each clause of the line does for a candidate; by default the best.

    Raises UsageError where the answer is not among the candidates, or alone, since its share is then always 1.
    """
    if answer is not None and answer not in filled.candidates:
        raise UsageError(
            f"'{answer}' is not among the {len(filled.candidates)} candidates shown; give it in --candidates"
        )
    if len(filled.candidates) < 2:
        raise UsageError("there is nothing to weigh one candidate against; give two or more")
    place = 0 if answer is None else filled.candidates.index(answer)
    blank = filled.blank

    def cut(text: str) -> list[Span]:
        return segmentation.units(tokenizer, text)

    cuts: list[Callable[[str], list[Span]]] = [cut, segmentation.clauses]
    found = [(side, span) for by in cuts for side in (blank.before, blank.after) for span in by(side)]
    blanks = [blank]
    for by in cuts:
        blanks += [Blank(_without(blank.before, *span), blank.after) for span in by(blank.before)]
        blanks += [Blank(blank.before, _without(blank.after, *span)) for span in by(blank.after)]
    shares = log_shares(total(candidate_scores(models, tokenizer, blanks, filled.read)))[:, place]
    own = total(candidate_scores(models, tokenizer, blanks, [filled.read[place]], own=True))[:, 0]
    parts: list[Part | None] = [
        Part(text[start:end], _space(text, end), float(shares[0] - share), float(own[0] - score))
        for (text, (start, end)), share, score in zip(found, shares[1:], own[1:], strict=True)
    ]
    words, left = len(cut(blank.before)) + len(cut(blank.after)), len(cut(blank.before))
    clauses_left = len(segmentation.clauses(blank.before))
    return Why(
        filled.candidates[place],
        _space(blank.after, 0),
        _around_blank(parts[:words], left),
        _around_blank(parts[words:], clauses_left),
    )
