"""Continuing a prompt: from text to a state, through a decoder, back to text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from lmkit import states
from lmkit.contracts import Decoder, Hypothesis, LanguageModel, Tokenizer
from lmkit.errors import PluginError

LINE_END = "\n"


@dataclass(frozen=True)
class Continuation:
    """What a model wrote after a prompt; log_prob: natural, under the model itself."""

    text: str
    log_prob: float


@torch.no_grad()
def continue_text(
    model: LanguageModel,
    tokenizer: Tokenizer,
    decoder: Decoder,
    prompt: str = "",
    *,
    max_tokens: int = 50,
    num: int = 1,
    seed: int | None = None,
) -> list[Continuation]:
    """`num` continuations of `prompt`, which may have several lines.

    Where the model's state starts anew at each line a continuation ends with the line; else a line end is a
    token like others. A decoder without chance gives as many as it finds, at most `num`. seed: None draws a
    new one.
    """
    eos = tokenizer.vocabulary.eos_id
    ids = prompt_ids(tokenizer, prompt)
    by_line = model.reset_policy == "line"
    # Of a prompt of several lines such a model remembers the last alone.
    read = ids[len(ids) - ids[::-1].index(eos) :] if by_line and eos in ids else ids
    state = model.initial_state(1)
    if read:
        _, state = model.log_probs(torch.tensor([read], device=model.device), state)
    rows = 1 if decoder.deterministic else num
    state = states.take(state, torch.zeros(rows, dtype=torch.long, device=model.device))
    # On the CPU whatever the model's device is, so that a seed gives the same text everywhere.
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    ends = frozenset([eos]) if by_line else frozenset()
    hypotheses = decoder.generate(model, state, max_tokens=max_tokens, stop_ids=ends, generator=generator)[
        :num
    ]
    if wrong := next((type(h) for h in hypotheses if not isinstance(h, Hypothesis)), None):
        raise PluginError(
            f"the decoder {type(decoder).__module__}:{type(decoder).__qualname__} gave {wrong.__name__} objects, "
            "not Hypothesis objects; report it to its author"
        )
    before = decode_lines(tokenizer, ids)
    return [
        Continuation(decode_lines(tokenizer, [*ids, *h.ids])[len(before) :], h.log_prob) for h in hypotheses
    ]


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The ids of a prompt: `</s>` ends each of its lines but the last."""
    ids: list[int] = []
    for number, line in enumerate(prompt.split(LINE_END)):
        if number:
            ids.append(tokenizer.vocabulary.eos_id)
        ids += tokenizer.ids(line).tolist()
    return ids


def decode_lines(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of ids, each `</s>` a line end."""
    return LINE_END.join(tokenizer.decode(line) for line in _split(ids, tokenizer.vocabulary.eos_id))


def _split(ids: Iterable[int], at: int) -> list[list[int]]:
    lines: list[list[int]] = [[]]
    for token in ids:
        if token == at:
            lines.append([])
        else:
            lines[-1].append(token)
    return lines
