"""`lmkit generate`: text that a model writes after a prompt."""

import json
from collections.abc import Mapping
from pathlib import Path

import click

from lmkit.cli.common import loads_model
from lmkit.cli.dynamic import Section, SpecCommand, collected, display_name, part_sections, pick
from lmkit.options import choose
from lmkit.plugins import registry

DEFAULT_DECODER = "sample"


def sections(given: Mapping[str, str]) -> list[Section]:
    """The options of the decoder that the line names."""
    table = pick("decoder", {}, given.get("decoder", DEFAULT_DECODER), "decoder")
    return part_sections("decoder", table, given, ("decoder",))


def note() -> str:
    """The names that --decoder takes."""
    return f"Decoders: {', '.join(display_name(part) for part in registry().parts('decoder')) or 'none'}."


@click.command(cls=SpecCommand, grow=sections, note=note)
@loads_model
@click.option("--prompt", metavar="TEXT", default="", help="What the text begins with.")
@click.option(
    "--max-tokens",
    metavar="N",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="How many tokens follow at most.",
)
@click.option("--decoder", metavar="NAME", help=f"How tokens are chosen (default {DEFAULT_DECODER}).")
@click.option(
    "--num", metavar="N", type=click.IntRange(min=1), default=1, show_default=True, help="How many texts."
)
@click.option(
    "--seed", metavar="N", type=click.IntRange(0, 2**63 - 1), help="Seed of chance, to repeat a text."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the texts as JSON, with their log-probabilities."
)
@click.pass_context
def command(
    ctx: click.Context,
    run: Path,
    device: str,
    allow_nonfinite: bool,
    prompt: str,
    max_tokens: int,
    decoder: str | None,
    num: int,
    seed: int | None,
    as_json: bool,
) -> None:
    """Continue a prompt with the model in the directory RUN."""
    chosen = choose("decoder", collected(ctx)["decoder"], "decoder")

    from lmkit import api

    model = api.load(run, device=device, allow_nonfinite=allow_nonfinite)
    texts = model.generate(prompt, max_tokens=max_tokens, decoder=chosen, num=num, seed=seed)
    if as_json:
        rows = [{"prompt": prompt, "text": text.text, "log_prob": text.log_prob} for text in texts]
        click.echo(json.dumps(rows, ensure_ascii=False))
    else:
        for text in texts:
            click.echo(prompt + text.text)
