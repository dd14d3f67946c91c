"""What a rule for parts is: a function, the inputs that it is tried on, and what to do about a part that breaks it."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

from lmkit.errors import UsageError, one_line
from lmkit.plugins import Part


class NotMadeError(Exception):
    """The part refuses to be made from what the suite has: it needs an extra, or is not made from text."""


@contextlib.contextmanager
def making() -> Iterator[None]:
    """Inside the block, where a part is created, turn a UsageError into a NotMadeError."""
    try:
        yield
    except UsageError as error:
        raise NotMadeError(one_line(error)) from error


class Case(Protocol):
    """An input of a rule; its text describes it, "" if there is nothing to describe."""

    def smaller(self) -> Iterable[Self]:
        """Smaller inputs of the same form, the smallest first."""
        ...


@dataclass(frozen=True)
class NoInput:
    """The input of a rule that needs none, or always the same."""

    def __str__(self) -> str:
        return ""

    def smaller(self) -> Iterable[Self]:
        return ()


def no_input(part: Part) -> list[NoInput]:
    """The only case of a rule about the part itself."""
    return [NoInput()]


@dataclass(frozen=True)
class Rule:
    """One rule for the parts of a kind.

    function: called as `function(part, case)`; it raises AssertionError where the part breaks the rule. Its docstring
    is the rule in words. cases: the inputs that the rule is tried on, given the part.
    change: what to do about a part that breaks it. about: the methods that may be at fault, the likeliest first.
    """

    function: Callable[[Part, Any], None]
    cases: Callable[[Part], Iterable[Case]]
    change: str
    about: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def text(self) -> str:
        """The rule in words."""
        return (self.function.__doc__ or "").strip()


RuleFunction = TypeVar("RuleFunction", bound=Callable[..., None])


class RuleBook:
    """The rules of a kind in the order of their definition; used as a decorator, it adds one.

    cases: the inputs of rules that name no others.
    """

    def __init__(self, cases: Callable[[Part], Iterable[Case]] = no_input) -> None:
        self.rules: list[Rule] = []
        self._cases = cases

    def __call__(
        self,
        change: str,
        *,
        about: tuple[str, ...] = (),
        cases: Callable[[Part], Iterable[Case]] | None = None,
    ) -> Callable[[RuleFunction], RuleFunction]:
        def add(function: RuleFunction) -> RuleFunction:
            self.rules.append(Rule(function, cases or self._cases, change, about))
            return function

        return add
