"""Fill in the blank: rank candidates with any model, or let it propose them."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmkit import states
from lmkit.contracts import LanguageModel, Tokenizer
from lmkit.corpus.word_lists import refuse_one_string
from lmkit.errors import ModelError, UsageError, suggest
from lmkit.evaluation.fill_candidates import TWO_SIDED, Blank, candidate_scores
from lmkit.evaluation.normalization import GIVEN, NORMALIZATIONS, PROPOSED
from lmkit.scoring import segmentation
from lmkit.scoring.directions import BACKWARD, FORWARD

if TYPE_CHECKING:
    from torch import Tensor

BLANK = re.compile(r"_{2,}")
BEAM = 20
"""Number of proposals of each length."""


@dataclass(frozen=True)
class Filled:
    """Candidates in a blank, the best first.

    scores: for ranking, with the normalization `normalize` (`candidate_scores`). sums: the same without
    normalization: natural logarithms of the line's probability, or, two-sided, the sum over both directions.
    shares: the scores as probabilities of these candidates that sum to one.
    """

    blank: Blank
    candidates: list[str]
    scores: list[float]
    shares: list[float]
    two_sided: bool
    normalize: str
    sums: list[float]


def parse(tokenizer: Tokenizer, text: str) -> Blank:
    """The blank of a line, "所以我要去____。".

    If words are read between white space, a letter next to the blank is separated from its contents.
    Raises UsageError unless there is one run of two or more underscores, and one line.
    """
    parts = BLANK.split(text)
    if len(parts) != 2:
        raise UsageError(f"the text has {len(parts) - 1} blanks; write one, as a run of underscores: ____")
    if len(text.splitlines()) > 1:
        raise UsageError("the text has more than one line; give only the line with the blank")
    if tokenizer.unit != "word":
        return Blank(*parts)
    before, after = parts
    return Blank(
        before + " " if before and segmentation.is_letter(before[-1]) else before,
        " " + after if after and segmentation.is_letter(after[0]) else after,
    )


def fill(
    models: Mapping[str, LanguageModel],
    tokenizer: Tokenizer,
    text: str,
    candidates: Sequence[str] = (),
    *,
    max_tokens: int = 3,
    normalize: str | None = None,
) -> Filled:
    """Rank candidates, or the models' proposals, of at most `max_tokens` tokens.

    models: by direction, as a model's `directions` gives them. text: a line with a blank (`parse`). normalize: how to
    compare candidates of different lengths (`candidate_scores`); None: "char" for candidates, "none" for proposals.
    Raises UsageError if a candidate is empty, has a line end or occurs twice, ModelError if a model proposes
    nothing.
    """
    blank = parse(tokenizer, text)
    refuse_one_string(candidates, "candidates")
    if normalize is None:
        normalize = GIVEN if candidates else PROPOSED
    if normalize not in NORMALIZATIONS:
        raise UsageError(f"normalize is '{normalize}'; {suggest(normalize, list(NORMALIZATIONS))}")
    found = [candidate.strip() for candidate in candidates]
    if any(len(candidate.splitlines()) != 1 for candidate in found):
        raise UsageError("a candidate is empty or has a line end; give words, separated by commas")
    if not found:
        found = proposals(models, tokenizer, blank, max_tokens)
        if not re.search(r"\s", text):
            found = list(dict.fromkeys(segmentation.unspaced(candidate) for candidate in found))
    if len(set(found)) < len(found):
        raise UsageError("a candidate is given twice; give different ones")
    plain, scores = (
        total(candidate_scores(models, tokenizer, [blank], found, normalize=how))[0]
        for how in ("none", normalize)
    )
    order = np.argsort(-scores, kind="stable")
    return Filled(
        blank,
        [found[i] for i in order],
        scores[order].tolist(),
        np.exp(log_shares(scores[order])).tolist(),
        len(models) > 1,
        normalize,
        plain[order].tolist(),
    )


def total(scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """The scores for ranking among the results of `candidate_scores`."""
    return scores.get(TWO_SIDED, next(iter(scores.values())))


def log_shares(scores: np.ndarray) -> np.ndarray:
    """The log of each candidate's probability among the candidates, the last dimension; equal if all are impossible."""
    best = scores.max(-1, keepdims=True)
    less = np.subtract(scores, best, out=np.zeros_like(scores), where=best > -math.inf)
    return less - np.logaddexp.reduce(less, -1, keepdims=True)


def proposals(
    models: Mapping[str, LanguageModel], tokenizer: Tokenizer, blank: Blank, max_tokens: int
) -> list[str]:
    """Continuations by each direction's model at the blank, by beam search, without line ends and unknown words.

    Raises ModelError if there are none.
    """
    found: dict[str, None] = {}
    for direction, model in models.items():
        for sequence in _beam(model, *_context(tokenizer, blank, direction), max_tokens):
            text = tokenizer.decode(sequence if direction == FORWARD else sequence[::-1]).strip()
            # Only valid characters on one line are proposals.
            if len(text.splitlines()) == 1 and "\ufffd" not in text:
                found.setdefault(text)
    if not found:
        raise ModelError("the model proposes nothing for the blank; give --candidates")
    return list(found)


def _context(tokenizer: Tokenizer, blank: Blank, direction: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The ids that a direction reads before the blank, and the allowed first tokens (None: any)."""
    if direction == BACKWARD:
        return tokenizer.ids(blank.after)[::-1].astype(np.int64), None
    starts, before = tokenizer.word_starts(), blank.before
    if starts is None or not before.endswith(" "):
        return tokenizer.ids(before).astype(np.int64), None
    # The space belongs to the piece that begins a word.
    return tokenizer.ids(before.rstrip(" ")).astype(np.int64), starts.numpy()


def _beam(
    model: LanguageModel, ids: np.ndarray, first: np.ndarray | None, max_tokens: int
) -> list[list[int]]:
    """The most probable sequences of 1 to `max_tokens` tokens after `ids`, `BEAM` of each length."""
    import torch

    with torch.no_grad():
        return _beam_of(model, torch.from_numpy(ids[None]).to(model.device), first, max_tokens)


def _beam_of(
    model: LanguageModel, ids: "Tensor", first: np.ndarray | None, max_tokens: int
) -> list[list[int]]:
    """The same, given ids (1, tokens)."""
    import torch

    _, state = model.log_probs(ids, model.initial_state(1))
    forbidden = {model.vocabulary.eos_id, model.vocabulary.unk_id}
    rows: list[list[int]] = [[]]
    totals = [0.0]
    found = []
    for length in range(max_tokens):
        # Many tokens may not come first.
        wanted = BEAM + len(forbidden) if length or first is None else model.vocabulary.size
        log_probs, tokens = model.top_k(state, wanted)
        options = [
            (before + score, row, token)
            for row, before in enumerate(totals)
            for score, token in zip(log_probs[row].tolist(), tokens[row].tolist(), strict=True)
            if token not in forbidden and score > -math.inf and (length or first is None or first[token])
        ]
        kept = sorted(options, key=lambda option: -option[0])[:BEAM]
        if not kept:
            break
        rows = [[*rows[row], token] for _, row, token in kept]
        totals = [score for score, _, _ in kept]
        found += rows
        origin = torch.tensor([row for _, row, _ in kept], device=model.device)
        last = torch.tensor([token for _, _, token in kept], device=model.device)
        state = model.advance(last, states.take(state, origin))
    return found
