"""`lmkit minimal-pairs`: measure accuracy on pairs of good and bad sentences."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import asks_models, json_option, load_all, out_option, split_items
from lmkit.corpus.options import INPUT_FORMATS, DataOptions

if TYPE_CHECKING:
    from lmkit.evaluation.minimal_pairs import Accuracy

    Paradigms = Mapping[str, Accuracy]

MEAN = "mean of the paradigms"


@click.command()
@asks_models
@click.option(
    "--good",
    metavar="FIELD",
    default="sentence_good",
    show_default=True,
    help="Column of the right sentences.",
)
@click.option(
    "--bad", metavar="FIELD", default="sentence_bad", show_default=True, help="Column of the wrong sentences."
)
@click.option(
    "--group",
    metavar="FIELD",
    help="Column of the paradigm (default: UID if there is one, else the file's name).",
)
@click.option(
    "--input-format",
    type=click.Choice(["auto", *INPUT_FORMATS[1:]]),
    default="auto",
    show_default=True,
    help="Format of the files; auto uses their endings.",
)
@click.option("--encoding", default="utf-8", show_default=True, help="Encoding of the files.")
@click.option(
    "--on-bad-line",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="What to do with a row that is not a pair.",
)
@out_option("Write one row per pair: .tsv, .csv, .jsonl, .parquet.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["tsv", "csv", "jsonl", "parquet"]),
    help="Format of --out (default: by its ending).",
)
@json_option()
def command(
    items: tuple[str, ...],
    texts: tuple[str, ...],
    device: str,
    allow_nonfinite: bool,
    split_unknown: str,
    good: str,
    bad: str,
    group: str | None,
    input_format: str,
    encoding: str,
    on_bad_line: str,
    out: Path | None,
    form: str | None,
    as_json: bool,
) -> None:
    """Score the pairs in TEXT with the models in RUN: BLiMP's JSON Lines, other tables of pairs, folders of them.

    The model chooses the sentence with the higher log-probability, a bidirectional encoder the one with the higher
    sum of both directions. A tie counts as one half, as does a pair whose sentences differ only in words that the
    model does not know.
    """
    from lmkit.errors import UsageError
    from lmkit.evaluation.minimal_pairs import COLUMNS, accuracies, rows
    from lmkit.evaluation.pair_files import PairFields, read_pairs
    from lmkit.evaluation.row_files import row_format, write_rows
    from lmkit.files import new_file
    from lmkit.studies.minimal_pairs import minimal_pairs

    if form is not None and out is None:
        raise UsageError("--format is the format of --out: add --out FILE, or use --json for the figures")
    written = None if out is None else row_format(out, form)
    asked = split_items(items, texts, "minimal-pairs", what="a file of pairs")
    options = DataOptions(encoding=encoding, input_format=input_format, on_bad_line=on_bad_line)
    pairs = read_pairs(map(Path, asked.texts), PairFields(good, bad, group), options)
    models = load_all(asked.runs, device=device, allow_nonfinite=allow_nonfinite, split_unknown=split_unknown)
    with nullcontext() if out is None else new_file(out, overwrite=True) as file:
        found = minimal_pairs(models, pairs, progress=console.progress)
        if file is not None and written is not None:
            every = (row for label, one in found.items() for row in rows(label, pairs, one))
            write_rows(every, COLUMNS, written, file)
    results = {label: accuracies(pairs, one) for label, one in found.items()}
    for label, paradigms in results.items():
        _say_unknown(label, paradigms)
    if as_json:
        facts = {label: _facts(one, found[label].two_sided) for label, one in results.items()}
        click.echo(strict_json.report(facts))
        return
    click.echo(_table(results))
    _say_withheld(results)


def _table(results: "Mapping[str, Paradigms]") -> str:
    """One row per paradigm: its pairs, and for each run the accuracy and the counts that are not all zero."""
    from lmkit.evaluation.minimal_pairs import mean_accuracy

    first = next(iter(results.values()))
    columns = {"paradigm": list(first), "pairs": [f"{one.pairs:,}" for one in first.values()]}
    if len(first) > 1:
        columns["paradigm"].append(MEAN)
        columns["pairs"].append(f"{sum(one.pairs for one in first.values()):,}")
    for label, paradigms in results.items():
        found = list(paradigms.values())
        if len(found) > 1:
            found.append(mean_accuracy(found))
        columns[label if len(results) > 1 else "accuracy"] = list(map(_percent, found))
        prefix = f"{label}: " if len(results) > 1 else ""
        for title, name in (("ties", "ties"), ("identical", "identical"), ("unknown words", "unknown_words")):
            values = [getattr(one, name) for one in found]
            if any(values):
                columns[prefix + title] = [f"{value:,}" for value in values]
    return console.table(list(columns), list(zip(*columns.values(), strict=True)))


def _percent(found: "Accuracy") -> str:
    if found.percent is None:
        return "-"
    return f"{found.percent:.1f}" + ("" if found.standard_error is None else f" ± {found.standard_error:.1f}")


def _facts(paradigms: "Paradigms", two_sided: bool) -> dict[str, object]:
    from lmkit.evaluation.minimal_pairs import mean_accuracy, withheld

    mean = mean_accuracy(list(paradigms.values()))
    return {
        "mean": mean.percent,
        **mean.counts(),
        "paradigms": {name: one.percent for name, one in paradigms.items()},
        "by_paradigm": {name: one.counts() for name, one in paradigms.items()},
        "two_sided": two_sided,
        "withheld": withheld(paradigms),
    }


def _say_unknown(label: str, paradigms: "Paradigms") -> None:
    """Warn on stderr of words that a model does not know."""
    from lmkit.evaluation.minimal_pairs import mean_accuracy

    total = mean_accuracy(list(paradigms.values()))
    facts = []
    if total.unknown_words:
        words = "word" if total.unknown_words == 1 else "words"
        where = f"in {total.pairs_with_unknown:,} of {total.pairs:,} pairs"
        facts.append(f"{total.unknown_words:,} {words} outside the vocabulary, {where}")
    halves = (
        (total.identical_unknown, "pairs that differ only in these words"),
        (total.identical - total.identical_unknown, "pairs of equal sentences"),
        (total.impossible, "pairs of two sentences with probability zero"),
    )
    facts += [f"{what}: {count:,}, each counts one half" for count, what in halves if count]
    if facts:
        console.say(f"{label}: {'; '.join(facts)}", "note")


def _say_withheld(results: "Mapping[str, Paradigms]") -> None:
    from lmkit.evaluation.minimal_pairs import withheld

    for label, paradigms in results.items():
        missing = withheld(paradigms)
        if missing:
            console.say(
                f"{label}: the accuracy on {', '.join(missing)} is withheld: {next(iter(missing.values()))}",
                "warning",
            )
