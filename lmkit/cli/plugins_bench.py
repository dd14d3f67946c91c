"""`lmkit plugins bench`: measure cells beside an RNN, an LSTM and a GRU."""

from pathlib import Path

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import device_option, json_option, plot_option
from lmkit.cli.completion import PartName
from lmkit.plugins import FROM_FILE


@click.command("bench", short_help="Measure cells beside an RNN, an LSTM and a GRU.")
@click.argument("cells", metavar="CELL...", nargs=-1, required=True, type=PartName("cell"))
@click.option(
    "--text",
    "texts",
    metavar="TEXT",
    multiple=True,
    default=["pydocs"],
    show_default=True,
    help="Text to learn; may be repeated.",
)
@click.option(
    "--usual/--no-usual",
    default=True,
    show_default=True,
    help="Also measure rnn, lstm and gru.",
)
@click.option("--params", metavar="N", default="300k", show_default=True, help="Parameters of each model.")
@click.option(
    "--max-steps",
    metavar="N",
    type=click.IntRange(min=10),
    default=300,
    show_default=True,
    help="Windows of 2,048 bytes that each model learns from.",
)
@click.option(
    "--recall-steps",
    metavar="N",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="Windows of the recall task that each cell learns from.",
)
@click.option(
    "--seeds",
    metavar="N",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Trainings of each cell.",
)
@click.option(
    "--threads", metavar="N", type=click.IntRange(min=1), default=1, show_default=True, help="CPU threads."
)
@device_option
@plot_option("Draw losses, recall and gradients")
@json_option("Print all figures as JSON.")
def command(
    cells: tuple[str, ...],
    texts: tuple[str, ...],
    usual: bool,
    params: str,
    max_steps: int,
    recall_steps: int,
    seeds: int,
    threads: int,
    device: str,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Measure each CELL, by name or as FILE.py:CLASS, beside an RNN, an LSTM and a GRU of as many parameters.

    Each learns bytes of a text, and to recall a symbol over 1 to 100 steps, with several seeds. The figures are bits
    per byte after the same tokens and the same time, the distances over which symbols are recalled and gradients
    reach, and the time and memory of each tier.
    """
    from lmkit.bench import bench
    from lmkit.evaluation import pictures

    if plot is not None:
        pictures.check(plot)
    named = {cell.removeprefix(f"{FROM_FILE}:"): cell for cell in cells}
    found = bench(
        named, list(texts), usual=usual, params=params, max_steps=max_steps,
        recall_steps=recall_steps, seeds=seeds, threads=threads, device=device, progress=console.progress,
    )  # fmt: skip
    if plot is not None:
        from lmkit.bench.picture import draw

        draw(plot, found)
    if as_json:
        click.echo(strict_json.report(found.to_json()))
        return
    click.echo(console.shown_table(found.table()))
    click.echo()
    click.echo(console.shown_table(found.tiers()))
