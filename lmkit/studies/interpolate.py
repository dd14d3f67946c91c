"""Mix causal models into a new run, with the weights that fit a held-out text best, or given ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import tee
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from lmkit import runs
from lmkit.adaptation.adapt import NO_ADAPTATION
from lmkit.adaptation.options import CacheOptions
from lmkit.api import Model
from lmkit.contracts import Progress
from lmkit.corpus.readers import Text
from lmkit.errors import DataError, UsageError, suggest
from lmkit.evaluation.cache_fit import THETAS, columns_of, fit_cache
from lmkit.evaluation.interpolation import em
from lmkit.options import Chosen, choose, resolve, to_table
from lmkit.perplexity import perplexity
from lmkit.scoring.measured_lines import NO_LINES, measured_lines
from lmkit.scoring.strings import EVENTS, events, string_scores
from lmkit.studies.inputs import Models, Paths, as_text, labelled, loaded, usual_progress

MIXTURE = "interpolated"
"""The model that holds the parts and their weights."""
STRINGS = "interpolated-strings"
"""The same for parts with different tokenizers."""
BYTES = "byte"
"""The tokenizer of such a mixture."""
BY = ("token", *EVENTS)
"""What is mixed: the probabilities of tokens, of words or of lines."""
ROUNDED = 1e-3
"""Given weights may differ from a sum of 1 by this much, such as 0.333,0.333,0.333; they are divided by it."""
CACHED = "cached"
"""The model that holds another and the settings of its cache."""


@dataclass(frozen=True)
class Mixture:
    """A mixture of models, in the run `run`.

    weights, perplexities: of each part, by its label; the weights sum to one with that of the cache, if there is one.
    perplexity: of the mixture, on the text. tokens: of this text; by word and by line, its bytes and line ends.
    Without a text there are no perplexities and tokens. steps: of EM; 0 for given weights. by: what was mixed.
    """

    run: Path
    weights: dict[str, float]
    perplexities: dict[str, float]
    perplexity: float | None
    tokens: int
    steps: int
    cache: CacheOptions | None = None
    by: str = "token"


def interpolate(
    models: Models,
    text: Paths | Text | None,
    out: str | PathLike[str],
    *,
    by: str = "token",
    weights: Sequence[float] | None = None,
    cache: int | None = None,
    cache_theta: float | None = None,
    overwrite: bool = False,
    device: str = "auto",
    progress: Progress = usual_progress,
    **data: Any,
) -> Mixture:
    """Mix two causal models or more into a new run in the directory `out`.

    text: held-out text, on which no model was trained; data: options of reading it. It may be None if weights are
    given: they are used as they are, and nothing is fitted.
    by: what is mixed. "token": the models have one vocabulary. "word", "line": any tokenizers
    (`lmkit.scoring.strings` says which events these are).
    cache: add a continuous cache of this many tokens, with the features of the first model that has some. Its weight
    is fitted with those of the models, and its theta too, unless cache_theta is given. One model is enough then.
    Raises UsageError for a single model, for models that cannot be mixed, invalid weights and if `out` is taken.
    """
    out = Path(out)
    runs.check_free(out, overwrite=overwrite)
    count = len(labelled(models))
    if count < 2 and cache is None:
        raise UsageError(
            "a mixture needs at least two runs, or one and a cache; give two or more, or --cache 2000"
        )
    shares = None if weights is None else _checked(weights, count)
    _check_settings(by, fixed=shares is not None, text=text is not None, cache=cache is not None)
    thetas = THETAS if cache_theta is None else (cache_theta,)
    if cache is not None:
        resolve(CacheOptions, {"size": cache, "theta": thetas[0]}, "cache")
    found = loaded(models, device=device)
    _check(found, by)
    held_out = None if text is None else as_text(text, data)
    scored = None
    if held_out is not None and by == "token":
        scored = _token_scores(found, held_out, cache, thetas, progress)
    elif held_out is not None:
        scored = _string_scores(found, held_out, by, progress)
    fit = _given(shares, scored) if shares is not None else _fitted(scored, cache, thetas)
    origin = (
        "with given weights" if held_out is None or shares is not None else f"fitted on {held_out.describe()}"
    )
    description = f"a mixture of {', '.join(found)}{'' if by == 'token' else f' by {by}'}, {origin}"
    _write(out, list(found.values()), by, fit, description, overwrite=overwrite)
    return Mixture(
        out,
        dict(zip(found, fit.weights.tolist(), strict=True)),
        {} if scored is None else dict(zip(found, scored.perplexities().tolist(), strict=True)),
        None if scored is None or fit.mean is None else scored.perplexity(fit.mean),
        0 if scored is None else scored.tokens,
        fit.steps,
        fit.cache,
        by,
    )


@dataclass(frozen=True)
class _Scored:
    """Log-probabilities of the events of a text.

    log_probs: (models, events). cached: (thetas, events), those of a cache; of no rows without one.
    tokens: of the mixture in this text.
    """

    log_probs: np.ndarray
    cached: np.ndarray
    tokens: int

    def perplexities(self) -> np.ndarray:
        """(models,) per token of the mixture."""
        return np.array([self.perplexity(mean) for mean in self.log_probs.mean(1)])

    def perplexity(self, mean: float) -> float:
        """The perplexity per token, given the mean log-probability of an event."""
        return perplexity(-mean * self.log_probs.shape[1] / self.tokens)


@dataclass(frozen=True)
class _Fit:
    """weights: (models,). mean: log-probability of an event under the mixture, if there is a text. steps: of EM."""

    weights: np.ndarray
    mean: float | None
    cache: CacheOptions | None = None
    steps: int = 0


def _fitted(scored: _Scored | None, cache: int | None, thetas: Sequence[float]) -> _Fit:
    """The weights, and the settings of a cache, that fit the events best."""
    assert scored is not None
    if cache is None:
        *_, (weights, mean) = steps = list(em(scored.log_probs))
        return _Fit(weights / weights.sum(), mean, None, len(steps))
    fit = fit_cache(scored.log_probs, scored.cached, thetas)
    settings = CacheOptions(cache, fit.theta, float(fit.weights[-1]))
    return _Fit(fit.weights[:-1], fit.mean, settings, fit.steps)


def _given(weights: np.ndarray, scored: _Scored | None) -> _Fit:
    """Weights that are given, and how well they fit the events."""
    if scored is None:
        return _Fit(weights, None)
    with np.errstate(divide="ignore"):
        joint = np.log(weights)[:, None] + scored.log_probs
    return _Fit(weights, float(np.logaddexp.reduce(joint).mean()))


def _checked(weights: Sequence[float], count: int) -> np.ndarray:
    """Given weights; UsageError unless there is one for each of `count` models, and they sum to 1."""
    found = np.array(weights, np.float64)
    if found.shape != (count,):
        raise UsageError(
            f"--weights has {len(weights)} numbers for {count} runs; give one each, in the order of the runs"
        )
    if not (np.isfinite(found).all() and (found >= 0).all() and abs(found.sum() - 1) <= ROUNDED):
        raise UsageError(
            f"--weights {','.join(f'{w:g}' for w in weights)}: weights must be at least 0 and sum to 1; give other "
            "numbers, or leave it out to fit them on a text"
        )
    return found / found.sum()


def _check_settings(by: str, *, fixed: bool, text: bool, cache: bool) -> None:
    """Raise UsageError for settings that contradict each other."""
    if by not in BY:
        raise UsageError(f"by is '{by}'; {suggest(by, BY)}")
    if not text and not fixed:
        raise UsageError(
            "weights are fitted on held-out text, which is missing: give TEXT after the runs, or --weights 0.3,0.7"
        )
    if cache and fixed:
        raise UsageError(
            "--weights are used as given, but the weight of a cache is fitted: first mix with --weights, then add the "
            "cache to the mixture: lmkit interpolate MIXTURE valid.txt --cache 2000 --out DIR"
        )
    if cache and by != "token":
        raise UsageError(
            f"a cache remembers tokens, and a mixture by {by} has none; leave out --cache or --by"
        )


def _check(models: Mapping[str, Model], by: str) -> None:
    """Raise UsageError for models that cannot be mixed."""
    for label, model in models.items():
        if model.adaptation != NO_ADAPTATION:
            raise UsageError(
                f"{label}: a mixture is made of runs, without a cache of `load`; load it without"
            )
    parts = [model.run for model in models.values()]
    _combined(parts, [1 / len(parts)] * len(parts), by)


def _combined(parts: Sequence[runs.LoadedRun], weights: list[float], by: str) -> tuple[Chosen, Any]:
    """The choice of the mixture's model, and the model."""
    chosen = choose("model", MIXTURE if by == "token" else STRINGS, "model")
    if by == "token":
        return chosen, chosen.load().combine(parts, weights)
    return chosen, chosen.load().combine(parts, weights, by, _bytes()[1].vocabulary)


def _bytes() -> tuple[Chosen, Any]:
    """The choice of the tokenizer of bytes, and the tokenizer."""
    chosen = choose("tokenizer", BYTES, "tokenizer")
    return chosen, chosen.load().fit((), chosen.options)


def _string_scores(models: Mapping[str, Model], text: Text, by: str, progress: Progress) -> _Scored:
    """The log-probabilities of the words, or lines, of a text."""
    copies = tee(progress(text, total=None, label="scoring all"), len(models))
    streams = [
        string_scores(model.causal, model.run.tokenizer, lines, by)
        for model, lines in zip(models.values(), copies, strict=True)
    ]
    found, tokens = [], 0
    for scores in zip(*streams, strict=True):
        found.append(events(scores))
        line = scores[0].line
        tokens += line.num_bytes + (not line.continues)
    if not found:
        raise DataError(NO_LINES)
    log_probs = np.concatenate(found, 1)
    return _Scored(log_probs, np.zeros((0, 0)), tokens)


def _token_scores(
    models: Mapping[str, Model], text: Text, cache: int | None, thetas: Sequence[float], progress: Progress
) -> _Scored:
    """The log-probabilities of the tokens of a text, and those of the cache."""
    keyed = None if cache is None else _keyed(models)
    rows, cached = [], np.zeros((0, 0))
    for label, model in models.items():
        lines = progress(text, total=None, label=f"scoring {label}")
        if cache is not None and label == keyed:
            own, *columns = columns_of(model.causal, cache, thetas, model.tokenizer, lines)
            rows.append(own)
            cached = np.stack(columns)
            continue
        tables = [figures[:, 0] for _, _, figures in measured_lines(model.causal, model.tokenizer, lines)]
        rows.append(np.concatenate(tables))
    return _Scored(np.stack(rows), cached, len(rows[0]))


def _keyed(models: Mapping[str, Model]) -> str:
    """The first model with features for a cache, or else the first."""
    with_keys = (
        label
        for label, model in models.items()
        if model.causal.key(model.causal.initial_state(1)) is not None
    )
    return next(with_keys, next(iter(models)))


def _write(
    out: Path, models: Sequence[Model], by: str, fit: _Fit, description: str, *, overwrite: bool
) -> None:
    """The run of the mixture; with a cache, it contains that of the mixture without one."""
    parts = [model.run for model in models]
    tokenizer = (parts[0].tokenizer_choice, parts[0].tokenizer) if by == "token" else _bytes()
    # With a cache, the weights of the parts and of the cache sum to one.
    weights = (fit.weights / fit.weights.sum()).tolist()
    if fit.cache is None:
        _make(out, _combined(parts, weights, by), tokenizer, description, overwrite)
        return
    chosen = choose("model", {"name": CACHED, **to_table(fit.cache)}, "model")
    with runs.staging(out) as folder:
        inner = parts[0]
        if len(parts) > 1:
            _make(folder / "inner", _combined(parts, weights, by), tokenizer, description)
            inner = runs.load_run(folder / "inner")
        model = chosen, chosen.load().around(inner, fit.cache)
        _make(out, model, tokenizer, f"{description}, with a cache", overwrite)


def _make(
    out: Path,
    model: tuple[Chosen, Any],
    tokenizer: tuple[Chosen, Any],
    description: str,
    overwrite: bool = False,
) -> None:
    runs.make_run(
        out, model[1], tokenizer[1],
        model_choice=model[0], tokenizer_choice=tokenizer[0],
        data={"description": description}, overwrite=overwrite,
    )  # fmt: skip
