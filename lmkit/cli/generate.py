"""`lmkit generate`: text that a model writes after a prompt."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import int8_option, loads_model
from lmkit.cli.completion import PartName, display_name
from lmkit.cli.dynamic import Section, SpecCommand, collected, part_sections, pick
from lmkit.corpus.options import STDIN
from lmkit.errors import DataError, UsageError
from lmkit.options import choose
from lmkit.plugins import registry

if TYPE_CHECKING:
    from lmkit.contracts import Tokenizer

DEFAULT_DECODER = "sample"

MAX_UNKNOWN = 5
"""Unknown words of a prompt that are named."""


def sections(given: Mapping[str, str]) -> list[Section]:
    """The options of the decoder that the line names."""
    table = pick("decoder", {}, given.get("decoder", DEFAULT_DECODER), "decoder")
    return part_sections("decoder", table, given, ("decoder",))


def note() -> str:
    """The names that --decoder takes."""
    return f"Decoders: {', '.join(display_name(part) for part in registry().parts('decoder')) or 'none'}."


def read_prompt(file: Path) -> str:
    """The text of a file, or of standard input for "-", without its last line end; DataError if there is none."""
    try:
        stdin = str(file) == STDIN
        data = sys.stdin.buffer.read() if stdin else file.read_bytes()
        return data.decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n")
    except OSError as error:
        raise DataError(f"the prompt {file} cannot be read: {error.strerror}; check the path") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"the prompt {file}: byte {error.start} is not UTF-8; save the prompt as UTF-8"
        ) from None


def unknown_words(tokenizer: "Tokenizer", prompt: str) -> list[str]:
    """The parts of a prompt that are the unknown token to a model, each once."""
    found: dict[str, None] = {}
    for line in prompt.split("\n"):
        encoding = tokenizer.encode(line)
        for token, (start, end) in zip(encoding.ids.tolist(), encoding.spans.tolist(), strict=True):
            if token == tokenizer.vocabulary.unk_id:
                found[line[start:end].strip()] = None
    return list(found)


def _say_unknown(words: list[str]) -> None:
    shown = ", ".join(repr(word) for word in words[:MAX_UNKNOWN])
    more = f" and {len(words) - MAX_UNKNOWN} more" if len(words) > MAX_UNKNOWN else ""
    console.say(f"the model does not know {shown}{more}; each is the same unknown word to it")


@click.command(cls=SpecCommand, grow=sections, note=note)
@loads_model
@int8_option
@click.option("--prompt", metavar="TEXT", default="", help="What the text begins with.")
@click.option(
    "--prompt-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read the prompt from this file (-: standard input).",
)
@click.option(
    "--max-tokens",
    "--max-new-tokens",
    metavar="N",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="How many tokens follow at most.",
)
@click.option(
    "--decoder",
    metavar="NAME",
    type=PartName("decoder"),
    help=f"How tokens are chosen (default {DEFAULT_DECODER}).",
)
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
    int8: bool,
    prompt: str,
    prompt_file: Path | None,
    max_tokens: int,
    decoder: str | None,
    num: int,
    seed: int | None,
    as_json: bool,
) -> None:
    """Continue a prompt with the model in the directory RUN."""
    chosen = choose("decoder", collected(ctx)["decoder"], "decoder")
    if prompt_file is not None:
        if prompt:
            raise UsageError("--prompt and --prompt-file both give a prompt; leave one out")
        prompt = read_prompt(prompt_file)

    from lmkit import api

    model = api.load(run, device=device, allow_nonfinite=allow_nonfinite, int8=int8)
    if unknown := unknown_words(model.tokenizer, prompt):
        _say_unknown(unknown)
    # A tokenizer of words drops the space that ends a prompt, and puts it before the next word.
    skip = " " if prompt.endswith(" ") and not model.tokenizer.lossless else ""
    rows = [
        {"prompt": prompt, "text": found.text.removeprefix(skip), "log_prob": found.log_prob}
        for found in model.generate(prompt, max_tokens=max_tokens, decoder=chosen, num=num, seed=seed)
    ]
    if as_json:
        click.echo(strict_json.report(rows))
    else:
        for row in rows:
            click.echo(prompt + row["text"])
