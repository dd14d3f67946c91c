"""Mix causal models into a new run, with the weights that fit a held-out text best."""

import math
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from lmkit import runs
from lmkit.contracts import Progress
from lmkit.corpus.readers import Text
from lmkit.errors import UsageError
from lmkit.evaluation.interpolation import em
from lmkit.options import choose
from lmkit.scoring.measured_lines import measured_lines
from lmkit.studies.inputs import Models, Paths, as_text, labelled, loaded, without_progress

MIXTURE = "interpolated"
"""The model that holds the parts and their weights."""


@dataclass(frozen=True)
class Mixture:
    """A mixture of models, in the run `run`.

    weights, perplexities: of each part, by its label. perplexity: of the mixture, on the text that the weights were
    fitted on. tokens: of this text. steps: of EM.
    """

    run: Path
    weights: dict[str, float]
    perplexities: dict[str, float]
    perplexity: float
    tokens: int
    steps: int


def interpolate(
    models: Models,
    text: Paths | Text,
    out: str | PathLike[str],
    *,
    overwrite: bool = False,
    device: str = "auto",
    progress: Progress = without_progress,
    **data: Any,
) -> Mixture:
    """Mix two causal models or more over one vocabulary into a new run in the directory `out`.

    text: held-out text, on which no model was trained; data: options of reading it.
    Raises UsageError for a single model, for models that cannot be mixed and if `out` is taken.
    """
    out = Path(out)
    runs.check_free(out, overwrite=overwrite)
    if len(labelled(models)) < 2:
        raise UsageError("a mixture needs at least two runs; give two or more")
    found = loaded(models, device=device)
    parts = [model.run for model in found.values()]
    chosen = choose("model", MIXTURE, "model")
    kind = chosen.load()
    kind.combine(parts, [1 / len(parts)] * len(parts))  # reports at once runs that cannot be mixed
    held_out = as_text(text, data)
    columns = []
    for label, model in found.items():
        lines = progress(held_out, total=None, label=f"scoring {label}")
        tables = [figures[:, 0] for _, _, figures in measured_lines(model.causal, model.tokenizer, lines)]
        columns.append(np.concatenate(tables))
    log_probs = np.stack(columns)
    *_, (weights, mean) = steps = list(em(log_probs))
    weights = weights / weights.sum()
    runs.make_run(
        out,
        kind.combine(parts, weights.tolist()),
        parts[0].tokenizer,
        model_choice=chosen,
        tokenizer_choice=parts[0].tokenizer_choice,
        data={"description": f"a mixture of {', '.join(found)}, fitted on {held_out.describe()}"},
        overwrite=overwrite,
    )
    return Mixture(
        out,
        dict(zip(found, weights.tolist(), strict=True)),
        dict(zip(found, np.exp(-log_probs.mean(1)).tolist(), strict=True)),
        math.exp(-mean),
        log_probs.shape[1],
        len(steps),
    )
