"""Measure the accuracy of models on SyntaxGym suites."""

from collections.abc import Sequence

from lmkit.contracts import Progress
from lmkit.evaluation.syntaxgym import Suite, SuiteResult, evaluate_suite
from lmkit.studies.inputs import Models, loaded, usual_progress


def syntaxgym(
    models: Models,
    suites: Sequence[Suite],
    *,
    device: str = "auto",
    progress: Progress = usual_progress,
) -> dict[str, list[SuiteResult]]:
    """The results on suites of each model, by label; `evaluation.syntaxgym.read_suite` reads a suite from a file."""
    return {
        label: [
            evaluate_suite(model.causal, model.tokenizer, suite)
            for suite in progress(suites, total=len(suites), label=label)
        ]
        for label, model in loaded(models, device=device).items()
    }
