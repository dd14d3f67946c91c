"""`lmkit predict`: classify texts, and measure a classifier on labelled ones."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import data_command, json_option, loads_model, out_option, overwrite_option
from lmkit.corpus.options import DataOptions
from lmkit.errors import UsageError
from lmkit.files import check_new, new_file

if TYPE_CHECKING:
    import numpy as np

    from lmkit.classification.classifier import Classifier
    from lmkit.classification.examples import Example
    from lmkit.classification.report import Report


@data_command
@loads_model
@click.argument("texts", metavar="[TEXT]...", nargs=-1, type=click.Path())
@click.option("--text", metavar="COLUMN", help="Column of the texts of a table, the same as --text-field.")
@click.option(
    "--label",
    metavar="COLUMN",
    help="Column of the classes: print accuracy, F1 and the confusion table instead of predictions.",
)
@click.option(
    "--class",
    "classes",
    metavar="NAME=FILE",
    multiple=True,
    help="Labelled texts: a file with an example of this class in each line; may be repeated.",
)
@out_option("Write the predictions to this file.")
@overwrite_option("an existing file")
@json_option("Print each prediction, or the figures, as JSON.")
def command(
    options: DataOptions,
    run: Path,
    device: str,
    allow_nonfinite: bool,
    texts: tuple[str, ...],
    text: str | None,
    label: str | None,
    classes: tuple[str, ...],
    out: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Classify each line, or row of a table, of TEXT (-: standard input) with the classifier in RUN.

    The output is TSV with a header: the most probable class, its probability, and the text. Blank lines are classified
    too. With --label or --class, the figures of the classifier on these texts are printed.
    """
    from dataclasses import replace

    from lmkit.classification.classifier import load_classifier
    from lmkit.classification.examples import LabelledText, parse_class, read_texts

    if text is not None:
        options = replace(options, text_field=text)
    labelled = label is not None or bool(classes)
    if not texts and not classes:
        raise UsageError(
            f"predict has a classifier but no texts: lmkit predict {run} TEXT (-: standard input)"
        )
    if out is not None:
        check_new(out, overwrite=overwrite)
    classifier = load_classifier(run, device=device, allow_nonfinite=allow_nonfinite)
    if not labelled:
        rows = _predictions(
            classifier, console.progress(read_texts(texts, options), total=None, label="classifying")
        )
        with nullcontext(sys.stdout.buffer) if out is None else new_file(out, overwrite=overwrite) as sink:
            _write(rows, classifier.labels, sink, as_json)
        return
    known = LabelledText(texts, label or "label", tuple(map(parse_class, classes)), options)
    examples = known.read()
    report, rows = _measured(classifier, examples, known.describe())
    if out is not None:
        with new_file(out, overwrite=overwrite) as sink:
            _write(rows, classifier.labels, sink, as_json)
    if as_json:
        click.echo(strict_json.report({"run": str(run), **report.to_json()}))
    else:
        _show(report)


Row = tuple[str, "np.ndarray", str | None]
"""A text, the probabilities of the classes, and its known class."""


def _predictions(classifier: "Classifier", texts: Iterable[str]) -> Iterator[Row]:
    for text, probabilities in classifier.predict_each(texts):
        yield text, probabilities, None


def _measured(classifier: "Classifier", examples: list["Example"], where: str) -> tuple["Report", list[Row]]:
    """The figures of labelled texts, and their rows."""
    from lmkit.classification.examples import check_labels
    from lmkit.classification.report import Report

    check_labels(examples, classifier.labels, where)
    texts = console.progress((one.text for one in examples), total=len(examples), label="classifying")
    pairs = zip(classifier.predict_each(texts), examples, strict=True)
    rows: list[Row] = [(text, row, one.label) for (text, row), one in pairs]
    found = [classifier.labels[row.argmax()] for _, row, _ in rows]
    return Report.of(classifier.labels, [one.label for one in examples], found), rows


def _write(rows: Iterable[Row], labels: tuple[str, ...], sink: BinaryIO, as_json: bool) -> None:
    """Write predictions as TSV with a header, or as JSON Lines."""
    from lmkit.corpus.tsv import escaped

    for number, (text, row, label) in enumerate(rows):
        best = int(row.argmax())
        probability = float(row[best])
        if as_json:
            line = {"row": number + 1, "predicted": labels[best], "probability": probability}
            line |= {"probabilities": dict(zip(labels, row.tolist(), strict=True)), "text": text}
            sink.write(
                (strict_json.report(line if label is None else {**line, "label": label}) + "\n").encode()
            )
            continue
        known = [] if label is None else [escaped(label)]
        if number == 0:
            names = ["predicted", "probability", *(["label"] if known else []), "text"]
            sink.write(("\t".join(names) + "\n").encode())
        cells = [escaped(labels[best]), f"{probability:.6f}", *known, escaped(text)]
        sink.write(("\t".join(cells) + "\n").encode())


MOST_COLUMNS = 12
"""Classes of a confusion table on the screen; JSON has any number."""


def _show(report: "Report") -> None:
    console.write_rows(
        [("texts", report.texts), ("accuracy", report.accuracy), ("macro F1", report.macro_f1)]
    )
    click.echo()
    rows = [
        [one.label, f"{one.precision:.4f}", f"{one.recall:.4f}", f"{one.f1:.4f}", f"{one.texts:,}"]
        for one in report.classes
    ]
    click.echo(console.table(["class", "precision", "recall", "F1", "texts"], rows))
    if len(report.labels) > MOST_COLUMNS:
        console.say(f"the confusion table has {len(report.labels)} columns: give --json to print it")
        return
    click.echo()
    cells = [
        [label, *map(str, row)] for label, row in zip(report.labels, report.confusion.tolist(), strict=True)
    ]
    click.echo(console.table(["class", *(f"predicted {label}" for label in report.labels)], cells))
