"""The rules for parts of every kind: a light spec, and options for the command line and recipes."""

import keyword
import re
import subprocess
import sys
from functools import cache

from lmkit.errors import PluginError
from lmkit.option_fields import fields_of
from lmkit.options import check_value, resolve, to_table
from lmkit.plugins import GROUP, Part, check_spec
from lmkit.testing.rules import NoInput, RuleBook

RULES = RuleBook()
PACKAGED = RuleBook()
"""The rules about an installed plugin, which a part from a file is not."""

HEAVY = ("torch", "numpy", "datasets", "sentencepiece", "transformers")

PROBE = """
import importlib.metadata, sys
for entry in importlib.metadata.entry_points(group=sys.argv[1], name=sys.argv[2]):
    if entry.dist.name == sys.argv[3]:
        entry.load()
print(*(name for name in sys.argv[4:] if name in sys.modules))
"""


@RULES("install what the module imports, and give the spec a class of the kind of its hook")
def check_target(part: Part, _: NoInput) -> None:
    """The target can be imported and is a class of the right kind for the hook."""
    try:
        part.load()
    except PluginError as error:
        raise AssertionError(str(error)) from error


@PACKAGED(
    "import torch, numpy and the like in the module of the target, or inside the function that uses them"
)
def check_light_import(part: Part, _: NoInput) -> None:
    """Importing the plugin's module, as every `lmkit --help` does, imports no torch, numpy or the like."""
    heavy = _heavy_imports(part.plugin.name, part.plugin.distribution)
    assert not heavy, f"it imports {heavy}"


@PACKAGED(
    'correct the spec that the hook returns: lower-case name, "module:Class", a summary of one line, a frozen dataclass'
)
def check_description(part: Part, _: NoInput) -> None:
    """The spec has a proper name, a summary of one line, a target and a frozen dataclass of options."""
    problem = check_spec(part.kind, part.spec)
    assert problem is None, problem
    assert part.spec.summary.strip(), "it has no summary"
    assert "\n" not in part.spec.summary, "its summary is longer than a line"


@RULES(
    'make each option with lmkit.option(default, "help", min=..., max=...), with a default within its bounds'
)
def check_options(part: Part, _: NoInput) -> None:
    """Every option has a lower-case name, a help text and a default within its own bounds and choices."""
    for item in fields_of(part.spec.options):
        proper = re.fullmatch(r"[a-z][a-z0-9_]*", item.name) and not keyword.iskeyword(item.name)
        assert proper, f"'{item.name}' is not a lower-case identifier"
        assert item.help.strip(), f"'{item.name}' has no help text; make the field with lmkit.option"
        problem = None if item.kind else check_value(item, item.default)
        assert problem is None, f"the default of '{item.name}' {problem}"


@RULES("let options be int, float, str, bool, or one of these or None, and stay as they were given")
def check_options_round_trip(part: Part, _: NoInput) -> None:
    """The default options, written as a table of a recipe, are read back equal."""
    options = resolve(part.spec.options, {}, part.long_name)
    again = resolve(part.spec.options, to_table(options), part.long_name)
    assert again == options, f"{again} is not {options}"


@cache
def _heavy_imports(name: str, distribution: str) -> str:
    command = [sys.executable, "-c", PROBE, GROUP, name, distribution, *HEAVY]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr.strip().rpartition("\n")[2]
    return result.stdout.strip()
