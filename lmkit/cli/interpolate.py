"""`lmkit interpolate`: create a run that mixes the probabilities of other runs."""

from pathlib import Path

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import (
    data_command,
    data_option,
    device_option,
    items_argument,
    json_option,
    out_option,
    overwrite_option,
    split_items,
)
from lmkit.corpus.options import DataOptions


@data_command
@items_argument
@data_option
@device_option
@out_option("Directory of the run.", metavar="DIR", required=True)
@overwrite_option("an existing run in --out")
@json_option()
def command(
    options: DataOptions,
    items: tuple[str, ...],
    texts: tuple[str, ...],
    device: str,
    out: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Mix the causal models in the directories RUN, with the weights that fit TEXT best.

    The models must have the same vocabulary. TEXT is held-out text, on which none of them was trained.
    The result is a run like any other, and contains copies of its parts.
    """
    asked = split_items(items, texts, "interpolate")

    from lmkit.corpus.readers import Text
    from lmkit.studies.interpolate import interpolate

    found = interpolate(
        asked.runs, Text(asked.texts, options), out,
        overwrite=overwrite, device=device, progress=console.progress,
    )  # fmt: skip
    if as_json:
        facts = {
            "parts": {
                label: {"weight": weight, "perplexity": found.perplexities[label]}
                for label, weight in found.weights.items()
            },
            "perplexity": found.perplexity,
            "steps": found.steps,
            "tokens": found.tokens,
        }
        click.echo(strict_json.report(facts))
        return
    rows = [
        [label, f"{weight:.4f}", f"{found.perplexities[label]:,.2f}"]
        for label, weight in found.weights.items()
    ]
    rows.append(["mixture", "", f"{found.perplexity:,.2f}"])
    click.echo(console.table(["part", "weight", "perplexity"], rows))
    console.say(f"{found.steps} steps of EM; the model is in {out}; next: lmkit eval {out} FILE")
