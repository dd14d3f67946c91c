"""Mix causal models into a new run, with the weights that fit a held-out text best, and perhaps a cache."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from lmkit.errors import UsageError
from lmkit.evaluation.cache_fit import THETAS, columns_of, fit_cache
from lmkit.evaluation.interpolation import em
from lmkit.options import Chosen, choose, resolve, to_table
from lmkit.scoring.measured_lines import measured_lines
from lmkit.studies.inputs import Models, Paths, as_text, labelled, loaded, without_progress

MIXTURE = "interpolated"
"""The model that holds the parts and their weights."""
CACHED = "cached"
"""The model that holds another and the settings of its cache."""


@dataclass(frozen=True)
class Mixture:
    """A mixture of models, in the run `run`.

    weights, perplexities: of each part, by its label; the weights sum to one with that of the cache, if there is one.
    perplexity: of the mixture, on the text that the weights were fitted on. tokens: of this text. steps: of EM.
    """

    run: Path
    weights: dict[str, float]
    perplexities: dict[str, float]
    perplexity: float
    tokens: int
    steps: int
    cache: CacheOptions | None = None


def interpolate(
    models: Models,
    text: Paths | Text,
    out: str | PathLike[str],
    *,
    cache: int | None = None,
    cache_theta: float | None = None,
    overwrite: bool = False,
    device: str = "auto",
    progress: Progress = without_progress,
    **data: Any,
) -> Mixture:
    """Mix two causal models or more over one vocabulary into a new run in the directory `out`.

    text: held-out text, on which no model was trained; data: options of reading it.
    cache: add a continuous cache of this many tokens, with the features of the first model that has some. Its weight
    is fitted with those of the models, and its theta too, unless cache_theta is given. One model is enough then.
    Raises UsageError for a single model, for models that cannot be mixed and if `out` is taken.
    """
    out = Path(out)
    runs.check_free(out, overwrite=overwrite)
    if len(labelled(models)) < 2 and cache is None:
        raise UsageError(
            "a mixture needs at least two runs, or one and a cache; give two or more, or --cache 2000"
        )
    thetas = THETAS if cache_theta is None else (cache_theta,)
    if cache is not None:
        resolve(CacheOptions, {"size": cache, "theta": thetas[0]}, "cache")
    found = loaded(models, device=device)
    _check(found)
    held_out = as_text(text, data)
    log_probs, cached = _scores(found, held_out, cache, thetas, progress)
    if cache is None:
        *_, (weights, mean) = steps = list(em(log_probs))
        weights, settings, count = weights / weights.sum(), None, len(steps)
    else:
        fit = fit_cache(log_probs, cached, thetas)
        settings = CacheOptions(cache, fit.theta, float(fit.weights[-1]))
        weights, mean, count = fit.weights[:-1], fit.mean, fit.steps
    description = f"a mixture of {', '.join(found)}, fitted on {held_out.describe()}"
    _write(out, list(found.values()), weights / weights.sum(), settings, description, overwrite=overwrite)
    return Mixture(
        out,
        dict(zip(found, weights.tolist(), strict=True)),
        dict(zip(found, np.exp(-log_probs.mean(1)).tolist(), strict=True)),
        math.exp(-mean),
        log_probs.shape[1],
        count,
        settings,
    )


def _check(models: Mapping[str, Model]) -> None:
    """Raise UsageError for models that cannot be mixed."""
    for label, model in models.items():
        if model.adaptation != NO_ADAPTATION:
            raise UsageError(
                f"{label}: a mixture is made of runs, without a cache of `load`; load it without"
            )
    parts = [model.run for model in models.values()]
    choose("model", MIXTURE, "model").load().combine(parts, [1 / len(parts)] * len(parts))


def _scores(
    models: Mapping[str, Model], text: Text, cache: int | None, thetas: Sequence[float], progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """(models, tokens) log-probabilities, and (thetas, tokens) those of the cache; of no rows without one."""
    with_keys = (
        label
        for label, model in models.items()
        if model.causal.key(model.causal.initial_state(1)) is not None
    )
    keyed = next(with_keys, next(iter(models)))
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
    return np.stack(rows), cached


def _write(
    out: Path,
    models: Sequence[Model],
    weights: np.ndarray,
    cache: CacheOptions | None,
    description: str,
    *,
    overwrite: bool,
) -> None:
    """The run of the mixture; with a cache, it contains that of the mixture without one."""
    parts = [model.run for model in models]
    mixture = choose("model", MIXTURE, "model")
    if cache is None:
        _make(out, mixture, mixture.load().combine(parts, weights.tolist()), parts, description, overwrite)
        return
    chosen = choose("model", {"name": CACHED, **to_table(cache)}, "model")
    with runs.staging(out) as folder:
        inner = parts[0]
        if len(parts) > 1:
            _make(
                folder / "inner", mixture, mixture.load().combine(parts, weights.tolist()), parts, description
            )
            inner = runs.load_run(folder / "inner")
        _make(
            out, chosen, chosen.load().around(inner, cache), parts, f"{description}, with a cache", overwrite
        )


def _make(
    out: Path,
    chosen: Chosen,
    model: Any,
    parts: Sequence[runs.LoadedRun],
    description: str,
    overwrite: bool = False,
) -> None:
    runs.make_run(
        out, model, parts[0].tokenizer,
        model_choice=chosen, tokenizer_choice=parts[0].tokenizer_choice,
        data={"description": description}, overwrite=overwrite,
    )  # fmt: skip
