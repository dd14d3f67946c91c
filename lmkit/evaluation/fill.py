"""Fill in the blank: candidates ranked by any model, proposed by it, and the words that carry its answer."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lmkit import states
from lmkit.contracts import LanguageModel, Tokenizer
from lmkit.errors import UsageError
from lmkit.evaluation import segmentation
from lmkit.evaluation.blanks import TWO_SIDED, Blank, candidate_scores
from lmkit.evaluation.directions import BACKWARD, FORWARD

BLANK = re.compile(r"_{2,}")
BEAM = 20
"""Proposals of one length that are kept."""


def parse(tokenizer: Tokenizer, text: str) -> Blank:
    """The blank of a line, "所以我要去____。", as the tokenizer reads lines (see `segmentation.spaced`).

    Raises UsageError unless there is one run of two or more underscores, and one line.
    """
    parts = BLANK.split(text)
    if len(parts) != 2:
        raise UsageError(f"the text has {len(parts) - 1} blanks; write one, as a run of underscores: ____")
    if "\n" in text:
        raise UsageError("the text has more than one line; give the line with the blank alone")
    if not segmentation.reads_words(tokenizer):
        return Blank(*parts)
    before, after = (segmentation.spaced(tokenizer, part) for part in parts)
    return Blank(before + " " if before else "", " " + after if after else "")


@dataclass(frozen=True)
class Filled:
    """Candidates in a blank, the best first.

    scores: natural logarithms; of the line, or, two-sided, the sum of both directions' (`candidate_scores`).
    shares: the probability of each among these candidates alone.
    """

    blank: Blank
    candidates: list[str]
    scores: list[float]
    shares: list[float]
    two_sided: bool


def fill(
    models: Mapping[str, LanguageModel],
    tokenizer: Tokenizer,
    blank: Blank,
    candidates: Sequence[str] = (),
    *,
    max_tokens: int = 3,
) -> Filled:
    """Rank candidates, or what the models propose, of at most `max_tokens` tokens.

    Raises UsageError where a candidate is empty or stands twice.
    """
    found = [segmentation.spaced(tokenizer, candidate.strip()) for candidate in candidates]
    if "" in found or len(set(found)) < len(found):
        raise UsageError("a candidate is empty or given twice; give different words, separated by commas")
    if not found:
        found = proposals(models, tokenizer, blank, max_tokens)
    scores = _total(candidate_scores(models, tokenizer, [blank], found))[0]
    order = np.argsort(-scores, kind="stable")
    shares = np.exp(scores - np.logaddexp.reduce(scores))
    return Filled(
        blank,
        [found[i] for i in order],
        scores[order].tolist(),
        shares[order].tolist(),
        len(models) > 1,
    )


def proposals(
    models: Mapping[str, LanguageModel], tokenizer: Tokenizer, blank: Blank, max_tokens: int
) -> list[str]:
    """What each direction's model would go on with at the blank, by a beam; no line ends and no unknown words."""
    found: dict[str, None] = {}
    for direction, model in models.items():
        read = blank.before if direction == FORWARD else blank.after
        ids = tokenizer.ids(read).astype(np.int64)
        if direction == BACKWARD:
            ids = ids[::-1].copy()
        for sequence in _beam(model, ids, max_tokens):
            text = tokenizer.decode(sequence if direction == FORWARD else sequence[::-1]).strip()
            if text:
                found.setdefault(text)
    return list(found)


@torch.no_grad()
def _beam(model: LanguageModel, ids: np.ndarray, max_tokens: int) -> list[list[int]]:
    """The likeliest sequences of 1 to `max_tokens` tokens after `ids`, `BEAM` of each length."""
    context = torch.from_numpy(ids[None]).to(model.device)
    _, state = model.log_probs(context, model.initial_state(1))
    forbidden = {model.vocabulary.eos_id, model.vocabulary.unk_id}
    rows: list[list[int]] = [[]]
    totals = [0.0]
    found = []
    for _ in range(max_tokens):
        log_probs, tokens = model.top_k(state, BEAM + len(forbidden))
        options = [
            (total + score, row, token)
            for row, (total, scores, ids_) in enumerate(
                zip(totals, log_probs.tolist(), tokens.tolist(), strict=True)
            )
            for score, token in zip(scores, ids_, strict=True)
            if token not in forbidden and score > -math.inf
        ]
        options.sort(key=lambda option: -option[0])
        kept = options[:BEAM]
        if not kept:
            break
        rows = [[*rows[row], token] for _, row, token in kept]
        totals = [total for total, _, _ in kept]
        found += rows
        origin = torch.tensor([row for _, row, _ in kept], device=model.device)
        last = torch.tensor([token for _, _, token in kept], device=model.device)
        state = model.advance(last, states.take(state, origin))
    return found


@dataclass(frozen=True)
class Part:
    """A word or clause of the line, and what leaving it out costs the answer, in nats.

    cost: the log of the answer's share among the candidates, less the same without the part.
    """

    text: str
    cost: float


def why(
    models: Mapping[str, LanguageModel],
    tokenizer: Tokenizer,
    filled: Filled,
    by: str = "word",
) -> list[Part | None]:
    """What each part of the line does for the best candidate; None stands for the blank.

    by: "word" or "clause". Raises UsageError where there is one candidate alone, whose share is always 1.
    """
    if len(filled.candidates) < 2:
        raise UsageError("there is nothing to weigh one candidate against; give two or more")
    blank = filled.blank
    cut = segmentation.clauses if by == "clause" else lambda text: segmentation.units(tokenizer, text)
    before, after = cut(blank.before), cut(blank.after)
    blanks = [blank]
    blanks += [Blank(_without(blank.before, *span), blank.after) for span in before]
    blanks += [Blank(blank.before, _without(blank.after, *span)) for span in after]
    scores = _total(candidate_scores(models, tokenizer, blanks, filled.candidates))
    shares = scores[:, 0] - np.logaddexp.reduce(scores, 1)
    texts = [blank.before[slice(*span)] for span in before] + [blank.after[slice(*span)] for span in after]
    parts: list[Part | None] = [
        Part(text.strip(), float(shares[0] - share)) for text, share in zip(texts, shares[1:], strict=True)
    ]
    return [*parts[: len(before)], None, *parts[len(before) :]]


def _without(text: str, start: int, end: int) -> str:
    # The space behind it goes too, so that none stands twice.
    return text[:start] + (
        text[end:].removeprefix(" ") if text[:start].endswith(" ") or not start else text[end:]
    )


def _total(scores: Mapping[str, np.ndarray]) -> np.ndarray:
    return scores.get(TWO_SIDED, scores[FORWARD])
