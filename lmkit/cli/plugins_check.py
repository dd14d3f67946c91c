"""`lmkit plugins check`: test parts against the rules of their kind, and report what to change."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import json_option
from lmkit.cli.completion import PartName
from lmkit.errors import PluginError
from lmkit.specs import KINDS

if TYPE_CHECKING:
    from lmkit.plugins import Part
    from lmkit.testing import Check, Failure


@click.command("check")
@click.argument("names", metavar="NAME...", nargs=-1, required=True, type=PartName(*KINDS))
@click.option(
    "--kind", type=click.Choice(list(KINDS)), help="Kind of the part, for a name that several kinds have."
)
@json_option(
    "Print JSON: kind, name, and for each rule what failed, the input, what to change, file and line."
)
def command(names: tuple[str, ...], kind: str | None, as_json: bool) -> None:
    """Test parts against the rules of lmkit, and say what to change.

    NAME is a part's name, 'DISTRIBUTION:*' for all parts of a distribution, a kind for all its parts, or FILE.py:CLASS
    for a class in a file, which is run. Exit code 6 if a part breaks a rule. A part that needs an extra, or is not made
    from text, is tested only as far as possible, and the line says so.
    """
    from lmkit.testing.suite import checks_of, selected

    rows = []
    for part in selected(names, kind):
        found = [(check, check.failure()) for check in checks_of(part)]
        rows.append(_row(part, found))
        if not as_json:
            click.echo(_report(part, found))
    if as_json:
        click.echo(strict_json.report(rows))
    if not all(row["passed"] for row in rows):
        sys.exit(PluginError.exit_code)


def _row(part: "Part", found: "list[tuple[Check, Failure | None]]") -> dict[str, Any]:
    """A part and its rules as JSON values."""
    rules = []
    for check, failure in found:
        rule: dict[str, Any] = {"check": check.name, "rule": check.rule, "result": "kept"}
        if failure is not None:
            rule["result"] = "broken" if failure.tested else "not tested"
            rule |= {"problem": failure.problem, "input": failure.input, "change": failure.change}
            rule |= (
                {"file": None, "line": None, "name": None} if failure.place is None else asdict(failure.place)
            )
        rules.append(rule)
    passed = all(rule["result"] != "broken" for rule in rules)
    return {"kind": part.kind, "name": part.display_name, "passed": passed, "rules": rules}


def _report(part: "Part", found: "list[tuple[Check, Failure | None]]") -> str:
    """A line for the part, then the broken rules; those that one line of the author broke with one error once."""
    untested = [failure.problem for _, failure in found if failure is not None and not failure.tested]
    causes: dict[object, list[tuple[Check, Failure]]] = {}
    for check, failure in found:
        if failure is not None and failure.tested:
            causes.setdefault((failure.problem, failure.place), []).append((check, failure))
    tested = len(found) - len(untested)
    kept = tested - sum(map(len, causes.values()))
    more = f"; {len(untested)} not tested: {untested[0]}" if untested else ""
    lines = [f"{part.kind} {part.display_name}: {kept} of {tested} rules kept{more}"]
    for (check, failure), *same in causes.values():
        rows = failure.lines()
        if same:
            rows.append(("also", f"{', '.join(other.name for other, _ in same)}, by the same"))
        lines += ["", f"{check.name}: {check.rule}", *(f"  {title + ':':<9}{text}" for title, text in rows)]
    return "\n".join(console.folded(console.printable(line), indent=11) for line in lines)
