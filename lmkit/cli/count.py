"""`lmkit count`: count the n-grams of a text of any size."""

from dataclasses import asdict
from pathlib import Path

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import data_command, data_option, json_option, out_option, overwrite_option
from lmkit.cli.completion import PartName
from lmkit.corpus.options import DataOptions
from lmkit.errors import UsageError


@data_command
@click.argument("items", metavar="TEXT...", nargs=-1, type=click.Path())
@data_option
@click.option(
    "--order",
    metavar="N",
    type=click.IntRange(1, 120),
    default=3,
    show_default=True,
    help="Count n-grams of exactly N tokens.",
)
@click.option(
    "--min",
    "least",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Leave out n-grams that occur less often.",
)
@out_option("File of the counts: .parquet, .tsv, .csv or .jsonl.", required=True)
@overwrite_option("an existing file")
@click.option(
    "--tokenizer",
    metavar="NAME[:FILE]",
    type=PartName("tokenizer"),
    default="word",
    show_default=True,
    help="Tokenizer, or one from a file, as in word:FILE.",
)
@click.option("--boundaries", is_flag=True, help="Also count n-grams with <s> or </s>, the ends of lines.")
@click.option(
    "--memory", metavar="SIZE", help="Use at most this much memory, e.g. 4G (default: most of what is free)."
)
@click.option(
    "--scratch",
    metavar="DIR",
    type=click.Path(),
    help="Folder for the parts of the text, which need 4 N bytes per token (default: the temporary folder).",
)
@json_option()
def command(
    options: DataOptions,
    items: tuple[str, ...],
    texts: tuple[str, ...],
    order: int,
    least: int,
    out: Path,
    overwrite: bool,
    tokenizer: str,
    boundaries: bool,
    memory: str | None,
    scratch: str | None,
    as_json: bool,
) -> None:
    """Count the n-grams of TEXT, and write them to a file with the columns word1, word2 ... and count.

    N-grams never cross the end of a line. The text may be larger than the memory (docs/scale.md).
    """
    paths = [*items, *texts]
    if not paths:
        raise UsageError("count needs a text: give TEXT")

    from lmkit.corpus.readers import Text
    from lmkit.studies.count import count

    found = count(
        Text(paths, options, fingerprinted=True), out,
        order=order, least=least, boundaries=boundaries, tokenizer=tokenizer, memory=memory, scratch=scratch,
        overwrite=overwrite, progress=console.progress,
    )  # fmt: skip
    figures = {"out": str(out), "order": order, "min": least, **asdict(found)}
    if as_json:
        click.echo(strict_json.report(figures))
    else:
        console.write_rows(figures.items())
