"""`lmkit try`: a prompt at which each line is filled in or continued by several models."""

import contextlib
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lmkit import run_paths
from lmkit.cli import console
from lmkit.cli.common import load_all, loading_options, runs_argument
from lmkit.cli.generate import Screen, dropped, say_unknown, unknown_words
from lmkit.cli.stop import go_on
from lmkit.errors import DataError, LmkitError, UsageError, suggest

if TYPE_CHECKING:
    from lmkit.api import Model
    from lmkit.evaluation.fill import Filled

Models = Mapping[str, "Model"]

PROMPT = "> "
HELP = """\
A line with a blank, ____, is filled in by each model; any other line is continued.

:temperature X    divide log-probabilities by X before drawing; 0: the most probable token
:tokens N         maximum number of new tokens
:top N            number of fills to show
:candidates A,B   rank these in the blank; without A,B: the models' own proposals again
:why              show, or no longer show, which words the best fill depends on
:help             show this
:quit             leave, like Ctrl-D

Ctrl-C stops a text. A line that begins with a colon is text if a space stands before it."""


@dataclass(frozen=True)
class Settings:
    """What the commands of the prompt change."""

    temperature: float = 0.8
    max_tokens: int = 40
    top: int = 5
    seed: int | None = None
    candidates: tuple[str, ...] = ()
    why: bool = False


@click.command("try")
@runs_argument
@loading_options
@click.option(
    "--temperature",
    metavar="X",
    type=click.FloatRange(min=0),
    default=Settings.temperature,
    show_default=True,
    help="Divisor of log-probabilities before drawing; 0: the most probable token.",
)
@click.option(
    "--max-tokens",
    metavar="N",
    type=click.IntRange(min=1),
    default=Settings.max_tokens,
    show_default=True,
    help="Maximum number of new tokens.",
)
@click.option(
    "--top",
    metavar="N",
    type=click.IntRange(min=1),
    default=Settings.top,
    show_default=True,
    help="Number of fills to show.",
)
@click.option(
    "--seed",
    metavar="N",
    type=click.IntRange(0, 2**63 - 1),
    help="Random seed, for reproducible texts; every line uses it.",
)
def command(
    runs: tuple[Path, ...],
    device: str,
    allow_nonfinite: bool,
    split_unknown: str,
    temperature: float,
    max_tokens: int,
    top: int,
    seed: int | None,
) -> None:
    """Type lines, and see what the models in the directories RUN fill in or write.

    A line with a blank, "so i will ____ .", is filled in by all models side by side; any other line is continued by
    each, printed as it is generated. :help lists the commands of the prompt. Lines are also read from a pipe.
    """
    models = load_all(
        run_paths.labels(runs), device=device, allow_nonfinite=allow_nonfinite, split_unknown=split_unknown
    )
    settings = Settings(temperature, max_tokens, top, seed)
    asks = sys.stdin.isatty()
    if asks:
        console.say(
            "a line with ____ is filled in, any other continued; :help lists the commands, Ctrl-D leaves"
        )
    for line in _typed() if asks else _piped():
        if not line.strip():
            continue
        go_on()
        try:
            if line.startswith(":"):
                after = _obey(line, settings)
                if after is None:
                    return
                settings = after
            else:
                _answer(models, line, settings)
        except LmkitError as error:
            console.say(str(error), error.label)
        except KeyboardInterrupt:
            if not asks:
                raise
            click.echo()


def _typed() -> Iterator[str]:
    """Lines that are typed, up to Ctrl-D; Ctrl-C gives up a line."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 (input edits lines and remembers them with it)
    while True:
        try:
            yield input(PROMPT)
        except EOFError:
            click.echo()
            return
        except KeyboardInterrupt:
            click.echo()


def _piped() -> Iterator[str]:
    """Lines of standard input, which are shown, so that the output reads like a dialogue."""
    for number, raw in enumerate(sys.stdin.buffer, 1):
        try:
            line = raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise DataError(f"standard input, line {number}: not UTF-8; save the lines as UTF-8") from None
        click.echo(PROMPT + console.shown(line))
        yield line


def _obey(line: str, settings: Settings) -> Settings | None:
    """The settings after a command of the prompt; None: leave."""
    name, _, value = line[1:].strip().partition(" ")
    value = value.strip()
    if name in ("quit", "q", "exit"):
        return None
    if name in ("help", "h", "?"):
        click.echo(HELP)
        return settings
    if name not in CHANGES:
        raise UsageError(f"there is no command :{name}; {suggest(name, [*CHANGES, 'help', 'quit'])}")
    changed = CHANGES[name](settings, value)
    click.echo(f"{name}: {_shown(changed, name)}")
    return changed


def _shown(settings: Settings, name: str) -> str:
    """The value of a setting, by the name of its command."""
    if name == "candidates":
        return console.printable(", ".join(settings.candidates)) or "the models' own proposals"
    if name == "why":
        return "shown" if settings.why else "not shown"
    return f"{getattr(settings, 'max_tokens' if name == 'tokens' else name):g}"


def _temperature(settings: Settings, value: str) -> Settings:
    with contextlib.suppress(ValueError):
        number = float(value)
        if 0 <= number < math.inf:
            return replace(settings, temperature=number)
    raise UsageError(f":temperature '{value}': not a number from 0; give one, as in :temperature 0.8")


def _count(name: str, value: str) -> int:
    if re.fullmatch(r"[1-9][0-9]{0,8}", value):
        return int(value)
    raise UsageError(f":{name} '{value}': not a whole number from 1; give one, as in :{name} 10")


def _candidates(settings: Settings, value: str) -> Settings:
    return replace(settings, candidates=tuple(filter(None, value.replace("，", ",").split(","))))


CHANGES: dict[str, Callable[[Settings, str], Settings]] = {
    "temperature": _temperature,
    "tokens": lambda settings, value: replace(settings, max_tokens=_count("tokens", value)),
    "top": lambda settings, value: replace(settings, top=_count("top", value)),
    "candidates": _candidates,
    "why": lambda settings, value: replace(settings, why=not settings.why),
}
"""The commands that change a setting."""


def _answer(models: Models, line: str, settings: Settings) -> None:
    """Fill in or continue a line with each model; a model that cannot is said to."""
    from lmkit.evaluation.fill import BLANK

    if BLANK.search(line):
        _fill(models, line, settings)
        return
    for label, model in models.items():
        with _reported(label if len(models) > 1 else ""):
            _continue(label if len(models) > 1 else "", model, line, settings)


@contextlib.contextmanager
def _reported(label: str) -> Iterator[None]:
    """Inside the block, an error of one model is a message, so that the others still answer."""
    with console.about(label):
        try:
            yield
        except LmkitError as error:
            console.say(f"{label}: {error}" if label else str(error), error.label)


def _fill(models: Models, line: str, settings: Settings) -> None:
    """The best fills of the models side by side, then what they depend on."""
    from lmkit.cli.fill import printable
    from lmkit.evaluation import fill_report
    from lmkit.evaluation.fill import parse
    from lmkit.studies.fill import Answers, fill

    parse(next(iter(models.values())).tokenizer, line)  # a wrong line is one error, not one of each model
    answers: dict[str, Answers] = {}
    for label, model in models.items():
        with _reported(label if len(models) > 1 else ""):
            answers |= fill({label: model}, line, settings.candidates, why=settings.why)
    if not answers:
        return
    columns = [_ranked(answer.filled, settings.top) for answer in answers.values()]
    longest = max(map(len, columns))
    rows = zip(*(column + [""] * (longest - len(column)) for column in columns), strict=True)
    click.echo(console.table(list(answers), list(rows), left=len(columns)))
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for label, answer in answers.items():
        for candidate, words in answer.unknown.items():
            console.say(f"{label}: '{candidate}' has unknown words ({', '.join(words)})", "note")
        if answer.why is not None:
            shown = fill_report.terminal(printable(answer.why), colours=colours)
            click.echo(console.folded(f"{console.printable(label)}: {shown}"))


def _ranked(filled: "Filled", top: int) -> list[str]:
    """Fills with their shares among all that were ranked."""
    pairs = zip(filled.candidates, filled.shares, strict=True)
    return [f"{candidate}  {share:.1%}" for candidate, share in pairs][:top]


def _continue(label: str, model: "Model", line: str, settings: Settings) -> None:
    """Print the line with its continuation, as this is generated."""
    _ = model.causal  # an encoder's error comes before its heading
    if unknown := unknown_words(model.tokenizer, line):
        say_unknown(unknown)
    if label:
        click.echo(f"{console.printable(label)}:")
    skip = dropped(line, model.tokenizer)
    screen = Screen(line, skip)
    try:
        (found,) = model.generate(
            line,
            max_tokens=settings.max_tokens,
            seed=settings.seed,
            temperature=settings.temperature,
            on_text=screen.add,
        )
    except KeyboardInterrupt:
        screen.interrupt()
        console.say("stopped", "note")
        return
    screen.end(found.text.removeprefix(skip))
