"""`lmkit eval`: the score of a model on text."""

import json
from pathlib import Path

import click

from lmkit.cli import console
from lmkit.cli.common import int8_option, loads_model
from lmkit.cli.dynamic import Section, SpecCommand, collected
from lmkit.corpus.options import DataOptions
from lmkit.options import resolve


@click.command(cls=SpecCommand, grow=lambda _: [Section("Options of the data", ("data",), DataOptions, {})])
@loads_model
@int8_option
@click.argument("data", nargs=-1, required=True)
@click.option(
    "--batch-size",
    metavar="N",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Segments between resets scored at once.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    run: Path,
    device: str,
    allow_nonfinite: bool,
    int8: bool,
    data: tuple[str, ...],
    batch_size: int,
    as_json: bool,
) -> None:
    """Score the text of DATA (-: standard input) with the model in the directory RUN.

    A bidirectional encoder is scored as the two causal models that it is made of.
    """
    options = resolve(DataOptions, collected(ctx)["data"], "data")

    from lmkit import api
    from lmkit.corpus.readers import Text

    text = Text(list(data), options)
    model = api.load(run, device=device, allow_nonfinite=allow_nonfinite, int8=int8)
    scores = {}
    for direction in model.directions:
        label = "scoring" if len(model.directions) == 1 else f"scoring {direction}"
        lines = console.progress(text, total=None, label=label)
        scores[direction] = model.score_text(lines, batch_size=batch_size, direction=direction)
    if len(scores) == 1:
        (score,) = scores.values()
        if as_json:
            click.echo(json.dumps(score.to_json()))
        else:
            console.write_rows(score.table())
    elif as_json:
        click.echo(json.dumps({direction: score.to_json() for direction, score in scores.items()}))
    else:
        console.write_rows(
            [(f"{name}: {label}", value) for name, score in scores.items() for label, value in score.table()]
        )
