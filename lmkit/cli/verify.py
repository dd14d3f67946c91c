"""`lmkit verify`: compare the files of runs with what was saved."""

from dataclasses import asdict
from pathlib import Path

import click

from lmkit import run_paths, strict_json
from lmkit.cli import console
from lmkit.cli.common import json_option, runs_argument
from lmkit.errors import ModelError, listed


@click.command()
@runs_argument
@json_option("Print a JSON list: run, files, bytes, problems.")
def command(runs: tuple[Path, ...], as_json: bool) -> None:
    """Read every file of the runs RUN and compare it with its SHA-256.

    Loading a model checks files of up to 256 MiB like this, and larger ones by size. Exit code 4 if a file is not as
    it was saved.
    """
    from lmkit.verify import verify

    rows = []
    for label, run in console.progress(run_paths.labels(runs).items(), total=len(runs), label="verifying"):
        found = verify(run)
        rows.append({"run": str(run), **asdict(found)})
        if not as_json and not found.problems:
            click.echo(f"{label}: {found.files} files, {found.bytes / 1e6:,.1f} MB, as they were saved")
    if as_json:
        click.echo(strict_json.report(rows))
    if bad := [problem for row in rows for problem in row["problems"]]:
        raise ModelError(listed(bad))
