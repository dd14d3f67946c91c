"""`lmkit minimal-pairs`: accuracy on pairs of sentences of which one breaks a rule."""

from pathlib import Path

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import asks_models, load_all, split_items

BATCH = 512
"""Pairs scored between two moves of the progress bar."""


@click.command()
@asks_models
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(
    items: tuple[str, ...],
    texts: tuple[str, ...],
    device: str,
    allow_nonfinite: bool,
    split_unknown: str,
    as_json: bool,
) -> None:
    """Score the pairs in TEXT, JSON Lines files as BLiMP's or folders of them, with the models in RUN.

    The sentence of a pair that has the higher log-probability is the model's choice; of a bidirectional encoder,
    the higher sum of both directions.
    """
    import numpy as np

    from lmkit.evaluation.minimal_pairs import accuracy, good_ones, read_pairs

    asked = split_items(items, texts, "minimal-pairs", what="a file of pairs")
    pairs = read_pairs(map(Path, asked.texts))
    models = load_all(asked.runs, device=device, allow_nonfinite=allow_nonfinite, split_unknown=split_unknown)
    found: dict[str, dict[str, float]] = {}
    for label, model in models.items():
        batches = [pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH)]
        chosen = [
            good_ones(
                model.sentence_scores,
                batch,
            )
            for batch in console.progress(batches, total=len(batches), label=label)
        ]
        found[label] = accuracy(pairs, np.concatenate(chosen))
    paradigms = list(next(iter(found.values())))
    means = {label: sum(right.values()) / len(right) for label, right in found.items()}
    if as_json:
        facts = {
            label: {"mean": means[label], "paradigms": right, "pairs": len(pairs)}
            for label, right in found.items()
        }
        click.echo(strict_json.report(facts))
        return
    rows = [[name, *(f"{found[label][name]:.1f}" for label in found)] for name in paradigms]
    rows.append(["mean of the paradigms", *(f"{means[label]:.1f}" for label in found)])
    click.echo(console.table(["paradigm", *found], rows))
