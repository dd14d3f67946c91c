"""`lmkit interpolate`: create a run that mixes the probabilities of other runs."""

from dataclasses import asdict
from pathlib import Path

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import (
    cache_option,
    data_command,
    data_option,
    device_option,
    items_argument,
    json_option,
    out_option,
    overwrite_option,
    split_items,
    theta_option,
)
from lmkit.corpus.options import DataOptions
from lmkit.errors import UsageError


@data_command
@items_argument
@data_option
@device_option
@cache_option("fitted with the weights")
@theta_option("fitted")
@out_option("Directory of the run.", metavar="DIR", required=True)
@overwrite_option("an existing run in --out")
@json_option()
def command(
    options: DataOptions,
    items: tuple[str, ...],
    texts: tuple[str, ...],
    device: str,
    cache: int | None,
    cache_theta: float | None,
    out: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Mix the causal models in the directories RUN, with the weights that fit TEXT best.

    With --cache, the mixture also remembers the last words of the text, and a single RUN is enough.
    The models must have the same vocabulary. TEXT is held-out text, on which none of them was trained.
    The result is a run like any other, and contains copies of its parts.
    """
    if cache_theta is not None and cache is None:
        raise UsageError("--cache-theta needs a cache: also give --cache 2000")
    asked = split_items(items, texts, "interpolate")

    from lmkit.corpus.readers import Text
    from lmkit.studies.interpolate import interpolate

    found = interpolate(
        asked.runs, Text(asked.texts, options), out,
        cache=cache, cache_theta=cache_theta, overwrite=overwrite, device=device, progress=console.progress,
    )  # fmt: skip
    if as_json:
        facts = {
            "parts": {
                label: {"weight": weight, "perplexity": found.perplexities[label]}
                for label, weight in found.weights.items()
            },
            "cache": None if found.cache is None else asdict(found.cache),
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
    if found.cache is not None:
        name = f"cache {found.cache.size}, theta {found.cache.theta:.4g}"
        rows.append([name, f"{found.cache.weight:.4f}", ""])
    rows.append(["mixture", "", f"{found.perplexity:,.2f}"])
    click.echo(console.table(["part", "weight", "perplexity"], rows))
    console.say(f"{found.steps} steps of EM; the model is in {out}; next: lmkit eval {out} FILE")
