"""The errors that a person can act on; each class carries the exit code of its kind."""

import difflib
from collections.abc import Callable, Iterable


class LmkitError(Exception):
    """Something went wrong that the user can fix.

    The message is one line (or a list of lines when several problems are reported at once) that says
    what is wrong, where, and what to do. The command line prints it without a traceback.
    """

    exit_code = 1
    label = "error"
    """What the command line puts in front of the message."""


class UsageError(LmkitError):
    """A command, an option or a recipe is invalid."""

    exit_code = 2


class DataError(LmkitError):
    """The text that was given cannot be read or is not enough."""

    exit_code = 3


class ModelError(LmkitError):
    """A model directory is missing, damaged or not what it claims to be."""

    exit_code = 4


class CheckpointError(LmkitError):
    """A run cannot be resumed."""

    exit_code = 5


class PluginError(LmkitError):
    """A plugin is missing, broken, or made for another version."""

    exit_code = 6


def suggest(name: object, known: Iterable[str]) -> str:
    """What to write instead of a name that is not known: the known one most like it, else all that there are."""
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(names) or 'none'}"


def listed(problems: list[str]) -> str:
    """One message for several problems found at once."""
    return (
        problems[0]
        if len(problems) == 1
        else "\n".join([f"{len(problems)} problems:", *("  " + p for p in problems)])
    )


def one_line(error: BaseException) -> str:
    """The text of an exception in one line; its kind where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def reason_of(error: BaseException) -> str:
    """The same; of the system's errors, what went wrong without its number and the file: "No space left on device"."""
    return getattr(error, "strerror", None) or one_line(error)


def first_line(error: BaseException) -> str:
    """The first line of the text of an exception, where explanations for programmers follow it; else its kind."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def with_kind(error: BaseException, said: Callable[[BaseException], str] = one_line) -> str:
    """The kind of an exception, then what `one_line` or `first_line` gives: "KeyError: 'loss'"."""
    kind, text = type(error).__name__, said(error)
    return kind if text == kind else f"{kind}: {text}"
