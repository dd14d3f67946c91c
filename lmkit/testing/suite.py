"""Select the checks for parts by name."""

from dataclasses import dataclass

from lmkit.contracts import Encoder
from lmkit.errors import PluginError, UsageError
from lmkit.part_files import FilePart, is_file, part_from_file
from lmkit.plugins import Part, registry
from lmkit.specs import KINDS
from lmkit.testing import cells, common, decoders, encoders, loggers, models, tokenizers
from lmkit.testing.results import Failure, failure_of
from lmkit.testing.rules import Rule

RULES: dict[str, list[Rule]] = {
    "tokenizer": tokenizers.RULES.rules,
    "cell": cells.RULES.rules,
    "model": models.RULES.rules,
    "decoder": decoders.RULES.rules,
    "logger": loggers.RULES.rules,
    "encoder": encoders.RULES.rules,
}
"""The rules of each kind; `common` has those of all."""


@dataclass(frozen=True)
class Check:
    """One rule for one part; call it to check."""

    part: Part
    _rule: Rule

    @property
    def name(self) -> str:
        """The name of the rule: "check_causality"."""
        return self._rule.name

    @property
    def rule(self) -> str:
        """The rule in words."""
        return self._rule.text

    def __str__(self) -> str:
        return f"{self.part.kind} {self.part.long_name}: {self.name}"

    def failure(self) -> Failure | None:
        """How the part breaks the rule, with the smallest input that shows it; None if it keeps the rule.

        torch's random state stays as it was.
        """
        return failure_of(self._rule, self.part)

    def __call__(self) -> None:
        """Raise AssertionError with the part, the rule and the failure, if the part breaks the rule."""
        failure = self.failure()
        if failure is not None:
            lines = [f"  {title}: {text}" for title, text in failure.lines()]
            message = f"the {self.part.kind} '{self.part.long_name}' breaks the rule: {self.rule}"
            raise AssertionError("\n".join([message, *lines])) from failure.error


def checks(*names: str, kind: str | None = None) -> list[Check]:
    """The checks of all parts with these names.

    A name is a part's bare or long name, `owner:*` for all parts of a distribution, a kind ("cell"), or a class in a
    file, "mycell.py:MyCell", which is then run.
    kind: only parts of this kind, for a name that several kinds have.
    Raises UsageError or PluginError for a name without parts or a plugin that cannot be imported.
    """
    return [check for part in selected(names, kind) for check in checks_of(part)]


def selected(names: tuple[str, ...], kind: str | None = None) -> list[Part]:
    """The parts that `checks` is about."""
    if not __debug__:
        raise UsageError(
            "the checks are assertions, which python -O and PYTHONOPTIMIZE leave out; run without them"
        )
    return [part for name in names for part in _select(name, kind)]


def checks_of(part: Part) -> list[Check]:
    """The checks of one part; for one that cannot be loaded, only those that report this."""
    rules = [*common.RULES.rules, *([] if isinstance(part, FilePart) else common.PACKAGED.rules)]
    try:
        target = part.load()
    except PluginError:
        pass
    else:
        # An encoder gives vectors, so the rules about scores do not apply to it.
        rules = [*rules, *RULES["encoder" if issubclass(target, Encoder) else part.kind]]
    return [Check(part, rule) for rule in rules]


def _select(name: str, kind: str | None) -> list[Part]:
    parts = registry()
    if is_file(name):
        part = part_from_file(name)
        if kind not in (None, part.kind):
            raise UsageError(f"{name} is a {part.kind}; leave out --kind {kind}")
        return [part]
    if name in KINDS:
        return parts.parts(name)
    owner, _, bare = name.rpartition(":")
    if bare != "*":
        return [parts.find(_kinds_of(name, owner, bare, kind), name)]
    broken = [failure for failure in parts.failures if failure.plugin.owner == owner]
    if broken:
        raise PluginError("; ".join(str(failure) for failure in broken))
    found = [part for part in parts.parts(kind) if part.plugin.owner == owner]
    if not found:
        raise UsageError(
            f"no {kind or 'plugin'} of the distribution '{owner}' is installed; see lmkit plugins list"
        )
    return found


def _kinds_of(name: str, owner: str, bare: str, kind: str | None) -> tuple[str, ...]:
    """The namespace of a name, or all kinds if no part has it; UsageError if it has several meanings."""
    if kind is not None:
        return (kind,)
    kinds = {p.kind for p in registry().parts() if p.spec.name == bare and owner in ("", p.plugin.owner)}
    # Cells and models share one namespace, whose clashes the registry reports.
    if len({"model" if one == "cell" else one for one in kinds}) > 1:
        ordered = [one for one in KINDS if one in kinds]
        raise UsageError(f"'{name}' is the name of a {' and of a '.join(ordered)}; add --kind {ordered[0]}")
    return tuple(one for one in KINDS if one in kinds) or tuple(KINDS)
