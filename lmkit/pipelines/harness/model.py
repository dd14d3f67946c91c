"""A model for the lm-evaluation-harness: log-probabilities of texts and continuations from a causal run."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lmkit import api
from lmkit.contracts import Progress
from lmkit.errors import ModelError, UsageError, suggest
from lmkit.generation.text import LINE_END
from lmkit.pipelines import needs, run_fingerprint
from lmkit.pipelines.harness.continuations import score_continuations

# By name, so that type checkers can check this module without the library.
harness: Any = needs("lm_eval.api.model", "harness")
registry: Any = needs("lm_eval.api.registry", "harness")
tqdm: Any = needs("tqdm", "harness")

__all__ = ["LmkitLM"]

BATCH_SIZE = 32
MAX_TOKENS = 256
"""The harness's own limit where a task gives none."""
SAMPLING = ("temperature", "top_k", "top_p", "min_p")
"""Settings of a task's generation that are options of the decoder `sample`."""
GENERATION = ("until", "max_gen_toks", "do_sample", *SAMPLING)


@registry.register_model("lmkit")
class LmkitLM(harness.LM):
    """A causal run as a model of the harness: `lm_eval.simple_evaluate(LmkitLM("runs/gru"), tasks=[...])`.

    run: the directory of a run of any causal model, n-grams included. device: as in `lmkit.load`; the harness's
    default, "cuda:0", is "auto" without CUDA. batch_size: texts scored at once; "auto": 32. split_unknown: as in
    `lmkit.load`. max_batch_size is ignored.
    Raises UsageError for other arguments, ModelError for an encoder and as `lmkit.load` does.
    """

    def __init__(
        self,
        run: str | Path | None = None,
        *,
        device: str | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        split_unknown: str = "auto",
        **unknown: Any,
    ) -> None:
        super().__init__()
        for name in unknown:
            raise UsageError(f"--model_args {name}=...: {suggest(name, ('run', 'split_unknown', 'device'))}")
        if run is None:
            raise UsageError("the model lmkit needs a run: give --model_args run=DIRECTORY")
        if device == "cuda:0" and not torch.cuda.is_available():
            device = None
        self.run = Path(str(run))
        self.model = api.load(self.run, device=device or "auto", split_unknown=split_unknown)
        self.causal = self.model.causal
        self.batch_size = _batch_size(batch_size)
        self._device = self.model.device

    def get_model_info(self) -> dict[str, Any]:
        """Facts for the harness's results: the number of parameters, and a hash that identifies the run."""
        return {
            "model_num_parameters": self.model.parameter_count(),
            "model_sha": run_fingerprint(self.run),
        }

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """For each (context, continuation), its natural log-probability and whether greedy decoding would give it.

        The whole text is read from the beginning of a text, and its tokens that hold characters of the continuation
        are scored (`continuations.rows_of`). Raises ModelError if a score is not a number.
        """
        found = score_continuations(
            self.causal,
            self.model.tokenizer,
            [request.args for request in requests],
            batch_size=self.batch_size,
            progress=_bar(disable_tqdm),
        )
        return self._kept("loglikelihood", requests, found)

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """For each (text,), the natural log-probability behind the bits per byte of `lmkit eval`.

        It includes the end of every line, also of the last, and the spelling of unknown words. An empty text has 0.
        Raises ModelError where `lmkit eval` withholds bits per byte, except for a probability of zero: -inf.
        """
        bar = _bar(disable_tqdm)(requests, total=len(requests), label="scoring texts")
        return self._kept("loglikelihood_rolling", requests, [self._rolling(*one.args) for one in bar])

    def _rolling(self, text: str) -> float:
        if not text:
            return 0.0
        score = self.model.score(text, batch_size=self.batch_size)
        if score.bits_per_byte is not None and score.bits is not None:
            return -score.bits * math.log(2)
        if score.log_prob == -math.inf:
            return score.log_prob
        raise ModelError(f"{self.run}: no log-probability of a text: {score.withheld['bits_per_byte']}")

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """The continuation of each (context, settings), cut before the first of the strings in `until`.

        settings: until, max_gen_toks, do_sample, temperature, top_k, top_p, min_p. Text that is not sampled is
        generated greedily. Raises UsageError for other settings.
        """
        groups: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(repr(request.args[1]), []).append(place)
        found = [""] * len(requests)
        for places in groups.values():
            until, options = _generation(requests[places[0]].args[1])
            texts = self._texts([requests[place].args[0] for place in places], options)
            shown = _bar(disable_tqdm)(texts, total=len(places), label="generating")
            for place, text in zip(places, shown, strict=True):
                found[place] = text[: min((text.find(end) for end in until if end in text), default=None)]
        return self._kept("generate_until", requests, found)

    def _texts(self, prompts: Sequence[str], options: Mapping[str, Any]) -> Iterator[str]:
        if options["decoder"] == "greedy":
            return (texts[0].text for texts in self.model.generate_each(prompts, **options))
        # A seed for each, from the generator that the harness seeds: repeats of a prompt differ.
        seeds = (int(torch.randint(2**31, ())) for _ in prompts)
        pairs = zip(prompts, seeds, strict=True)
        return (self.model.generate(prompt, seed=seed, **options)[0].text for prompt, seed in pairs)

    def _kept(self, kind: str, requests: Sequence[Any], found: list[Any]) -> list[Any]:
        """The answers, which go into the harness's cache too."""
        for request, answer in zip(requests, found, strict=True):
            self.cache_hook.add_partial(kind, request.args, answer)
        return found


def _bar(disabled: bool) -> Progress:
    def progress(items: Iterable[Any], *, total: int | None, label: str) -> Iterable[Any]:
        return tqdm.tqdm(items, total=total, desc=label, disable=disabled)

    return progress


def _batch_size(given: int | str | None) -> int:
    """The texts of a batch; UsageError unless it is a positive number or "auto"."""
    if given is None or str(given).startswith("auto"):
        return BATCH_SIZE
    if not str(given).isdecimal() or int(given) < 1:
        raise UsageError(f"--batch_size is {given!r}: give a number from 1, or auto")
    return int(given)


def _generation(settings: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """The strings that end a text, and the arguments of `Model.generate`, for a task's settings."""
    for name in settings:
        if name not in GENERATION:
            raise UsageError(f"the task's generation_kwargs have '{name}'; {suggest(name, GENERATION)}")
    until = settings.get("until") or []
    ends = [end for end in ([until] if isinstance(until, str) else until) if end]
    options: dict[str, Any] = {
        "max_tokens": int(settings.get("max_gen_toks", MAX_TOKENS)),
        "decoder": "greedy",
    }
    if LINE_END in ends:
        options["stop"] = "line"  # no text behind it is needed
    sampling = {name: settings[name] for name in SAMPLING if settings.get(name) is not None}
    if settings.get("do_sample", sampling.get("temperature", 0) > 0):
        options |= {"decoder": "sample", **sampling}
    return ends, options
