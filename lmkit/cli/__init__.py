"""The command line: the commands, their messages and exit codes; `main` is the console script."""

import contextlib
import importlib
import itertools
import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from lmkit import __version__, launch
from lmkit.cli import console
from lmkit.cli.stop import TERMINATED, asked_to_stop, handle_signals, leave_at_once
from lmkit.errors import (
    DataError,
    LmkitError,
    PluginError,
    UsageError,
    reason_of,
    refused_memory,
    suggest,
    with_kind,
)
from lmkit.files import FULL

COMMANDS = {
    "train": ("lmkit.cli.train", "Train a model on text."),
    "sweep": ("lmkit.cli.sweep", "Train a recipe with values from ranges, and find the best."),
    "eval": ("lmkit.cli.eval", "Score text: perplexity, bits per byte and more."),
    "surprisal": (
        "lmkit.cli.surprisal",
        "Compute the surprisal of each word, token, character, line or span.",
    ),
    "info": ("lmkit.cli.info", "Describe runs: model, training text, size, scores."),
    "verify": ("lmkit.cli.verify", "Compare the files of runs with what was saved."),
    "generate": ("lmkit.cli.generate", "Continue a prompt."),
    "embed": ("lmkit.cli.embed", "Write vectors of tokens, words or sentences to a file."),
    "classify": ("lmkit.cli.classify", "Train a classifier of texts."),
    "predict": ("lmkit.cli.predict", "Classify texts, and measure accuracy on labelled ones."),
    "try": ("lmkit.cli.try_", "Type lines, and see what models fill in or write."),
    "fill": ("lmkit.cli.fill", "Fill in the blank of a line, and show why."),
    "minimal-pairs": ("lmkit.cli.minimal_pairs", "Measure accuracy on pairs of good and bad sentences."),
    "syntaxgym": ("lmkit.cli.syntaxgym", "Measure accuracy on the predictions of SyntaxGym suites."),
    "compare": ("lmkit.cli.compare", "Score any set of models on one text, in one table."),
    "context": ("lmkit.cli.context", "Measure how much context models use."),
    "distances": ("lmkit.cli.distances", "Measure how far back models remember a cause."),
    "count": ("lmkit.cli.count", "Count the n-grams of a text of any size."),
    "average": ("lmkit.cli.average", "Average the weights of runs or checkpoints."),
    "interpolate": ("lmkit.cli.interpolate", "Mix models into one."),
    "serve": ("lmkit.cli.serve", "Serve runs over HTTP: completions, scores, vectors."),
    "export": ("lmkit.cli.export", "Write a model in another format."),
    "import": ("lmkit.cli.import_", "Create a run from a model in another format."),
    "recipes": ("lmkit.cli.recipes", "List, show and copy the recipes that ship with lmkit."),
    "plugins": ("lmkit.cli.plugins", "List, describe, begin, check and measure parts."),
}
"""The module of each command (with `command`) and its line of help, so that `lmkit --help` imports no command."""

HIDDEN = {"measure": "lmkit.cli.measure"}
"""Commands that other commands run in a separate process."""

INTERRUPTED = 130
PIPE_CLOSED = 141
"""128 + SIGPIPE: the usual exit code of a program when the reader of its output has gone."""


class LazyGroup(click.Group):
    """A group that imports a command when it runs it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = HIDDEN.get(cmd_name) or COMMANDS.get(cmd_name, ("",))[0]
        return importlib.import_module(module).command if module else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        args = [args[0].replace("_", "-"), *args[1:]]
        if args[0] not in COMMANDS | HIDDEN:
            if ctx.resilient_parsing:  # shell completion of an unfinished line
                return None, None, args
            raise UsageError(f"there is no command '{args[0]}'; {suggest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            # Python flushes stdout again at exit, and would report an error.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(PIPE_CLOSED)
        finally:
            # Before an error is printed, and before click ends the line after Ctrl-C.
            console.close_bars()

    def main(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run a command line and exit: every error is one message on stderr and the exit code of its class."""
        args = sys.argv[1:] if args is None else list(args)
        debug = "--debug" in itertools.takewhile(lambda arg: arg.startswith("-"), args)
        try:
            extra["standalone_mode"] = False
            code = super().main(args, prog_name or "lmkit", **extra)
        except Exception as error:
            code = _report(error, debug)
        except KeyboardInterrupt:  # outside of a command; click makes the others an Abort
            code = _report(click.Abort(), debug)
        sys.exit(code if isinstance(code, int) else 0)


def _report(error: Exception, debug: bool) -> int:
    """Print the error; return the exit code."""
    if isinstance(error, click.Abort):
        console.say("interrupted", "error")
        return INTERRUPTED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    if debug:
        traceback.print_exception(error)
    if launch.follows() and isinstance(error, (click.ClickException, UsageError)):
        return error.exit_code  # the process that leads, which has the same command line, prints it
    if isinstance(error, click.ClickException):
        console.say(_click_message(error), "error")
        return error.exit_code
    if isinstance(error, LmkitError):
        console.say(_in_lines(str(error)), error.label)
        return error.exit_code
    if (refusal := refused_memory(error)) is not None:
        console.say(refusal, "error")
        return DataError.exit_code
    if isinstance(error, OSError) and error.errno in FULL:
        place = _in_lines(str(error.filename or "the output"))
        console.say(f"{place} cannot be written ({reason_of(error)}); free some space", "error")
        return DataError.exit_code
    if isinstance(error, OSError) and error.filename is not None:
        place = _in_lines(str(error.filename))
        console.say(f"{place}: {reason_of(error)}; check the path and its permissions", "error")
        return 1
    if (asked := asked_to_stop()) is not None:
        return _report(click.Abort(), debug) if isinstance(asked, KeyboardInterrupt) else TERMINATED
    from lmkit.blame import account, at_fault

    if found := at_fault(error):
        who, remedy = found
        hint = "" if debug else " (lmkit --debug shows the traceback)"
        console.say(f"{who} failed: {account(error)}; {remedy}{hint}", "error")
        return PluginError.exit_code
    console.say(f"internal {with_kind(error)}; run with lmkit --debug and report it", "error")
    return 1


def _in_lines(message: str) -> str:
    """A message whose only line ends are those before the indented problems of a list, not those in a path."""
    return re.sub(r"\n(?!  )", r"\\n", message)


def _click_message(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message} (see {context.command_path} --help)" if context else message


@click.group(
    cls=LazyGroup,
    context_settings={
        "max_content_width": 100,
        "help_option_names": ["-h", "--help"],
        # --hidden_size is --hidden-size.
        "token_normalize_func": lambda token: token.replace("_", "-"),
    },
)
@click.version_option(__version__, prog_name="lmkit", message="%(prog)s %(version)s")
@click.option("--no-plugins", is_flag=True, help="Disable third-party plugins.")
@click.option("--verbose", is_flag=True, help="Print details to stderr.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, no_plugins: bool, verbose: bool, debug: bool) -> None:
    """Train, score and query language models; every part is a plugin.

    A first model: lmkit train --model gru TEXT
    """
    from lmkit.plugins import packages, use_third_party

    if launch.started() > 1 and ctx.invoked_subcommand != "train":
        raise UsageError(
            f"torchrun starts several processes, but only lmkit train shares its work among them: start lmkit "
            f"{ctx.invoked_subcommand} without it"
        )
    ctx.obj = console.start_messages(verbose or debug, packages() if verbose else ())
    if launch.follows():
        ctx.obj.setLevel(logging.ERROR)
    use_third_party(not no_plugins)


def main() -> NoReturn:
    """Run `lmkit`."""
    handle_signals()
    try:
        cli.main()
    except SystemExit as end:
        leave_at_once(end.code if isinstance(end.code, int) else 0)
