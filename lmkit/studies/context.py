"""Measure how far back models read: perplexities by the length of the context, shuffled contexts and gradients."""

from collections.abc import Callable
from functools import partial
from typing import Any

from lmkit.api import Model
from lmkit.contracts import LanguageModel, Progress
from lmkit.corpus.readers import Text
from lmkit.errors import UsageError
from lmkit.evaluation import context_tables
from lmkit.evaluation.context import (
    LONGEST,
    SHUFFLED_CONTEXT,
    Stream,
    Watch,
    context_curve,
    read_stream,
    shuffled_curve,
)
from lmkit.evaluation.findings import Findings
from lmkit.evaluation.gradients import (
    WINDOWS,
    GradientCurves,
    gradient_curves,
    has_states,
    targets,
    untrained,
)
from lmkit.html import Html, fragment
from lmkit.recurrence import NeuralLanguageModel
from lmkit.run_paths import unique
from lmkit.studies.inputs import Models, Paths, as_text, loaded, usual_progress


class FindingsByModel(dict[str, Findings]):
    """What was found about each model, by label."""

    def html(self) -> list[Html]:
        """A section for each kind of figure; the perplexities also as a chart."""
        return context_tables.html(self)

    def _repr_html_(self) -> str:
        return fragment(*self.html())


def context(
    models: Models,
    text: Paths | Text,
    *,
    longest: int = LONGEST,
    windows: int | None = None,
    shuffle: bool = False,
    gradients: bool = True,
    device: str = "auto",
    progress: Progress = usual_progress,
    **data: Any,
) -> FindingsByModel:
    """Measure how far back models read on a text; by label, with the direction for each of an encoder.

    longest: the largest number of tokens of context. windows: number of places to measure at, at most 64 for
    gradients; None: as many as take minutes. shuffle: also shuffle the text farther back than k tokens. gradients: for
    neural models, measure how far back the gradient of a loss reaches, before and after training. data: options of
    reading the text.
    """
    if shuffle and longest < 2:
        raise UsageError(f"longest is {longest}: a single token cannot be shuffled; give 2 or more")
    read = as_text(text, data)
    found = FindingsByModel()
    for label, model in loaded(models, device=device).items():
        for direction in model.directions:
            name = unique(label if len(model.directions) == 1 else f"{label} {direction}", found)
            causal = model.directions[direction]
            stream = read_stream(causal, model.tokenizer, read, direction=direction)
            watch = partial(_watch, progress, name)
            found[name] = _measured(causal, stream, longest, windows, shuffle, watch)
            if gradients and has_states(causal):
                found[name].gradients = _gradients(model, causal, direction, stream, windows, watch)
    return found


def _watch(progress: Progress, name: str, what: str) -> Watch:
    return lambda items: progress(items, total=len(items), label=f"{name}: {what}")


def _measured(
    causal: LanguageModel,
    stream: Stream,
    longest: int,
    windows: int | None,
    shuffle: bool,
    watch: Callable[[str], Watch],
) -> Findings:
    curve = context_curve(causal, stream, longest=longest, windows=windows, watch=watch("contexts"))
    found = Findings(causal.vocabulary.fingerprint, causal.normalized, curve)
    if shuffle:
        found.shuffled = shuffled_curve(
            causal,
            stream,
            longest=min(len(curve.nats), SHUFFLED_CONTEXT),
            windows=windows,
            watch=watch("shuffled"),
        )
    return found


def _gradients(
    model: Model,
    causal: LanguageModel,
    direction: str,
    stream: Stream,
    windows: int | None,
    watch: Callable[[str], Watch],
) -> dict[str, GradientCurves]:
    """The curves of a model with states that gradients reach, before and after training."""
    places, steps = targets(stream, windows=min(windows or WINDOWS, WINDOWS))
    found = {}
    for when, one in (("before", untrained(model.run).directions[direction]), ("after", causal)):
        assert isinstance(one, NeuralLanguageModel)
        found[when] = gradient_curves(one, stream, places, steps, watch=watch(f"gradients {when} training"))
    return found
