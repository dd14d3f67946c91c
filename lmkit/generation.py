"""Continuing a prompt: from text to a state, through a decoder, back to text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from lmkit import states
from lmkit.contracts import Decoder, LanguageModel, Tokenizer

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
    token like others. seed: None draws a new one.
    """
    eos = tokenizer.vocabulary.eos_id
    ids = prompt_ids(tokenizer, prompt)
    state = model.initial_state(1)
    if ids:
        _, state = model.log_probs(torch.tensor([ids], device=model.device), state)
    state = states.take(state, torch.zeros(num, dtype=torch.long, device=model.device))
    generator = torch.Generator(device=model.device)
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    ends = frozenset([eos]) if model.reset_policy == "line" else frozenset()
    hypotheses = decoder.generate(model, state, max_tokens=max_tokens, stop_ids=ends, generator=generator)
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
