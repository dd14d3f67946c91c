"""`python -m lmkit.testing NAME ...`: run the conformance suite, with one line per check."""

import sys

import click

from lmkit.errors import LmkitError, PluginError
from lmkit.testing.suite import checks


@click.command()
@click.argument("names", nargs=-1, required=True)
def main(names: tuple[str, ...]) -> None:
    """Check parts by bare or long name, 'distribution:*' or kind. Exit code 6: a check failed."""
    failed = 0
    try:
        chosen = checks(*names)
    except LmkitError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    for check in chosen:
        try:
            check()
        except AssertionError as error:
            failed += 1
            click.echo(f"FAIL  {check}\n      {error}")
        else:
            click.echo(f"pass  {check}")
    click.echo(f"{len(chosen) - failed} of {len(chosen)} checks passed", err=True)
    if failed:
        sys.exit(PluginError.exit_code)


if __name__ == "__main__":
    main(prog_name="python -m lmkit.testing")
