"""`lmkit fill`: what models put into the blank of a line, and which words made them."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lmkit.cli import console
from lmkit.cli.common import load_all, loads_models
from lmkit.errors import UsageError

if TYPE_CHECKING:
    from lmkit.evaluation.fill import Filled, Part


@click.command()
@loads_models
@click.argument("text")
@click.option("--candidates", metavar="A,B,...", help="Rank these, instead of what the model proposes.")
@click.option(
    "--top",
    metavar="N",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="How many are shown.",
)
@click.option(
    "--max-tokens",
    metavar="N",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    help="The most tokens of a proposal.",
)
@click.option("--why", "explain", is_flag=True, help="Show which words carry the best answer.")
@click.option(
    "--by",
    type=click.Choice(["word", "clause"]),
    default="word",
    show_default=True,
    help="What --why leaves out at a time.",
)
@click.option("--html", "page", type=click.Path(path_type=Path), help="Write what --why shows as HTML.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw it: .png, .svg or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Print all as JSON.")
def command(
    runs: tuple[Path, ...],
    device: str,
    allow_nonfinite: bool,
    text: str,
    candidates: str | None,
    top: int,
    max_tokens: int,
    explain: bool,
    by: str,
    page: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Fill in the blank of TEXT, "... so i will ____ .", with the models in the directories RUN.

    A causal model ranks candidates by the log-probability of the whole line, a bidirectional encoder by what both
    of its directions give them (two-sided). Chinese may be written without spaces, whatever the model reads.
    """
    from lmkit.evaluation import fill as filling
    from lmkit.evaluation import heat, pictures
    from lmkit.evaluation.segmentation import unknown_words
    from lmkit.files import write_atomic

    if plot is not None:
        pictures.check(plot)
    given = [] if candidates is None else candidates.replace("，", ",").split(",")
    explain = explain or page is not None or plot is not None
    models = load_all(runs, device, allow_nonfinite)
    found: dict[str, Filled] = {}
    reasons: dict[str, list[Part | None]] = {}
    for label, model in models.items():
        tokenizer = model.tokenizer
        blank = filling.parse(tokenizer, text)
        filled = filling.fill(model.directions, tokenizer, blank, given, max_tokens=max_tokens)
        found[label] = filled
        for candidate in filled.candidates if given else []:
            if unknown := unknown_words(tokenizer, candidate):
                words = ", ".join(unknown)
                console.say(
                    f"{label}: '{candidate}' has words outside the vocabulary ({words}), which share one probability",
                    "warning",
                )
        if explain:
            reasons[label] = filling.why(model.directions, tokenizer, filled, by)
    lines = {label: (parts, found[label].candidates[0]) for label, parts in reasons.items()}
    if page is not None:
        write_atomic(page, heat.page(lines))
    if plot is not None:
        heat.picture(plot, lines)
    if as_json:
        facts = {label: _facts(filled, reasons.get(label), top) for label, filled in found.items()}
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for place, (label, filled) in enumerate(found.items()):
        click.echo(("\n" if place else "") + _table(label, filled, top))
        if label in lines:
            parts, answer = lines[label]
            shown = [part and type(part)(console.printable(part.text), part.cost) for part in parts]
            click.echo("\n" + heat.terminal(shown, console.printable(answer), colours=colours))


def _facts(filled: "Filled", parts: "list[Part | None] | None", top: int) -> dict[str, object]:
    rows = zip(filled.candidates, filled.scores, filled.shares, strict=True)
    facts: dict[str, object] = {
        "before": filled.blank.before,
        "after": filled.blank.after,
        "two_sided": filled.two_sided,
        "candidates": [
            {"text": candidate, "log_prob": score, "share": share} for candidate, score, share in rows
        ][:top],
    }
    if parts is not None:
        facts["why"] = [part and {"text": part.text, "cost": part.cost} for part in parts]
    return facts


def _table(label: str, filled: "Filled", top: int) -> str:
    if not filled.candidates:
        raise UsageError(f"{label}: the model proposes nothing here; give --candidates")
    score = "two-sided score" if filled.two_sided else "log-probability"
    rows = [
        [candidate, f"{value:.2f}", f"{share:.1%}"]
        for candidate, value, share in zip(filled.candidates, filled.scores, filled.shares, strict=True)
    ]
    return console.markdown([label, score, "share of these"], rows[:top])
