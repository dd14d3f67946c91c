"""`lmkit surprisal`: compute the surprisal of each word, token, character, line or span of a text."""

import logging
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmkit.cli import console
from lmkit.cli.common import (
    adaptation_options,
    asks_models,
    batch_size_option,
    data_command,
    html_option,
    independent_option,
    json_option,
    out_option,
    split_items,
    workers_option,
    write_page,
)
from lmkit.cli.sharing import device_with, scoring_workers
from lmkit.corpus.options import DataOptions
from lmkit.errors import DataError, LmkitError, UsageError
from lmkit.evaluation.frequencies import WordFrequencies
from lmkit.evaluation.records import ADDED, OOV, OWN_NAMES, UNITS, added_names, column_names
from lmkit.evaluation.writers import FORMATS, write_records
from lmkit.files import new_file
from lmkit.html import report, section
from lmkit.notes import NOTE
from lmkit.run_paths import RECIPE

if TYPE_CHECKING:
    from lmkit.evaluation.record_list import Records
    from lmkit.evaluation.records import LineRecords


log = logging.getLogger(__name__)


@data_command
@asks_models
@independent_option
@adaptation_options
@click.option("--by", type=click.Choice(UNITS), default="word", show_default=True, help="Unit of a record.")
@click.option(
    "--spans",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="For --by span or region: TSV or JSONL with line, start, end; --keep copies other columns.",
)
@click.option(
    "--sentence",
    metavar="COLUMN,...",
    multiple=True,
    help="Columns that identify a sentence: consecutive rows with the same values are its regions, one after another.",
)
@click.option("--prefix", metavar="TEXT", default="", help="Text before each row or sentence, not scored.")
@click.option("--prefix-field", metavar="COLUMN", help="Column with the text before each row or sentence.")
@click.option(
    "--separator",
    metavar="TEXT",
    help="Between regions, and after a prefix (default: a space, or nothing in scripts without spaces).",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Output format (default tsv); parquet needs --out.",
)
@json_option("The same as --format jsonl.")
@out_option("Write to this file instead of stdout.")
@html_option("Also write the text, coloured by surprisal, as one file of HTML.")
@click.option(
    "--keep",
    metavar="COLUMN,...",
    multiple=True,
    help="Columns of the table, or of --spans, to copy into the records.",
)
@click.option("--entropy", is_flag=True, help="Add the entropy at the beginning of each unit, in bits.")
@click.option("--rank", is_flag=True, help="Add the rank of each unit's first token, from 1.")
@click.option("--add", metavar="COLUMN,...", multiple=True, help=f"Add columns: {', '.join(ADDED)}.")
@click.option(
    "--frequencies",
    metavar="TEXT",
    multiple=True,
    type=click.Path(),
    help="Text that log_frequency counts (default: the training text of the run).",
)
@click.option(
    "--spillover",
    metavar="N",
    type=click.IntRange(0, 100),
    default=0,
    help="Add the values of the N previous words of the row: surprisal_1, surprisal_2 ...",
)
@click.option(
    "--oov",
    type=click.Choice(OOV),
    default="model",
    show_default=True,
    help="Cost of unknown tokens: the model's bits, or also those of the spelling (adds up to bits per byte).",
)
@batch_size_option("Segments between resets per batch.", 32)
@workers_option
def command(
    options: DataOptions,
    items: tuple[str, ...],
    texts: tuple[str, ...],
    device: str,
    allow_nonfinite: bool,
    split_unknown: str,
    independent: bool,
    adapt: dict[str, Any],
    by: str,
    spans: Path | None,
    sentence: tuple[str, ...],
    prefix: str,
    prefix_field: str | None,
    separator: str | None,
    form: str | None,
    as_json: bool,
    out: Path | None,
    page: Path | None,
    keep: tuple[str, ...],
    entropy: bool,
    rank: bool,
    add: tuple[str, ...],
    frequencies: tuple[str, ...],
    spillover: int,
    oov: str,
    batch_size: int,
    workers: int | None,
) -> None:
    """Write the surprisal, in bits, of each word of TEXT (-: standard input) under the models in RUN.

    With several runs, the column `run` names the run of each record. The probability is that of the tokenizer's
    segmentation of the text. The end of each line is a record too, with an empty text, so that the records of a line
    add up to its score.
    """
    if as_json and form not in (None, "jsonl"):
        raise UsageError(f"--json and --format {form} contradict each other; leave one out")
    form = "jsonl" if as_json else form or "tsv"
    if form == "parquet" and out is None:
        raise UsageError("--format parquet needs a file: add --out FILE")

    asked = split_items(items, texts, "surprisal")

    from lmkit import api
    from lmkit.corpus.readers import Text
    from lmkit.evaluation.predictors import Predictors, column_types
    from lmkit.evaluation.row_layout import RowLayout
    from lmkit.evaluation.spans import read_spans

    wanted = None if spans is None else read_spans(spans)
    if by == "region":
        by, add = _regions(sentence, spans), (*add, "words", "mean")
    if wanted is not None and sentence:
        raise UsageError("--spans and --sentence both divide the text; leave one out")
    if by == "line" and spillover:
        raise UsageError("--spillover needs several units in a row: give another --by than line")
    added = added_names(split_names(add))
    by_frequency = "log_frequency" in added
    if by_frequency and by != "word":
        raise UsageError("--add log_frequency is the frequency of a word: give --by word")
    if frequencies and not by_frequency:
        raise UsageError("--frequencies has no effect alone: also give --add log_frequency")
    names = kept_columns(keep)
    of_spans = {} if wanted is None else {n: v for n, v in wanted.columns.items() if n in names}
    kept = tuple(name for name in names if name not in of_spans)
    layout = RowLayout(kept, split_names(sentence), prefix, prefix_field, separator)
    text = Text(asked.texts, options, keep=layout.columns)
    # A bar between records on one screen would disturb both.
    alone = out is not None or not sys.stdout.isatty()

    load = {
        "device": device_with(workers, device),
        "allow_nonfinite": allow_nonfinite,
        "split_unknown": split_unknown,
        **adapt,
    }

    counted = None
    if frequencies:
        counted = WordFrequencies.of(Text(list(frequencies), DataOptions()).blocks())
    types = column_types(added, spillover, entropy=entropy, rank=rank)
    check_names((*types, *of_spans, *kept))
    header = column_names(entropy=entropy, rank=rank, more=(*types, *of_spans))

    def records() -> Iterator["LineRecords"]:
        for label, run in asked.runs.items():
            with console.about("" if asked.run else label):
                own = _training_frequencies(run) if by_frequency and counted is None else counted
                more = Predictors(added, own, spillover)
                model = api.load(run, **load)
                lines = console.progress(text, total=None, label=f"scoring with {label}") if alone else text
                with scoring_workers(workers, run, load, "forward") as sharing:
                    found = model.surprisal_text(
                        layout.lines(lines), by, spans=None if wanted is None else wanted.spans, of_spans=of_spans,
                        entropy=entropy, rank=rank, oov=oov, batch_size=batch_size, independent=independent,
                        keep=kept, add=more.of_units, prefixed=layout.has_prefix, workers=sharing,
                    )  # fmt: skip
                    found = more.columns(found, header)
                    yield from found if asked.run else (replace(line, facts={"run": label}) for line in found)

    shown: dict[str, Records] = {}
    every = (*(() if asked.run else ("run",)), *header, *kept)
    found = records() if page is None else _kept(records(), shown, next(iter(asked.runs)))
    if out is None:
        write_records(found, every, form, sys.stdout.buffer, types)
    else:
        with new_file(out, overwrite=True) as file:
            write_records(found, every, form, file, types)
    if page is not None:
        title = f"Surprisal of {text.describe()}"
        write_page(page, report(title, *(section(name, *own.html(name)) for name, own in shown.items())))


def _kept(found: Iterable["LineRecords"], shown: dict[str, "Records"], run: str) -> Iterator["LineRecords"]:
    """Pass records on, and keep in `shown`, by run, those that a page shows, with one more if there are more.

    run: the label of records that have none.
    """
    from lmkit.evaluation.record_list import MOST_SHOWN, Records

    for line in found:
        own = shown.setdefault(line.facts.get("run", run), Records())
        if len(own) <= MOST_SHOWN:
            own += line.records()
        yield line


def _regions(sentence: tuple[str, ...], spans: Path | None) -> str:
    """The unit of --by region: "region", or "span" with --spans."""
    if spans is not None:
        return "span"
    if not sentence:
        raise UsageError(
            "--by region needs to know the regions: give --sentence with the columns that identify a sentence, in a "
            "table with a row for each region, or --spans FILE"
        )
    return "region"


def _training_frequencies(run: Path) -> WordFrequencies:
    """Those of the text that a run was trained on; DataError if it is not there any more."""
    from lmkit.corpus.readers import Text
    from lmkit.recipe import build, read_recipe

    try:
        recipe = build(read_recipe(run / RECIPE))
        text = Text(recipe.train_paths, recipe.data)
        found = WordFrequencies.of(text.blocks())
    except LmkitError as error:
        raise DataError(
            f"log_frequency counts the words of the training text, which cannot be read ({error}); give it, or another "
            "text, with --frequencies TEXT"
        ) from error
    log.log(NOTE, "log_frequency is that of the %d words of %s", found.tokens, text.describe())
    return found


def split_names(given: Iterable[str]) -> tuple[str, ...]:
    """The different names in options that take several, separated by commas."""
    return tuple(dict.fromkeys(name for part in given for name in part.split(",") if name))


def kept_columns(keep: Iterable[str]) -> tuple[str, ...]:
    """The columns of --keep; UsageError for a name of one of lmkit's own columns."""
    names = split_names(keep)
    if taken := [name for name in names if name in OWN_NAMES]:
        raise UsageError(
            f"--keep {taken[0]}: lmkit has its own column of that name; rename the column in the table"
        )
    return names


def check_names(names: Iterable[str]) -> None:
    """UsageError for a kept column with the name of one that an option adds."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UsageError(
                f"--keep {name}: lmkit adds a column of that name; rename the column in the table"
            )
        seen.add(name)
