"""Select the checks for parts by name."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lmkit.contracts import Encoder
from lmkit.errors import PluginError, UsageError
from lmkit.plugins import Part, registry
from lmkit.specs import KINDS
from lmkit.testing import cells, common, decoders, encoders, models, tokenizers

CHECKS: dict[str, tuple[Callable[[Part], None], ...]] = {
    "tokenizer": tokenizers.CHECKS,
    "cell": cells.CHECKS,
    "model": models.CHECKS,
    "decoder": decoders.CHECKS,
}


@dataclass(frozen=True)
class Check:
    """One rule for one part; call it to check."""

    part: Part
    function: Callable[[Part], None]

    @property
    def rule(self) -> str:
        """The rule in words."""
        return (self.function.__doc__ or "").strip()

    def __str__(self) -> str:
        return f"{self.part.kind} {self.part.long_name}: {self.function.__name__}"

    def __call__(self) -> None:
        """Raise AssertionError, with the part and the rule, if it is broken; torch's random state is restored."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                self.function(self.part)
            except Exception as error:
                detail = f"{error}" if type(error) is AssertionError else f"{type(error).__name__}: {error}"
                message = f"the {self.part.kind} '{self.part.long_name}' breaks the rule: {self.rule}"
                raise AssertionError(f"{message}\n  {detail}" if detail else message) from error


def checks(*names: str) -> list[Check]:
    """The checks of all parts with these names.

    A name is a part's bare or long name, `owner:*` for all parts of a distribution, or a kind ("cell").
    Raises UsageError or PluginError for a name without parts or a plugin that cannot be imported.
    """
    return [check for name in names for part in _select(name) for check in checks_of(part)]


def checks_of(part: Part) -> list[Check]:
    """The checks of one part; for one that cannot be loaded, only those that report this."""
    functions = common.CHECKS
    try:
        target = part.load()
    except PluginError:
        pass
    else:
        # An encoder gives vectors, so the rules about scores do not apply to it.
        functions += encoders.CHECKS if issubclass(target, Encoder) else CHECKS[part.kind]
    return [Check(part, function) for function in functions]


def _select(name: str) -> list[Part]:
    parts = registry()
    if name in KINDS:
        return parts.parts(name)
    owner, _, bare = name.rpartition(":")
    if bare != "*":
        return [parts.find(_kinds_of(owner, bare), name)]
    broken = [failure for failure in parts.failures if failure.plugin.owner == owner]
    if broken:
        raise PluginError("; ".join(str(failure) for failure in broken))
    found = [part for part in parts.parts() if part.plugin.owner == owner]
    if not found:
        raise UsageError(f"no plugin of the distribution '{owner}' is installed; see lmkit plugins list")
    return found


def _kinds_of(owner: str, bare: str) -> tuple[str, ...]:
    """The namespace of the name, or all kinds."""
    kinds = {p.kind for p in registry().parts() if p.spec.name == bare and owner in ("", p.plugin.owner)}
    return tuple(kind for kind in KINDS if kind in kinds) or tuple(KINDS)
