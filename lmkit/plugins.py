"""Find plugins by their entry points and register their parts; a broken plugin disables only itself."""

import copy
import dataclasses
import importlib
import importlib.metadata
import inspect
import json
import logging
import re
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import pluggy

from lmkit import hookspecs
from lmkit.errors import PluginError, UsageError, one_line, suggest, with_kind
from lmkit.notes import NOTE
from lmkit.option_fields import fields_of
from lmkit.specs import API, KINDS, Spec

GROUP = "lmkit"
BUILTIN = "lmkit"
"""The owner in the long names of the built-in parts, whatever the name of the distribution."""
FROM_FILE = "file"
"""The owner in the long names of parts from files, which no plugin provides (`lmkit.part_files`)."""

CALLED_WITH = {
    "cell": ("input_size", "hidden_size", "options"),
    "decoder": ("options",),
    "logger": ("folder", "name", "settings"),
}
"""The arguments with which targets are created, as in their specs."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plugin:
    """An entry point of the group `lmkit`, not yet imported."""

    name: str
    distribution: str
    version: str
    load: Callable[[], ModuleType | object]
    builtin: bool = False

    @property
    def owner(self) -> str:
        return BUILTIN if self.builtin else self.distribution


@dataclass(frozen=True)
class Failure:
    """The reason why a plugin or one of its parts is skipped."""

    plugin: Plugin
    reason: str

    def __str__(self) -> str:
        return (
            f"plugin '{self.plugin.name}' of {self.plugin.distribution} {self.plugin.version}: {self.reason}"
        )


@dataclass(frozen=True)
class Part:
    """A spec and the plugin that provides it."""

    spec: Spec
    plugin: Plugin

    @property
    def kind(self) -> str:
        return self.spec.kind

    @property
    def long_name(self) -> str:
        """`owner:name`, as recipes and models store it."""
        return f"{self.plugin.owner}:{self.spec.name}"

    @property
    def display_name(self) -> str:
        """The name that people type: the bare name of a built-in, the long name of anything else."""
        return self.spec.name if self.plugin.builtin else self.long_name

    @property
    def origin(self) -> str:
        """The distribution and its version."""
        return f"{self.plugin.distribution} {self.plugin.version}"

    @property
    def remedy(self) -> str:
        """What its user can do about a fault in it; who has it installed in editable mode is its author."""
        own = not self.plugin.builtin and is_editable(self.plugin.distribution)
        return "correct it" if own else "report it to its author"

    @property
    def source(self) -> str:
        """The SHA-256 of the code of a part from a file; "" for an installed part."""
        return ""

    def load(self) -> Any:
        """Import the target and check that it fits the hook; PluginError if not."""
        where = self.describe()
        try:
            target = imported(self.spec.target)
        except Exception as error:
            raise PluginError(
                f"{where} cannot be imported from {self.spec.target}: {with_kind(error)}; "
                f"fix or uninstall {self.plugin.distribution}"
            ) from error
        wanted = tuple(imported(contract) for contract in self.spec.contracts)
        if not (isinstance(target, type) and issubclass(target, wanted)):
            expected = " or ".join(contract.__name__ for contract in wanted)
            raise PluginError(f"{where}: {self.spec.target} is not a subclass of {expected}; {self.remedy}")
        if problem := cannot_be_made(target, CALLED_WITH.get(self.kind, ())):
            raise PluginError(f"{where}: {self.spec.target} {problem}; {self.remedy}")
        return target

    def describe_plugin(self) -> str:
        """The plugin that provides it, for messages."""
        return f"the plugin '{self.plugin.name}' of {self.origin}"

    def describe(self) -> str:
        """Kind, long name and version, for messages."""
        return f"the {self.kind} '{self.long_name}' ({self.origin})"


class Registry:
    """Every part by kind and name; a name never depends on the loading order."""

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self.plugins = sorted(plugins, key=lambda p: (not p.builtin, p.distribution, p.name))
        self.failures: list[Failure] = []
        self._parts: list[Part] = []
        self._from_files: list[Part] = []
        for plugin in self.plugins:
            self._add(plugin)

    def parts(self, kind: str | None = None) -> list[Part]:
        """All parts, built-ins first, then by long name."""
        chosen = [p for p in (*self._parts, *self._from_files) if kind is None or p.kind == kind]
        return sorted(chosen, key=lambda p: (p.kind, not p.plugin.builtin, p.long_name))

    def add(self, part: Part) -> None:
        """Add a part from a file; of several with one name, the last is found."""
        key = (part.kind, part.spec.name, part.source)
        self._from_files = [p for p in self._from_files if (p.kind, p.spec.name, p.source) != key]
        self._from_files.append(part)

    def preferring(self, sources: Container[str]) -> "Registry":
        """The same parts, but of several from files with one name, one with such a `Part.source`."""
        other = copy.copy(self)
        other._from_files = sorted(self._from_files, key=lambda part: part.source in sources)
        return other

    def find(
        self, kind: str | tuple[str, ...], name: str, *, needed_by: str | None = None, version: str = ""
    ) -> Part:
        """The part called `name` (bare or `owner:name`) among the given kinds.

        needed_by, version: for the message when a saved model names a part that is not installed.
        Raises UsageError for an unknown name, PluginError when a plugin is missing, broken or ambiguous.
        """
        kinds = (kind,) if isinstance(kind, str) else kind
        owner, _, bare = name.rpartition(":")
        owner, _, bare = name.rpartition(":")
        if owner == FROM_FILE:
            return self._find_from_file(kinds, bare, needed_by)
        # Cells and models share one namespace, since `--model gru` may mean either.
        namespace = {*kinds, *({"cell", "model"} if {"cell", "model"} & set(kinds) else ())}
        same = [p for p in self._parts if p.kind in namespace and p.spec.name == bare]
        if owner:
            found = [p for p in same if p.plugin.owner == owner and p.kind in kinds]
            if found:
                return found[0]
            raise self._missing(kinds, owner, bare, needed_by, version)
        own = [p for p in same if p.plugin.builtin]
        if own and len(same) > 1:
            hidden = ", ".join(p.long_name for p in same if not p.plugin.builtin)
            log.log(
                NOTE,
                "'%s' means the built-in %s; use the long name for the installed %s",
                bare,
                own[0].long_name,
                hidden,
            )
        matches = own or same
        if len(matches) > 1:
            names = " and ".join(p.long_name for p in matches)
            raise PluginError(f"two plugins are called '{bare}': {names}; use a long name")
        found = [p for p in matches if p.kind in kinds]
        if found:
            return found[0]
        raise self._unknown(kinds, bare)

    def _find_from_file(self, kinds: tuple[str, ...], bare: str, needed_by: str | None) -> Part:
        same = [p for p in self._from_files if p.spec.name == bare]
        if found := [p for p in same if p.kind in kinds]:
            return found[-1]
        wanted = " or ".join(kinds)
        if same:
            raise UsageError(f"{bare} is a {same[-1].kind}, where a {wanted} is needed")
        raise PluginError(
            f"{needed_by or 'this command'} needs the {wanted} {bare} of a file, and lmkit runs a file only if you "
            f"name it: add --code FILE.py:{bare} (in Python: lmkit.use('FILE.py:{bare}') first)"
        )

    def _add(self, plugin: Plugin) -> None:
        if plugin.owner == FROM_FILE:
            self._fail(plugin, f"'{FROM_FILE}' means parts from files; its distribution needs another name")
            return
        try:
            module = plugin.load()
        except (Exception, SystemExit) as error:
            self._fail(plugin, f"cannot be imported: {with_kind(error)}")
            return
        try:
            manager = pluggy.PluginManager("lmkit")
            manager.add_hookspecs(hookspecs)
            manager.register(module, name=plugin.name)
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            self._fail(plugin, one_line(error))
            return
        for kind in KINDS:
            hook = getattr(manager.hook, f"lmkit_{kind}s")
            try:
                specs = [spec for specs in hook() for spec in specs]
            except Exception as error:
                self._fail(plugin, f"its hook lmkit_{kind}s failed: {with_kind(error)}")
                continue
            for spec in specs:
                problem = check_spec(kind, spec) or self._taken(plugin, spec)
                if problem:
                    self._fail(plugin, problem)
                else:
                    self._parts.append(Part(spec, plugin))

    def _fail(self, plugin: Plugin, reason: str) -> None:
        failure = Failure(plugin, reason)
        self.failures.append(failure)
        log.warning("%s is skipped; everything else works (lmkit plugins list)", failure)

    def _taken(self, plugin: Plugin, spec: Spec) -> str | None:
        space = ("cell", "model") if spec.kind in ("cell", "model") else (spec.kind,)
        for part in self._parts:
            if part.kind in space and part.spec.name == spec.name and part.plugin.owner == plugin.owner:
                return f"it has two {' or '.join(s + 's' for s in space)} called '{spec.name}'"
        return None

    def _missing(
        self, kinds: tuple[str, ...], owner: str, bare: str, needed_by: str | None, version: str
    ) -> PluginError | UsageError:
        broken = [f for f in self.failures if f.plugin.owner == owner]
        if broken:
            return PluginError(
                "; ".join(str(f) for f in broken) + f"; '{owner}:{bare}' needs it: fix or reinstall it"
            )
        if owner.endswith(".py"):
            return UsageError(
                f"'{owner}:{bare}': lmkit runs a file only if you name it: add --code {owner}:{bare} (in Python: "
                f"lmkit.use('{owner}:{bare}') first), and write '{FROM_FILE}:{bare}' here"
            )
        who = needed_by or "this command"
        if any(p.owner == owner for p in self.plugins):
            have = ", ".join(p.long_name for p in self._parts if p.plugin.owner == owner)
            message = f"{who} needs the {' or '.join(kinds)} '{bare}' of {owner}, which has only: {have or 'nothing'}"
            return PluginError(
                message + (f"; it was made with version {version}" if version else "; check the name")
            )
        wanted = f"{owner}=={version}" if version else owner
        return PluginError(
            f"{who} needs the {' or '.join(kinds)} '{bare}' of the distribution '{owner}', which is not installed and "
            f"unknown to lmkit; if you trust it: pip install '{wanted}'"
        )

    def _unknown(self, kinds: tuple[str, ...], bare: str) -> PluginError | UsageError:
        names = [p.spec.name for p in self.parts() if p.kind in kinds]
        message = f"there is no {' or '.join(kinds)} called '{bare}'; {suggest(bare, names)}"
        if self.failures:
            return PluginError(message + "; not loaded: " + "; ".join(str(f) for f in self.failures))
        if not self.plugins:
            return PluginError(message + "; lmkit itself is not installed (in its folder: pip install .)")
        return UsageError(message + " (lmkit plugins list)")


def cannot_be_made(target: type, arguments: tuple[str, ...]) -> str | None:
    """The reason why a class cannot be called with the arguments of its kind, or None."""
    if inspect.isabstract(target):
        return f"does not implement {', '.join(sorted(target.__abstractmethods__))}"
    try:
        if arguments:
            inspect.signature(target).bind(*arguments)
    except TypeError as error:
        return f"cannot be called with ({', '.join(arguments)}): {error}"
    return None


def check_spec(kind: str, spec: object) -> str | None:
    """The problem with a spec that a plugin returned for `kind`, or None."""
    if not isinstance(spec, KINDS[kind]):
        return f"lmkit_{kind}s must return {KINDS[kind].__name__} objects, not {type(spec).__name__}"
    where = f"the {kind} '{spec.name}'"
    if spec.api != API:
        return f"{where} was made for plugin API {spec.api}, this lmkit has {API}; install matching versions"
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", spec.name):
        return f"{where}: a name may contain only lower-case letters, digits, '-' and '_'"
    if not re.fullmatch(r"[\w.]+:\w+", spec.target):
        return f"{where}: its target must be 'module:object', not {spec.target!r}"
    problem = check_options(spec.options)
    return f"{where}: {problem}" if problem else None


def check_options(options: object) -> str | None:
    """The problem with the class of a part's options, or None."""
    params = getattr(options, "__dataclass_params__", None)
    if not (dataclasses.is_dataclass(options) and isinstance(options, type) and params and params.frozen):
        return "its options must be a frozen dataclass"
    try:
        fields_of(options)
    except Exception as error:  # an annotation may be an undefined name
        return with_kind(error)
    return None


def installed(*, third_party: bool = True) -> list[Plugin]:
    """The installed plugins, including the built-in ones."""
    own = own_distribution()
    plugins = []
    for entry in importlib.metadata.entry_points(group=GROUP):
        if entry.dist is None:
            continue
        builtin = own is not None and entry.dist.name == own.name
        if builtin or third_party:
            plugins.append(Plugin(entry.name, entry.dist.name, entry.dist.version, entry.load, builtin))
    return plugins


def packages() -> set[str]:
    """The packages of the installed plugins, found without importing them."""
    return {entry.module.partition(".")[0] for entry in importlib.metadata.entry_points(group=GROUP)}


def own_distribution() -> importlib.metadata.Distribution | None:
    """The distribution that provides lmkit, found by its console script, or None when it is not installed."""
    for entry in importlib.metadata.entry_points(group="console_scripts", name="lmkit"):
        if entry.value.startswith("lmkit."):
            return entry.dist
    return None


def is_editable(distribution: str) -> bool:
    """Whether a distribution is installed in editable mode (`pip install -e`)."""
    try:
        text = importlib.metadata.distribution(distribution).read_text("direct_url.json")
        return text is not None and json.loads(text).get("dir_info", {}).get("editable") is True
    except (importlib.metadata.PackageNotFoundError, ValueError, AttributeError):
        return False


def install_hint(extra: str) -> str:
    """The command that installs one of lmkit's extras, with the distribution's actual name."""
    own = own_distribution()
    return f"pip install '{own.name if own else '.'}[{extra}]'"


_third_party = True


def use_third_party(on: bool) -> None:
    """Disable third-party plugins from now on (`--no-plugins`), or enable them again."""
    global _third_party
    _third_party = on
    registry.cache_clear()


def third_party_is_used() -> bool:
    """Whether third-party plugins are taken."""
    return _third_party


@cache
def registry() -> Registry:
    """The registry of this process, created on first use."""
    return Registry(installed(third_party=_third_party))


def imported(target: str) -> Any:
    """Import the object that "module:object" names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
