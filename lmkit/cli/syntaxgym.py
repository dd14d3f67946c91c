"""`lmkit syntaxgym`: measure accuracy on the predictions of SyntaxGym suites."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import asks_models, json_option, load_all, out_option, split_items
from lmkit.errors import DataError, UsageError

if TYPE_CHECKING:
    from lmkit.api import Model
    from lmkit.evaluation.syntaxgym import SuiteResult

    Results = Mapping[str, Sequence[SuiteResult]]

ALL = "all predictions"
MEAN = "mean of the suites"
HOLDS = {True: "yes", False: "no", None: "-"}
WITHHELD = "a surprisal is not a number, or two impossible regions are subtracted"


@click.command()
@asks_models
@click.option(
    "--by",
    type=click.Choice(["prediction", "item"]),
    default="prediction",
    show_default=True,
    help="Rows of the table.",
)
@out_option("Write one row per region: .tsv, .csv, .jsonl, .parquet.")
@json_option()
def command(
    items: tuple[str, ...],
    texts: tuple[str, ...],
    device: str,
    allow_nonfinite: bool,
    split_unknown: str,
    by: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Test the models in RUN on the SyntaxGym suites in TEXT: JSON files, or folders of them.

    A prediction compares the surprisals of regions of an item's sentences. Each region is scored in its sentence, given
    the regions before it. The accuracy is the percentage of items for which a prediction holds.
    """
    from lmkit.evaluation.row_files import row_format, write_rows
    from lmkit.evaluation.syntaxgym import COLUMNS, read_suite
    from lmkit.files import new_file
    from lmkit.studies.syntaxgym import syntaxgym

    form = None if out is None else row_format(out)
    asked = split_items(items, texts, "syntaxgym", what="SUITE")
    suites = [read_suite(path) for text in asked.texts for path in _files(Path(text))]
    if len({suite.name for suite in suites}) < len(suites):
        raise UsageError("two suites have the same name; give each once, or change a name in 'meta'")
    models = load_all(asked.runs, device=device, allow_nonfinite=allow_nonfinite, split_unknown=split_unknown)
    with nullcontext() if out is None else new_file(out, overwrite=True) as file:
        results = syntaxgym(models, suites, progress=console.progress)
        if file is not None and form is not None:
            every = (row for label, found in results.items() for one in found for row in one.rows(label))
            write_rows(every, COLUMNS, form, file)
    if as_json:
        facts = {label: _facts(models[label], found, by) for label, found in results.items()}
        click.echo(strict_json.report(facts))
        return
    click.echo(_by_item(results) if by == "item" else _by_prediction(results))
    for label, found in results.items():
        _say_notes(label, found)


def _files(path: Path) -> list[Path]:
    """The file, or the JSON files of a folder."""
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.glob("*.json") if not file.name.startswith("."))
    if not found:
        raise DataError(
            f"{path}: the folder has no .json files; give a SyntaxGym suite, or a folder of suites"
        )
    return found


def _by_prediction(results: "Results") -> str:
    """One row per prediction and for all of them together, and the mean over suites."""
    first = next(iter(results.values()))
    rows: list[tuple[str, ...]] = []
    for place, one in enumerate(first):
        for number, formula in enumerate(one.suite.formulas):
            accuracies = [_percent(*found[place].accuracy(number)) for found in results.values()]
            rows.append((one.suite.name, formula.text, f"{len(one.suite.items):,}", *accuracies))
        if len(one.suite.formulas) > 1:
            accuracies = [_percent(*found[place].accuracy()) for found in results.values()]
            rows.append((one.suite.name, ALL, f"{len(one.suite.items):,}", *accuracies))
    if len(first) > 1:
        items = sum(len(one.suite.items) for one in first)
        rows.append((MEAN, ALL, f"{items:,}", *(_percent(_mean(found), None) for found in results.values())))
    return console.table(["suite", "prediction", "items", *_titles(results, "accuracy")], rows, left=2)


def _by_item(results: "Results") -> str:
    """One row per item and prediction: whether it holds."""
    first = next(iter(results.values()))
    rows: list[tuple[str, ...]] = []
    for place, one in enumerate(first):
        for index, item in enumerate(one.suite.items):
            for number, formula in enumerate(one.suite.formulas):
                truths = [HOLDS[found[place].holds[index][number]] for found in results.values()]
                rows.append((one.suite.name, item, formula.text, *truths))
    return console.table(["suite", "item", "prediction", *_titles(results, "holds")], rows, left=3)


def _titles(results: "Results", alone: str) -> list[str]:
    return list(results) if len(results) > 1 else [alone]


def _percent(percent: float | None, error: float | None) -> str:
    if percent is None:
        return "-"
    return f"{percent:.1f}" + ("" if error is None else f" ± {error:.1f}")


def _mean(found: "Sequence[SuiteResult]") -> float | None:
    """The mean accuracy on all predictions of each suite, with equal weights."""
    percents = [one.accuracy()[0] for one in found]
    known = [percent for percent in percents if percent is not None]
    return sum(known) / len(known) if len(known) == len(percents) else None


def _facts(model: "Model", found: "Sequence[SuiteResult]", by: str) -> dict[str, Any]:
    return {
        "mean": _mean(found),
        "signature": model.signature(independent=True),
        "suites": {one.suite.name: _suite_facts(one, by) for one in found},
    }


def _suite_facts(one: "SuiteResult", by: str) -> dict[str, Any]:
    def figures(number: int | None = None) -> dict[str, Any]:
        percent, error = one.accuracy(number)
        return {"accuracy": percent, "standard_error": error}

    predictions = [
        {"formula": formula.text, **figures(number)} for number, formula in enumerate(one.suite.formulas)
    ]
    withheld = {} if one.accuracy()[0] is not None else {"withheld": {"accuracy": WITHHELD}}
    by_item = {"by_item": dict(zip(one.suite.items, one.holds, strict=True))} if by == "item" else {}
    return {
        **figures(),
        "items": len(one.suite.items),
        "items_with_unknown": one.unknown,
        "predictions": predictions,
        **by_item,
        **withheld,
    }


def _say_notes(label: str, found: "Sequence[SuiteResult]") -> None:
    """Say on stderr which items have unknown words, and why an accuracy is missing."""
    for one in found:
        if one.unknown:
            console.say(
                f"{label}: {one.suite.name}: {one.unknown} of {len(one.suite.items)} items have words outside the "
                "vocabulary",
                "note",
            )
        if one.accuracy()[0] is None:
            console.say(
                f"{label}: {one.suite.name}: an accuracy is withheld: {WITHHELD}",
                "warning",
            )
