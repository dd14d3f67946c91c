"""`lmkit surprisal`: how surprising each word, token, character, line or span of a text is."""

import sys
from pathlib import Path

import click

from lmkit.cli import console
from lmkit.cli.common import loads_model
from lmkit.cli.dynamic import Section, SpecCommand, collected
from lmkit.corpus.options import DataOptions
from lmkit.errors import UsageError
from lmkit.evaluation.records import UNITS, column_names
from lmkit.evaluation.writers import FORMATS, opened, write_records
from lmkit.options import resolve


@click.command(cls=SpecCommand, grow=lambda _: [Section("Options of the data", ("data",), DataOptions, {})])
@loads_model
@click.argument("data", nargs=-1, required=True)
@click.option(
    "--by", type=click.Choice(UNITS), default="word", show_default=True, help="What a record is of."
)
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
    help="How records are written (default tsv); parquet needs --out.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format jsonl.")
@click.option(
    "--out", metavar="FILE", type=click.Path(path_type=Path), help="Write to this file, not to stdout."
)
@click.option("--entropy", is_flag=True, help="Add the entropy where each unit begins, in bits.")
@click.option("--rank", is_flag=True, help="Add the rank of each unit's first token, from 1.")
@click.option(
    "--batch-size",
    metavar="N",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Segments between resets scored at once.",
)
@click.pass_context
def command(
    ctx: click.Context,
    run: Path,
    device: str,
    allow_nonfinite: bool,
    data: tuple[str, ...],
    by: str,
    spans: Path | None,
    form: str | None,
    as_json: bool,
    out: Path | None,
    entropy: bool,
    rank: bool,
    batch_size: int,
) -> None:
    """Write the surprisal, in bits, of each word of DATA (-: standard input) under the model in RUN.

    It is the probability of the text as the model's tokenizer cuts it. Each line's end is a record too, with
    an empty text, so that the records of a line add up to its score.
    """
    options = resolve(DataOptions, collected(ctx)["data"], "data")
    if as_json and form not in (None, "jsonl"):
        raise UsageError(f"--json and --format {form} contradict each other; leave one out")
    form = "jsonl" if as_json else form or "tsv"
    if form == "parquet" and out is None:
        raise UsageError("--format parquet needs a file: add --out FILE")

    from lmkit import api
    from lmkit.corpus.readers import Text
    from lmkit.evaluation.spans import read_spans

    text = Text(list(data), options)
    wanted = None if spans is None else read_spans(spans)
    model = api.load(run, device=device, allow_nonfinite=allow_nonfinite)
    # A bar between records on one screen would be in the way of both.
    alone = out is not None or not sys.stdout.isatty()
    lines = console.progress(text, total=None, label="scoring") if alone else text
    records = model.surprisal_text(lines, by, spans=wanted, entropy=entropy, rank=rank, batch_size=batch_size)
    names = column_names(entropy=entropy, rank=rank)
    if out is None:
        write_records(records, names, form, sys.stdout.buffer)
        return
    with opened(out) as file:
        write_records(records, names, form, file)
