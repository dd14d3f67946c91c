"""`lmkit surprisal`: compute the surprisal of each word, token, character, line or span of a text."""

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
    independent_option,
    json_option,
    out_option,
    split_items,
    workers_option,
)
from lmkit.cli.sharing import device_with, scoring_workers
from lmkit.corpus.options import DataOptions
from lmkit.errors import UsageError
from lmkit.evaluation.records import OOV, OWN_NAMES, UNITS, column_names
from lmkit.evaluation.writers import FORMATS, write_records
from lmkit.files import new_file

if TYPE_CHECKING:
    from lmkit.evaluation.records import LineRecords


@data_command
@asks_models
@independent_option
@adaptation_options
@click.option("--by", type=click.Choice(UNITS), default="word", show_default=True, help="Unit of a record.")
@click.option(
    "--spans",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="For --by span: TSV or JSONL with line, start, end.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Output format (default tsv); parquet needs --out.",
)
@json_option("The same as --format jsonl.")
@out_option("Write to this file instead of stdout.")
@click.option(
    "--keep",
    metavar="COLUMN,...",
    multiple=True,
    help="Columns of the table to copy into the records (not for plain text).",
)
@click.option("--entropy", is_flag=True, help="Add the entropy at the beginning of each unit, in bits.")
@click.option("--rank", is_flag=True, help="Add the rank of each unit's first token, from 1.")
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
    form: str | None,
    as_json: bool,
    out: Path | None,
    keep: tuple[str, ...],
    entropy: bool,
    rank: bool,
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
    from lmkit.evaluation.spans import read_spans

    columns = kept_columns(keep)
    text = Text(asked.texts, options, keep=columns)
    wanted = None if spans is None else read_spans(spans)
    # A bar between records on one screen would disturb both.
    alone = out is not None or not sys.stdout.isatty()

    load = {
        "device": device_with(workers, device),
        "allow_nonfinite": allow_nonfinite,
        "split_unknown": split_unknown,
        **adapt,
    }

    def records() -> Iterator["LineRecords"]:
        for label, run in asked.runs.items():
            with console.about("" if asked.run else label):
                model = api.load(run, **load)
                lines = console.progress(text, total=None, label=f"scoring with {label}") if alone else text
                with scoring_workers(workers, run, load, "forward") as sharing:
                    found = model.surprisal_text(
                        lines, by, spans=wanted, entropy=entropy, rank=rank, oov=oov,
                        batch_size=batch_size, independent=independent, keep=columns, workers=sharing,
                    )  # fmt: skip
                    yield from found if asked.run else (replace(line, facts={"run": label}) for line in found)

    names = (*(() if asked.run else ("run",)), *column_names(entropy=entropy, rank=rank), *columns)
    if out is None:
        write_records(records(), names, form, sys.stdout.buffer)
        return
    with new_file(out, overwrite=True) as file:
        write_records(records(), names, form, file)


def kept_columns(keep: Iterable[str]) -> tuple[str, ...]:
    """The columns of --keep, separated by commas; UsageError for a name of one of lmkit's own columns."""
    names = tuple(dict.fromkeys(name for part in keep for name in part.split(",") if name))
    if taken := [name for name in names if name in OWN_NAMES]:
        raise UsageError(
            f"--keep {taken[0]}: lmkit has its own column of that name; rename the column in the table"
        )
    return names
