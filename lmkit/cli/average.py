"""`lmkit average`: average the weights of several runs, or of the checkpoints of one."""

from pathlib import Path

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import code_flags, code_option, json_option, out_option, overwrite_option, runs_argument


@click.command()
@runs_argument
@click.option(
    "--last", metavar="N", type=click.IntRange(min=2), help="Average the last N checkpoints of a single RUN."
)
@out_option("Directory of the new run.", metavar="DIR", required=True)
@overwrite_option("an existing run in --out")
@code_option
@json_option("Print what was averaged as JSON.")
def command(runs: tuple[Path, ...], last: int | None, out: Path, overwrite: bool, as_json: bool) -> None:
    """Average the weights of the models in the directories RUN, or of the last checkpoints of one.

    The runs must have the same model, options and vocabulary. The result is a run like any other.
    """
    from lmkit.studies.average import average

    found = average([str(run) for run in runs], out, last=last, overwrite=overwrite)
    names = [str(path) for path in found.of]
    if as_json:
        click.echo(strict_json.report({"run": str(out), "of": names}))
        return
    console.say(f"averaged {', '.join(names)}")
    console.say(f"the model is in {out}; next: lmkit eval {out} FILE{code_flags()}")
