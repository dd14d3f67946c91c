"""`/score`, `/surprisal`, `/fill`, `/why` and `/next`: the records of the commands' `--json`, of one run or of all."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from lmkit.corpus.readers import Text
from lmkit.evaluation.fill import Filled, fill
from lmkit.evaluation.fill_why import Part, Why, why
from lmkit.evaluation.normalization import NORMALIZATIONS
from lmkit.evaluation.records import OOV, Record
from lmkit.generation.text import LINE_END
from lmkit.scoring.segmentation import clauses, units, unknown_words
from lmkit.serve import limits
from lmkit.serve.completions import check_length, check_tokens
from lmkit.serve.errors import ApiError, invalid, too_long
from lmkit.serve.fields import Fields, checked_text
from lmkit.serve.limits import Limits
from lmkit.serve.models import Models, Served
from lmkit.studies.fill import Answers, records

Answerer = Callable[[Served], list[dict[str, Any]]]
"""The records of a run."""

MOST_CANDIDATES = 1000
LONGEST_PROPOSAL = 20
LONGEST_LINE, LONGEST_EXPLAINED = 2048, 300
"""Tokens of a line with a blank: each candidate is scored in it, and in an explanation without each of its words."""
MOST_READ = 3_000_000
"""Characters of all these lines together, about a minute of a core; a line of few tokens may have many characters."""
MOST_TOP = 1000


class Question:
    """A checked question: the runs that are asked, and the function that answers for each."""

    def __init__(self, fields: Fields, models: Models, name: str | None, answer: Answerer) -> None:
        self.answer = answer
        asked = fields.get("model")
        if name is not None:
            self.served = [models.named(name)]
        elif asked is None:
            self.served = list(models)
        elif isinstance(asked, str):
            self.served = [models.named(asked)]
        elif isinstance(asked, list) and asked and all(isinstance(one, str) for one in asked):
            self.served = [models.named(one) for one in dict.fromkeys(asked)]
        else:
            raise invalid("model", "give the name of a run, a list of names, or nothing for all runs")


def score(body: Any, models: Models, bounds: Limits, name: str | None = None) -> Question:
    """The figures of `lmkit eval`."""
    fields = Fields(body, ("model", "text", "independent"))
    lines, independent = _lines(fields, bounds), fields.flag("independent")

    def answer(served: Served) -> list[dict[str, Any]]:
        _check_lines(served, lines, bounds)
        model = served.model
        return [
            {
                "run": served.name,
                "direction": direction,
                **model.score_text(
                    Text.from_lines(lines), direction=direction, independent=independent
                ).to_json(),
            }
            for direction in model.directions
        ]

    return Question(fields, models, name, answer)


def surprisal(body: Any, models: Models, bounds: Limits, name: str | None = None) -> Question:
    """The records of `lmkit surprisal`."""
    fields = Fields(body, ("model", "text", "by", "entropy", "rank", "oov", "independent"))
    lines, by = _lines(fields, bounds), fields.one_of("by", ("word", "token", "char", "line"), "word")
    settings: dict[str, Any] = {flag: fields.flag(flag) for flag in ("entropy", "rank", "independent")}
    oov = fields.one_of("oov", OOV, "model")

    def answer(served: Served) -> list[dict[str, Any]]:
        _check_lines(served, lines, bounds)
        left_out = {name for name in ("entropy", "rank") if not settings[name]}
        found = served.model.surprisal(lines, by, oov=oov, **settings)
        names = [name for name in Record._fields if name not in left_out]
        return [{"run": served.name, **{name: getattr(record, name) for name in names}} for record in found]

    return Question(fields, models, name, answer)


def fill_blank(body: Any, models: Models, bounds: Limits, name: str | None = None) -> Question:
    """The records of `lmkit fill`."""
    fields = Fields(body, ("model", "text", "candidates", "top", "max_tokens", "normalize", "why"))
    text, candidates, settings = _blank(fields, bounds)
    top, explain = fields.whole("top", 10, 1, MOST_TOP), fields.flag("why")

    def answer(served: Served) -> list[dict[str, Any]]:
        model = served.model
        _check_line(served, text, bounds, LONGEST_EXPLAINED if explain else LONGEST_LINE)
        _check_reading(text, len(candidates))
        filled = fill(model.directions, model.tokenizer, text, candidates, **settings)
        reasons = _reasons(served, text, filled) if explain else None
        found = records(served.name, Answers(filled, why=reasons), top)
        for row in found:
            if unknown := unknown_words(model.tokenizer, row["text"]):
                row["unknown"] = unknown
        return found

    return Question(fields, models, name, answer)


def why_answer(body: Any, models: Models, bounds: Limits, name: str | None = None) -> Question:
    """The words of a line that support an answer in its blank: those of `lmkit fill --why`, with their places."""
    fields = Fields(body, ("model", "text", "answer", "candidates", "max_tokens", "normalize"))
    text, candidates, settings = _blank(fields, bounds)
    wanted = fields.text("answer")
    if wanted is not None and (not wanted.strip() or len(wanted.splitlines()) > 1):
        raise invalid("answer", "is empty or has a line end; give words")

    def answer(served: Served) -> list[dict[str, Any]]:
        model = served.model
        _check_line(served, text, bounds, LONGEST_EXPLAINED)
        _check_reading(text, len(candidates))
        given = candidates
        if wanted is not None:
            given = candidates or fill(model.directions, model.tokenizer, text, **settings).candidates
            given = list(dict.fromkeys([wanted.strip(), *(one.strip() for one in given)]))
        filled = fill(model.directions, model.tokenizer, text, given, **settings)
        if wanted is not None:
            own = filled.candidates.index(wanted.strip())
            order = [own, *(place for place in range(len(filled.candidates)) if place != own)]
            filled = replace(
                filled,
                candidates=[filled.candidates[place] for place in order],
                scores=[filled.scores[place] for place in order],
                shares=[filled.shares[place] for place in order],
                sums=[filled.sums[place] for place in order],
            )
        reasons = _reasons(served, text, filled)
        return [
            {
                "run": served.name,
                "answer": reasons.answer,
                "space": reasons.space,
                "normalize": reasons.normalize,
                "share": filled.shares[0],
                "words": _parts(reasons.words),
                "clauses": _parts(reasons.clauses),
            }
        ]

    return Question(fields, models, name, answer)


def next_tokens(body: Any, models: Models, bounds: Limits, name: str | None = None) -> Question:
    """The distribution of the next token after a text, or after exactly `context` tokens."""
    fields = Fields(body, ("model", "text", "k", "context", "start"))
    text = fields.text("text") or ""
    check_length("text", text, bounds)
    k, start = fields.whole("k", 10, 1, limits.MOST_NEXT), fields.flag("start", True)
    context = None if fields.get("context") is None else fields.whole("context", 0, 0)

    def answer(served: Served) -> list[dict[str, Any]]:
        continuations = served.can_continue()
        model, speller = continuations.model, served.speller
        ids = speller.read(text, pieces=False).ids
        check_tokens("text", len(ids), bounds)
        if context is not None:
            ids = ids[max(0, len(ids) - context) :]
        state, read = continuations.state_after(ids, start=start and context is None)
        row = model.next_log_probs(state)[0].cpu().double()
        if bool(row.isnan().any()):
            raise ApiError(400, f"{served.name}: the model gives log-probabilities that are not numbers")
        values, tokens = row.topk(min(k, len(row)))
        possible = values > -math.inf
        probabilities = row.exp()
        bits = -torch.special.xlogy(probabilities, probabilities).sum().item() / math.log(2)
        return [
            {
                "run": served.name,
                "unit": served.model.tokenizer.unit,
                "read": read,
                "entropy": bits,
                "tokens": [
                    {
                        "text": _shown(served, token),
                        "id": token,
                        "log_prob": log_prob,
                        "probability": math.exp(log_prob),
                    }
                    for token, log_prob in zip(
                        tokens[possible].tolist(), values[possible].tolist(), strict=True
                    )
                ],
                "unknown": [
                    word
                    for line in text.split(LINE_END)
                    for word in unknown_words(served.model.tokenizer, line)
                ],
            }
        ]

    return Question(fields, models, name, answer)


def _shown(served: Served, token: int) -> str:
    """A token for people: the unknown one by name, a word without the space before it."""
    speller = served.speller
    if token == speller.unk:
        return "<unk>"
    text = speller.name(token, starts_line=False)
    return text.removeprefix(" ") if served.model.tokenizer.unit == "word" else text


def _blank(fields: Fields, bounds: Limits) -> tuple[str, list[str], dict[str, Any]]:
    """The line with a blank, the candidates, and how to rank them."""
    text = fields.text("text")
    if text is None:
        raise invalid("text", "is missing: give a line with a blank, ____")
    check_length("text", text, bounds)
    candidates = fields.texts("candidates") or []
    if len(candidates) > MOST_CANDIDATES:
        raise too_long("candidates", f"{len(candidates)} are more than {MOST_CANDIDATES}")
    for candidate in candidates:
        check_length("candidates", candidate, bounds)
    normalize = (
        None if fields.get("normalize") is None else fields.one_of("normalize", NORMALIZATIONS, "none")
    )
    return text, candidates, {
        "max_tokens": fields.whole("max_tokens", 3, 1, LONGEST_PROPOSAL),
        "normalize": normalize,
    }  # fmt: skip


def _reasons(served: Served, text: str, filled: Filled) -> Why:
    """The words that the best candidate depends on; 413 if too much has to be read for it."""
    tokenizer, blank = served.model.tokenizer, filled.blank
    sides = (blank.before, blank.after)
    left_out = sum(len(units(tokenizer, side)) + len(clauses(side)) for side in sides)
    _check_reading(text, (1 + left_out) * len(filled.candidates))
    return why(served.model.directions, tokenizer, filled)


def _check_reading(text: str, times: int) -> None:
    """413 for a line that would be read too often."""
    if times * len(text) > MOST_READ:
        raise too_long(
            "text",
            f"this line of {len(text):,} characters would be read {times:,} times; give a shorter one, or fewer "
            "candidates",
        )


def _parts(parts: Sequence[Part | None]) -> list[dict[str, Any] | None]:
    return [
        part
        and {
            "text": part.text,
            "start": part.start,
            "space": part.space,
            "cost": part.cost,
            "share_cost": part.share_cost,
        }
        for part in parts
    ]


def _lines(fields: Fields, bounds: Limits) -> list[str]:
    """The lines of a text, or of a list of lines."""
    given = fields.get("text")
    if given is None:
        raise invalid("text", "is missing: give a text, or a list of lines")
    if isinstance(given, str):
        lines = checked_text("text", given).removesuffix(LINE_END).split(LINE_END) if given else []
    else:
        lines = fields.texts("text") or []
    if any(LINE_END in line for line in lines):
        raise invalid("text", "a line of the list has a line end; split it, or give one text")
    if not lines:
        raise invalid("text", "has no lines")
    if sum(len(line) + 1 for line in lines) > limits.CHARACTERS * bounds.max_prompt:
        check_length("text", LINE_END.join(lines), bounds)
    return lines


def _check_lines(served: Served, lines: list[str], bounds: Limits) -> None:
    """413 for too many tokens."""
    check_tokens("text", sum(len(served.model.tokenizer.ids(line)) + 1 for line in lines), bounds)


def _check_line(served: Served, text: str, bounds: Limits, most: int) -> None:
    """413 for a line with a blank of too many tokens."""
    count = len(served.model.tokenizer.ids(text.replace(LINE_END, " ")))
    check_tokens("text", count, bounds)
    if count > most:
        raise too_long(
            "text", f"{count:,} tokens are too many for a line with a blank; give at most {most:,}"
        )
