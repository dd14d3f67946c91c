"""Errors that the user can fix; each class has its exit code."""

import difflib
import errno
import re
from collections.abc import Callable, Iterable


class LmkitError(Exception):
    """Something went wrong that the user can fix.

    The message is one line (or a list of lines when several problems are reported at once) that says
    what is wrong, where, and what to do. The command line prints it without a traceback.
    """

    exit_code = 1
    label = "error"
    """The label that the command line prints before the message."""


class UsageError(LmkitError):
    """A command, an option or a recipe is invalid."""

    exit_code = 2


class DataError(LmkitError):
    """A text cannot be read or is too short."""

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
    """Suggest the known name most like an unknown one, or else list them all."""
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names) or 'none'}"


def listed(problems: list[str]) -> str:
    """One message for several problems."""
    return (
        problems[0]
        if len(problems) == 1
        else "\n".join([f"{len(problems)} problems:", *("  " + p for p in problems)])
    )


def problems_of(error: LmkitError) -> list[str]:
    """The problems in a message of `listed`."""
    first, *rest = str(error).splitlines()
    return [line.strip() for line in rest] or [first]


def one_line(error: BaseException) -> str:
    """The text of an exception in one line; its class if it has no text."""
    return " ".join(str(error).split()) or type(error).__name__


def reason_of(error: BaseException) -> str:
    """The same, but for an OSError only its reason, without number and file: "No space left on device"."""
    return getattr(error, "strerror", None) or one_line(error)


def refused_memory(error: BaseException) -> str | None:
    """What to say if the system, or a GPU, refused memory to Python, numpy or torch; None for any other error."""
    text = one_line(error)
    asked = re.search(r"allocate ([\d.]+ ?[KMGTPE]i?B)|tried to allocate (\d+) bytes", text)
    # The third is oneDNN's, which lacks memory for its code; the fourth Python's, for the stack of a thread.
    refusals = "can't allocate memory|out of memory|could not create a primitive$|can't start new thread"
    of_torch = isinstance(error, RuntimeError) and re.search(refusals, text)
    of_system = isinstance(error, OSError) and error.errno == errno.ENOMEM
    if not (isinstance(error, MemoryError) or of_torch or of_system):
        return None
    size = ""
    if asked is not None:
        size = asked[1].replace(". ", " ") if asked[1] else f"{int(asked[2]) / 2**30:,.0f} GiB"
        size = f" ({size} asked for at once)"
    return (
        f"not enough memory{size}: close other programs, or ask for less at once: a smaller --batch-size, --bptt or "
        "model; for n-grams --memory, a lower --order, or --prune"
    )


def first_line(error: BaseException) -> str:
    """The first line of the text of an exception, without explanations for programmers; its class if it has no text."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def with_kind(error: BaseException, said: Callable[[BaseException], str] = one_line) -> str:
    """The class of an exception, then the result of `one_line` or `first_line`: "KeyError: 'loss'"."""
    kind, text = type(error).__name__, said(error)
    return kind if text == kind else f"{kind}: {text}"
