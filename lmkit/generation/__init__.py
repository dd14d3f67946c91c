"""Continue prompts: from text to a state, through a decoder, back to text."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmkit import states
from lmkit.blame import described, remedy_for
from lmkit.contracts import Decoder, Hypothesis, LanguageModel, State, Tokenizer
from lmkit.errors import PluginError, UsageError
from lmkit.generation.text import GrowingText, decode_lines, prompt_ids

if TYPE_CHECKING:
    import torch

STOPS = ("line",)
"""The places where a continuation may end, besides its maximum length."""

BATCH = 32
"""The number of texts to continue at once."""


@dataclass(frozen=True)
class Continuation:
    """A continuation of a prompt; log_prob: natural logarithm, under the unmodified model."""

    text: str
    log_prob: float


@dataclass(frozen=True)
class Settings:
    """Settings for continuing prompts.

    num: number of continuations of each; a deterministic decoder may return fewer.
    seed: every prompt is continued as if it were the only one with this seed; None draws new ones.
    stop: "line" ends a continuation with the line. None: only if the model's state is reset at each line.
    no_repeat_ngram: n, to prevent any n-gram of tokens from occurring twice in the prompt and its continuation.
    """

    max_tokens: int = 50
    num: int = 1
    seed: int | None = None
    stop: str | None = None
    no_repeat_ngram: int | None = None


class Generation:
    """A model, its tokenizer and a decoder that continue prompts; a prompt may have several lines.

    A line end is a token like others, unless the continuation ends there.
    """

    def __init__(
        self, model: LanguageModel, tokenizer: Tokenizer, decoder: Decoder, settings: Settings
    ) -> None:
        if settings.stop is not None and settings.stop not in STOPS:
            raise UsageError(
                f"stop is '{settings.stop}': use {' or '.join(map(repr, STOPS))}, or leave it out"
            )
        self._own = model
        self._model = model
        if settings.no_repeat_ngram is not None:
            from lmkit.generation.repeats import WithoutRepeats

            self._model = WithoutRepeats(model, settings.no_repeat_ngram)
        self._tokenizer = tokenizer
        self._decoder = decoder
        self._settings = settings
        eos = tokenizer.vocabulary.eos_id
        self._by_line = model.reset_policy == "line"
        self._stop_ids = frozenset([eos] if self._by_line or settings.stop == "line" else [])

    def one(self, prompt: str, on_text: Callable[[str], None] | None = None) -> list[Continuation]:
        """Continue a prompt. on_text: called with each piece of the first continuation's text as it is generated."""
        ids = prompt_ids(self._tokenizer, prompt)
        growing = None if on_text is None else GrowingText(self._tokenizer, ids, on_text)
        (found,) = self._continued([ids], [self._read(ids)], growing)
        if growing is not None and found:
            growing.finish(found[0].text)
        return found

    def each(self, prompts: Iterable[str]) -> Iterator[list[Continuation]]:
        """Continue prompts in order, several at once if the decoder can; each as if it were the only one."""
        rows = 1 if self._decoder.deterministic else self._settings.num
        together = self._decoder.deterministic or self._decoder.takes_generators
        prompts = iter(prompts)
        size = max(1, BATCH // rows) if together else 1
        while batch := list(itertools.islice(prompts, size)):
            ids = [prompt_ids(self._tokenizer, prompt) for prompt in batch]
            starts = [self._read(one) for one in ids]
            if len({_shapes(start) for start in starts}) == 1:
                yield from self._continued(ids, starts)
            else:
                for one, start in zip(ids, starts, strict=True):
                    yield from self._continued([one], [start])

    def _read(self, ids: list[int]) -> State:
        """The model's state after a prompt."""
        # Such a model remembers only the last line of a prompt.
        eos = self._tokenizer.vocabulary.eos_id
        read = ids[len(ids) - ids[::-1].index(eos) :] if self._by_line and eos in ids else ids
        import torch

        with torch.no_grad():
            state = self._own.initial_state(1)
            if read:
                _, state = self._own.log_probs(torch.tensor([read], device=self._own.device), state)
        return state

    def _continued(
        self, prompts: list[list[int]], starts: list[State], growing: GrowingText | None = None
    ) -> list[list[Continuation]]:
        """Continue prompts at once, given their ids and the model's states after them."""
        import torch

        settings = self._settings
        rows = 1 if self._decoder.deterministic else settings.num
        state = states.cat(starts)
        if settings.no_repeat_ngram is not None:
            from lmkit.generation.repeats import padded

            state = (state, padded(prompts).to(self._own.device))
        generators = [_generator(settings.seed) for _ in prompts]
        chance: Any = generators if self._decoder.takes_generators and len(prompts) > 1 else generators[0]
        with torch.no_grad():
            hypotheses = self._decoder.generate(
                self._model,
                states.take(
                    state, torch.arange(len(prompts), device=self._own.device).repeat_interleave(rows)
                ),
                max_tokens=settings.max_tokens,
                stop_ids=self._stop_ids,
                generator=chance,
                on_token=None
                if growing is None
                else lambda row, token: growing.add(token) if row == 0 else None,
            )
        _check(self._decoder, hypotheses)
        share = len(hypotheses) // len(prompts)
        return [
            [self._text(ids, one) for one in hypotheses[place * share : (place + 1) * share][: settings.num]]
            for place, ids in enumerate(prompts)
        ]

    def _text(self, ids: list[int], hypothesis: Hypothesis) -> Continuation:
        before = decode_lines(self._tokenizer, ids)
        whole = decode_lines(self._tokenizer, [*ids, *hypothesis.ids])
        return Continuation(whole[len(before) :], hypothesis.log_prob)


def _generator(seed: int | None) -> torch.Generator:
    import torch

    # On the CPU for any device of the model, so that a seed gives the same text everywhere.
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def _shapes(state: State) -> tuple[tuple[int, ...], ...]:
    """The properties that states of one batch share: the shapes of all tensors without the batch."""
    return tuple(tuple(leaf.shape[1:]) for leaf in states.leaves(state))


def _check(decoder: Decoder, hypotheses: Sequence[object]) -> None:
    if wrong := next((type(h) for h in hypotheses if not isinstance(h, Hypothesis)), None):
        raise PluginError(
            f"{described(decoder)} returned {wrong.__name__} objects, not Hypothesis objects; {remedy_for(decoder)}"
        )
