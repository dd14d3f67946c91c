"""Try a rule on a part: the failure with the smallest input that shows it."""

import contextlib
import itertools
import traceback
from dataclasses import dataclass, field

import torch

from lmkit.errors import LmkitError, one_line, with_kind
from lmkit.plugins import Part
from lmkit.testing.rules import Case, NotMadeError, Rule
from lmkit.testing.sources import Place, place_of_error, place_of_methods

MOST_ATTEMPTS = 200
"""Smaller inputs that are tried for one failure."""


@dataclass(frozen=True)
class Failure:
    """How a part breaks a rule.

    problem: what failed. input: the smallest input found that shows it, "" if the rule has none.
    change: what to do. place: the line of the author's source that raised the error, else the method that the rule is
    about; None if there is no source. error: the exception behind it.
    tested: False if the part could not be made, so that the rule was not tested; `problem` is the reason.
    """

    problem: str
    input: str
    change: str
    place: Place | None
    error: Exception = field(repr=False, compare=False)
    tested: bool = True

    def lines(self) -> list[tuple[str, str]]:
        """The filled-in fields with their titles, for people."""
        where = "" if self.place is None else str(self.place)
        rows = [("problem", self.problem), ("input", self.input), ("change", self.change), ("where", where)]
        return [(title, text) for title, text in rows if text]


def failure_of(rule: Rule, part: Part) -> Failure | None:
    """How the part breaks the rule, or None; torch's random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            cases = list(rule.cases(part))
        except Exception as error:
            return _failure(rule, part, "", error)
        for index, case in enumerate(cases):
            error = _attempt(rule, part, case)
            if error is not None:
                case, error = _smallest(rule, part, case, error)
                shown = "; ".join([str(case), *(f"with {held} the rule holds" for held in cases[:index])])
                return _failure(rule, part, shown, error)
    return None


def _attempt(rule: Rule, part: Part, case: Case) -> Exception | None:
    torch.manual_seed(0)
    try:
        rule.function(part, case)
    except Exception as error:
        return error
    return None


def _smallest(rule: Rule, part: Part, case: Case, error: Exception) -> tuple[Case, Exception]:
    """The smallest case found in which the rule is broken in the same way, and the error there."""
    left = MOST_ATTEMPTS
    improved = True
    while improved:
        improved = False
        for smaller in itertools.islice(case.smaller(), left):
            left -= 1
            found = _attempt(rule, part, smaller)
            if found is not None and _way(found, part) == _way(error, part):
                case, error, improved = smaller, found, True
                break
    return case, error


def _way(error: Exception, part: Part) -> tuple[object, ...]:
    """Equal for errors of one class from the same lines of a rule and of the part."""
    return (type(error), place_of_error(error, part), *_suite_lines(error))


def _suite_lines(error: Exception) -> list[tuple[str, int]]:
    """The lines of the suite that an exception passed through, the innermost last."""
    return [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").startswith("lmkit.testing")
    ]


def _failure(rule: Rule, part: Part, shown: str, error: Exception) -> Failure:
    place = place_of_error(error, part)
    if place is None:
        with contextlib.suppress(LmkitError):  # the rule about loading says why
            place = place_of_methods(part.load(), part, rule.about)
    return Failure(_problem(error), shown, rule.change, place, error, not isinstance(error, NotMadeError))


def _problem(error: Exception) -> str:
    """The text of an assertion of the suite; for any other exception also its class."""
    if isinstance(error, NotMadeError):
        return one_line(error)
    last = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1:]
    of_suite = all(frame.f_globals.get("__name__", "").startswith("lmkit.testing") for frame in last)
    # The suite's own texts are one line, and may quote white space.
    return str(error) if type(error) is AssertionError and of_suite else with_kind(error)
