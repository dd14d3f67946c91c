"""`lmkit generate`: continue a prompt with a model."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import int8_option, json_option, loads_model
from lmkit.cli.completion import PartName
from lmkit.cli.option_flags import SpecCommand, collected
from lmkit.corpus.options import STDIN
from lmkit.errors import DataError, UsageError, reason_of
from lmkit.onnx_export.options import ENGINES, TORCH
from lmkit.option_owners import DECODER, DEFAULT_DECODER, Named, Owner, decoder_owners
from lmkit.options import choose
from lmkit.plugins import registry

if TYPE_CHECKING:
    from lmkit.contracts import Tokenizer
    from lmkit.generation import Continuation

MAX_UNKNOWN = 5
"""Maximum number of unknown words of a prompt in a note."""


def owners(given: Named) -> list[Owner]:
    """The decoder that the line names."""
    return decoder_owners({DECODER: DEFAULT_DECODER, **given})


def note() -> str:
    """The values of --decoder."""
    return f"Decoders: {', '.join(part.display_name for part in registry().parts('decoder')) or 'none'}."


def read_prompt(file: Path) -> str:
    """The text of a file, or of standard input for "-", without its last line end; DataError if it cannot be read."""
    try:
        stdin = str(file) == STDIN
        data = sys.stdin.buffer.read() if stdin else file.read_bytes()
        return data.decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n")
    except OSError as error:
        raise DataError(f"the prompt {file} cannot be read: {reason_of(error)}; check the path") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"the prompt {file}: byte {error.start} is not UTF-8; save the prompt as UTF-8"
        ) from None


def read_prompts(file: Path) -> list[str]:
    """The lines of a file, or of standard input for "-"; DataError if there are none."""
    text = read_prompt(file)
    if not text:
        raise DataError(f"{file}: no prompts; write one on each line")
    return text.split("\n")


def unknown_words(tokenizer: "Tokenizer", prompt: str) -> list[str]:
    """The parts of a prompt that a model reads as the unknown token, each once."""
    found: dict[str, None] = {}
    for line in prompt.split("\n"):
        encoding = tokenizer.encode(line)
        for token, (start, end) in zip(encoding.ids.tolist(), encoding.spans.tolist(), strict=True):
            if token == tokenizer.vocabulary.unk_id:
                found[line[start:end].strip()] = None
    return list(found)


def say_unknown(words: list[str]) -> None:
    """Print a note about the unknown words of a prompt."""
    shown = ", ".join(repr(word) for word in words[:MAX_UNKNOWN])
    more = f" and {len(words) - MAX_UNKNOWN} more" if len(words) > MAX_UNKNOWN else ""
    console.say(f"the model does not know {shown}{more}; all become the unknown token", "note")


class Screen:
    """Print a text on stdout as it is generated, after its prompt, which appears together with the first piece."""

    def __init__(self, prompt: str, skip: str) -> None:
        self._prompt = prompt
        self._skip = skip
        self._shown = ""

    def add(self, piece: str) -> None:
        """Print the next piece of the text."""
        if piece and not self._shown:
            piece = piece.removeprefix(self._skip)
            click.echo(console.shown(self._prompt), nl=False)
            self._prompt, self._skip = "", ""
        self._shown += piece
        click.echo(console.shown(piece), nl=False)

    def end(self, text: str) -> None:
        """Print the rest of a text, and end the line."""
        click.echo(console.shown(self._prompt + text[len(self._shown) :]))

    def interrupt(self) -> None:
        """End the line unless it is empty."""
        if self._shown:
            click.echo()


@click.command(cls=SpecCommand, grow=owners, note=note)
@loads_model
@int8_option
@click.option(
    "--engine",
    type=click.Choice([TORCH, *ENGINES]),
    default=TORCH,
    show_default=True,
    help="What computes each token: torch, or onnxruntime on the CPU, faster for few texts (docs/export.md).",
)
@click.option("--prompt", metavar="TEXT", default="", help="Beginning of the text.")
@click.option(
    "--prompt-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read the prompt from this file (-: standard input).",
)
@click.option(
    "--prompts",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Continue each line of this file (-: standard input) and print JSON Lines.",
)
@click.option(
    "--max-tokens",
    "--max-new-tokens",
    metavar="N",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="Maximum number of new tokens.",
)
@click.option(
    "--stop",
    type=click.Choice(["line"]),
    help="End each text with its line (default: only if the model resets its state at each line).",
)
@click.option(
    "--no-repeat-ngram",
    metavar="N",
    type=click.IntRange(min=1),
    help="Never repeat a sequence of N tokens in prompt and text.",
)
@click.option(
    "--decoder",
    metavar="NAME",
    type=PartName("decoder"),
    help=f"How to choose tokens (default {DEFAULT_DECODER}).",
)
@click.option(
    "--num", metavar="N", type=click.IntRange(min=1), default=1, show_default=True, help="Number of texts."
)
@click.option(
    "--seed",
    metavar="N",
    type=click.IntRange(0, 2**63 - 1),
    help="Random seed, for reproducible output; every line of --prompts uses it.",
)
@json_option("Print the texts as JSON, with their log-probabilities.")
@click.pass_context
def command(
    ctx: click.Context,
    run: Path,
    device: str,
    allow_nonfinite: bool,
    int8: bool,
    engine: str,
    prompt: str,
    prompt_file: Path | None,
    prompts: Path | None,
    max_tokens: int,
    stop: str | None,
    no_repeat_ngram: int | None,
    decoder: str | None,
    num: int,
    seed: int | None,
    as_json: bool,
) -> None:
    """Continue a prompt with the model in the directory RUN.

    The text is printed as it is generated. Of several texts, only the first is; with --json or --prompts, none is.
    """
    chosen = choose("decoder", collected(ctx)["decoder"], "decoder")
    if sum([bool(prompt), prompt_file is not None, prompts is not None]) > 1:
        raise UsageError("--prompt, --prompt-file and --prompts all give prompts; use only one of them")
    if prompt_file is not None:
        prompt = read_prompt(prompt_file)
    if engine != TORCH and int8:
        raise UsageError("--int8 is for the engine torch; leave it out, or give --engine onnx-int8")
    if engine != TORCH and device == "auto":
        device = "cpu"
    lines = [prompt] if prompts is None else read_prompts(prompts)

    from lmkit import api

    model = api.load(run, device=device, allow_nonfinite=allow_nonfinite, int8=int8)
    if unknown := unknown_words(model.tokenizer, "\n".join(lines)):
        say_unknown(unknown)
    settings = {
        "max_tokens": max_tokens,
        "decoder": chosen,
        "num": num,
        "seed": seed,
        "stop": stop,
        "no_repeat_ngram": no_repeat_ngram,
        "engine": engine,
    }
    if prompts is not None:
        for number, (line, found) in enumerate(
            zip(lines, model.generate_each(lines, **settings), strict=True), 1
        ):
            for row in _rows(line, found, model.tokenizer):
                click.echo(strict_json.report({"line": number, **row}))
        return
    if as_json:
        click.echo(strict_json.report(_rows(prompt, model.generate(prompt, **settings), model.tokenizer)))
        return
    screen = Screen(prompt, dropped(prompt, model.tokenizer))
    try:
        found = model.generate(prompt, on_text=screen.add, **settings)
    except BaseException as error:
        # On a terminal, click ends the line after Ctrl-C.
        if not (isinstance(error, KeyboardInterrupt) and sys.stdout.isatty() and sys.stderr.isatty()):
            screen.interrupt()
        raise
    first, *others = _rows(prompt, found, model.tokenizer)
    screen.end(str(first["text"]))
    for row in others:
        click.echo(console.shown(f"{prompt}{row['text']}"))


def _rows(prompt: str, found: "Iterable[Continuation]", tokenizer: "Tokenizer") -> list[dict[str, object]]:
    skip = dropped(prompt, tokenizer)
    return [
        {"prompt": prompt, "text": one.text.removeprefix(skip), "log_prob": one.log_prob} for one in found
    ]


def dropped(prompt: str, tokenizer: "Tokenizer") -> str:
    """The space at the end of a prompt, if a tokenizer of words drops it and writes it before the next word."""
    return " " if prompt.endswith(" ") and not tokenizer.lossless else ""
