"""`lmkit interpolate`: create a run that mixes the probabilities of other runs."""

import math
from dataclasses import asdict
from pathlib import Path

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import (
    cache_option,
    code_flags,
    code_option,
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
@click.option(
    "--by",
    type=click.Choice(("token", "word", "line")),
    default="token",
    show_default=True,
    help="What is mixed: the probabilities of tokens (of one vocabulary), words or lines (of any tokenizers).",
)
@click.option(
    "--weights",
    metavar="W,W,...",
    help="Use these weights, in the order of the runs, instead of fitting them; TEXT may then be missing.",
)
@device_option
@cache_option("fitted with the weights")
@theta_option("fitted")
@out_option("Directory of the run.", metavar="DIR", required=True)
@overwrite_option("an existing run in --out")
@code_option
@json_option()
def command(
    options: DataOptions,
    items: tuple[str, ...],
    texts: tuple[str, ...],
    by: str,
    weights: str | None,
    device: str,
    cache: int | None,
    cache_theta: float | None,
    out: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Mix the causal models in the directories RUN, with the weights that fit TEXT best.

    TEXT is held-out text, on which none of them was trained. The models must have the same vocabulary, unless --by word
    or --by line mixes the probabilities of larger units. With --cache, the mixture also remembers the last words of the
    text, and a single RUN is enough. The result is a run, and contains copies of its parts.
    """
    if cache_theta is not None and cache is None:
        raise UsageError("--cache-theta needs a cache: also give --cache 2000")
    given = None if weights is None else _numbers(weights)
    asked = split_items(items, texts, "interpolate", needs_text=given is None)

    from lmkit.corpus.readers import Text
    from lmkit.studies.interpolate import interpolate

    found = interpolate(
        asked.runs, Text(asked.texts, options) if asked.texts else None, out, by=by, weights=given,
        cache=cache, cache_theta=cache_theta, overwrite=overwrite, device=device, progress=console.progress,
    )  # fmt: skip
    if as_json:
        facts = {
            "parts": {
                label: {"weight": weight, "perplexity": found.perplexities.get(label)}
                for label, weight in found.weights.items()
            },
            "by": found.by,
            "cache": None if found.cache is None else asdict(found.cache),
            "perplexity": found.perplexity,
            "steps": found.steps,
            "tokens": found.tokens,
        }
        click.echo(strict_json.report(facts))
        return
    figure, shown = ("perplexity", ",.2f") if by == "token" else ("bits per byte", ".4f")

    def cell(perplexity: float | None) -> str:
        # By word and by line the tokens are bytes.
        value = math.log2(perplexity) if perplexity is not None and by != "token" else perplexity
        return "" if value is None else format(value, shown)

    rows = [
        [label, f"{weight:.4f}", cell(found.perplexities.get(label))]
        for label, weight in found.weights.items()
    ]
    if found.cache is not None:
        name = f"cache {found.cache.size}, theta {found.cache.theta:.4g}"
        rows.append([name, f"{found.cache.weight:.4f}", ""])
    header = ["part", "weight"]
    if found.perplexity is not None:
        header.append(figure)
        rows.append(["mixture", "", cell(found.perplexity)])
    click.echo(console.table(header, [row[: len(header)] for row in rows]))
    steps = f"{found.steps} steps of EM" if given is None else "weights as given"
    console.say(f"{steps}; the model is in {out}; next: lmkit eval {out} FILE{code_flags()}")


def _numbers(weights: str) -> list[float]:
    """The numbers of --weights; UsageError for anything else."""
    try:
        return [float(number) for number in weights.split(",")]
    except ValueError:
        raise UsageError(f"--weights {weights}: not numbers separated by commas, such as 0.3,0.7") from None
