"""`/v1/completions`: continuations of prompts, and the log-probabilities of given texts."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from lmkit.generation.text import decode_lines
from lmkit.serve import limits
from lmkit.serve.batches import Group, Settings
from lmkit.serve.engine import Engine
from lmkit.serve.errors import ApiError, as_api_error, invalid, too_long
from lmkit.serve.fields import Fields, checked_text
from lmkit.serve.limits import Limits
from lmkit.serve.models import Models, Served
from lmkit.serve.spelling import Reading
from lmkit.serve.texts import Chunk

FIELDS = (
    "model", "prompt", "max_tokens", "logprobs", "echo", "stream", "stream_options", "n", "best_of", "stop",
    "temperature", "top_p", "seed", "ignore_eos", "presence_penalty", "frequency_penalty", "suffix", "logit_bias",
    "user",
)  # fmt: skip
REST_ONLY = "this model reads to the right only; /fill fills in"
MOST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Asked:
    """A checked request."""

    served: Served
    prompts: list[str] | list[list[int]]
    settings: Settings
    include_usage: bool
    every_usage: bool


def read_request(body: Any, models: Models, bounds: Limits, name: str | None = None) -> Asked:
    """Check a request's JSON; name: of the run in the address. Raises ApiError."""
    fields = Fields(body, FIELDS)
    served = models.only(fields.text("model") if name is None else name)
    served.can_continue()
    n = fields.whole("n", 1, 1, limits.CHOICES)
    if (best_of := fields.whole("best_of", n, 1, limits.CHOICES)) != n:
        raise invalid("best_of", f"is {best_of}, but n is {n}; leave it out, or give n")
    for name_ in ("presence_penalty", "frequency_penalty"):
        if fields.number(name_, 0.0, -100, 100) != 0:
            raise invalid(name_, "penalties are not supported; leave it out, or give 0")
    for name_, nothing in (("suffix", ""), ("logit_bias", {})):
        if fields.get(name_) is not None and fields.get(name_) != nothing:
            raise invalid(
                name_, f"{REST_ONLY}; leave it out" if name_ == "suffix" else f"is not supported: {REST_ONLY}"
            )
    prompts = _prompts(fields)
    if len(prompts) * n > bounds.max_queue:
        raise too_long(
            "prompt", f"{len(prompts)} prompts of {n} choices are more than {bounds.max_queue} (--max-queue)"
        )
    stream = fields.flag("stream")
    include, every = _stream_options(fields.get("stream_options"))
    settings = Settings(
        max_tokens=min(fields.whole("max_tokens", 16, 0), bounds.max_tokens),
        n=n,
        seed=None if fields.get("seed") is None else fields.whole("seed", 0, 0, MOST_SEED),
        temperature=fields.number("temperature", 1.0, 0, 1000),
        top_p=fields.number("top_p", 1.0, 0, 1),
        logprobs=_logprobs(fields),
        echo=fields.flag("echo"),
        ignore_eos=fields.flag("ignore_eos"),
        stops=_stops(fields),
        live=stream,
    )
    return Asked(served, prompts, settings, include, every)


def _prompts(fields: Fields) -> list[str] | list[list[int]]:
    """The prompts: texts, or lists of ids."""
    prompt = fields.get("prompt")
    if prompt is None:
        raise invalid("prompt", "is missing: give a text, a list of texts, of ids, or of lists of ids")
    if isinstance(prompt, str):
        return [checked_text("prompt", prompt)]
    if not isinstance(prompt, list) or not prompt:
        raise invalid("prompt", "give a text, a list of texts, of ids, or of lists of ids")
    if len(prompt) > limits.PROMPTS and not is_id(prompt[0]):
        raise too_long("prompt", f"{len(prompt)} prompts are more than {limits.PROMPTS}")
    if all(isinstance(item, str) for item in prompt):
        return [checked_text("prompt", item) for item in prompt]
    if all(map(is_id, prompt)):
        return [prompt]
    if all(isinstance(item, list) and all(map(is_id, item)) for item in prompt):
        return prompt
    raise invalid("prompt", "mixes kinds: give a text, a list of texts, of ids, or of lists of ids")


def is_id(value: Any) -> bool:
    """Whether a JSON value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def _logprobs(fields: Fields) -> int | None:
    if isinstance(fields.get("logprobs"), bool):
        raise invalid("logprobs", "is true or false; give a number of likeliest tokens, from 0")
    return None if fields.get("logprobs") is None else fields.whole("logprobs", 0, 0, limits.LOGPROBS)


def _stops(fields: Fields) -> tuple[str, ...]:
    stops = fields.texts("stop") or []
    if len(stops) > limits.STOPS or any(len(stop) > limits.LONGEST_STOP for stop in stops):
        raise too_long("stop", f"give at most {limits.STOPS} strings of {limits.LONGEST_STOP} characters")
    return tuple(stop for stop in dict.fromkeys(stops) if stop)


def _stream_options(options: Any) -> tuple[bool, bool]:
    """include_usage and continuous_usage_stats; other options of a stream change nothing."""
    if options is None:
        return False, False
    if not isinstance(options, dict):
        raise invalid("stream_options", "give an object")
    flags = [options.get(name) for name in ("include_usage", "continuous_usage_stats")]
    if any(flag not in (None, True, False) for flag in flags):
        raise invalid("stream_options", "include_usage and continuous_usage_stats are true or false")
    return bool(flags[0]), bool(flags[1])


def read_prompts(asked: Asked, bounds: Limits) -> list[tuple[Reading, int | None]]:
    """The prompts' ids, and the id with which each began, if it means "at the start"; in the engine's thread."""
    return [_read_prompt(asked, prompt, place, bounds) for place, prompt in enumerate(asked.prompts)]


def _read_prompt(
    asked: Asked, prompt: str | list[int], place: int, bounds: Limits
) -> tuple[Reading, int | None]:
    speller, pieces = asked.served.speller, asked.settings.echo and asked.settings.logprobs is not None
    param = "prompt" if len(asked.prompts) == 1 else f"prompt[{place}]"
    if isinstance(prompt, str):
        check_length(param, prompt, bounds)
        reading, marker = speller.read(prompt, pieces=pieces), None
    else:
        check_tokens(param, len(prompt), bounds)
        size = asked.served.vocabulary_size
        # The exported tokenizer's beginning is the second id beyond the vocabulary.
        marker = prompt[0] if prompt and prompt[0] in (speller.eos, size + 1) else None
        ids = prompt if marker is None else prompt[1:]
        check_ids(param, ids, size)
        reading = speller.read_ids(ids, pieces=pieces)
        if asked.settings.echo and not pieces:
            reading = reading._replace(text=decode_lines(speller.tokenizer, ids))
    check_tokens(param, len(reading.ids), bounds)
    return reading, marker


def check_length(param: str, text: str, bounds: Limits) -> None:
    """413 for a text that is too long to be tokenized."""
    if len(text) > limits.CHARACTERS * bounds.max_prompt:
        raise too_long(param, f"{len(text):,} characters are too many; {_longest(bounds)}")


def check_tokens(param: str, count: int, bounds: Limits) -> None:
    """413 for too many tokens."""
    if count > bounds.max_prompt:
        raise too_long(param, f"{count:,} tokens are too many; {_longest(bounds)}")


def check_ids(param: str, ids: Sequence[int], size: int) -> None:
    """400 for ids outside a vocabulary."""
    for token in ids:
        if not 0 <= token < size:
            shown = token if token.bit_length() < 64 else "too large"
            raise invalid(
                param, f"the id {shown} is outside the vocabulary of {size:,}; /tokenize gives the ids"
            )


def _longest(bounds: Limits) -> str:
    return f"the longest text has {bounds.max_prompt:,} tokens (--max-prompt)"


class Answer:
    """The choices of a request as they are generated."""

    def __init__(self, asked: Asked, readings: Sequence[tuple[Reading, int | None]], engine: Engine) -> None:
        self.asked = asked
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Event = asyncio.Event()
        self._chunks: list[tuple[int, Chunk]] = []
        self._error: ApiError | None = None
        self._open = len(readings) * asked.settings.n
        self._reserved = self._open
        self.generated = 0
        self.id = f"cmpl-{uuid.uuid4().hex}"
        self.created = now()
        self._groups = [
            Group(reading, asked.settings, self._teller(place), self._loop, marker)
            for place, (reading, marker) in enumerate(readings)
        ]
        self.prompt_tokens = sum(
            len(group.reading.ids) + (group.marker is not None) for group in self._groups
        )

    def begin(self) -> None:
        """Send the prompts to the engine; `end` must follow, unless this raises ApiError."""
        self._engine.reserve(self._reserved)
        try:
            for group in self._groups:
                self.asked.served.can_continue().submit(group)
        except ApiError:
            self.end()
            raise

    def end(self) -> None:
        """Forget what is not finished."""
        for group in self._groups:
            group.cancelled = True
        self._engine.release(self._reserved)

    def _teller(self, place: int) -> Any:
        first = place * self.asked.settings.n

        def tell(number: int, chunk: Chunk | Exception) -> None:
            if isinstance(chunk, Exception):
                self._error = as_api_error(chunk)
            else:
                self._chunks.append((first + number, chunk))
                self.generated += chunk.tokens
                self._open -= chunk.finish_reason is not None
            self._news.set()

        return tell

    async def chunks(self, deadline: float | None = None) -> AsyncIterator[tuple[int, Chunk]]:
        """The chunks of all choices with their numbers, as they come.

        Raises ApiError after a fault, TimeoutError at the deadline, in the loop's time.
        """
        while True:
            async with asyncio.timeout_at(deadline):
                await self._news.wait()
            self._news.clear()
            chunks, self._chunks = self._chunks, []
            for number, chunk in _joined(chunks):
                yield number, chunk
            if self._error is not None:
                raise self._error
            if not self._open and not self._chunks:
                return

    def usage(self) -> dict[str, Any]:
        """The tokens so far."""
        cached = sum(group.cached for group in self._groups)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.generated,
            "total_tokens": self.prompt_tokens + self.generated,
            "prompt_tokens_details": {"cached_tokens": cached},
        }

    def table(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """The answer, or a chunk of it, without its usage."""
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.asked.served.name,
            "choices": choices,
        }

    async def whole(self) -> dict[str, Any]:
        """The whole answer."""
        found: dict[int, Chunk] = {}
        async for number, chunk in self.chunks():
            found[number] = chunk if number not in found else _join(found[number], chunk)
        return {
            **self.table([choice(number, found[number]) for number in sorted(found)]),
            "usage": self.usage(),
        }


def choice(number: int, chunk: Chunk) -> dict[str, Any]:
    """A choice of an answer or of a chunk."""
    return {
        "text": chunk.text,
        "index": number,
        "logprobs": chunk.logprobs,
        "finish_reason": chunk.finish_reason,
    }


def _joined(chunks: list[tuple[int, Chunk]]) -> list[tuple[int, Chunk]]:
    """One chunk for each choice, in the order of its first."""
    found: dict[int, Chunk] = {}
    for number, chunk in chunks:
        found[number] = chunk if number not in found else _join(found[number], chunk)
    return list(found.items())


def _join(first: Chunk, second: Chunk) -> Chunk:
    logprobs = first.logprobs
    if logprobs is not None and second.logprobs is not None:
        logprobs = {name: [*values, *second.logprobs[name]] for name, values in logprobs.items()}
    return Chunk(first.text + second.text, logprobs, second.finish_reason, first.tokens + second.tokens)


def now() -> int:
    """Seconds since 1970: the time of an answer for people, not for durations."""
    return time.time_ns() // 10**9
