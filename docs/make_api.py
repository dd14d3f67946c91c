"""Write docs/api.md, every name that a plugin may use: python docs/make_api.py (--print: to stdout)."""

import ast
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).with_name("api.md")

API: dict[str, tuple[str, ...]] = {
    "Specs and options": (
        "lmkit:hookimpl",
        "lmkit:option",
        "lmkit:TokenizerSpec",
        "lmkit:CellSpec",
        "lmkit:ModelSpec",
        "lmkit:DecoderSpec",
        "lmkit:LoggerSpec",
        "lmkit.specs:FileFormat",
        "lmkit.specs:NoOptions",
        "lmkit.specs:MOST_IDS",
        "lmkit.options:Chosen",
        "lmkit.options:choose",
    ),
    "Base classes of the targets": (
        "lmkit.contracts:Tokenizer",
        "lmkit.contracts:Vocabulary",
        "lmkit.contracts:Encoding",
        "lmkit.contracts:LanguageModel",
        "lmkit.contracts:Encoder",
        "lmkit.contracts:FORWARD",
        "lmkit.contracts:BACKWARD",
        "lmkit.contracts:Decoder",
        "lmkit.contracts:Hypothesis",
        "lmkit.contracts:Logger",
        "lmkit.contracts:FitContext",
        "lmkit.contracts:Progress",
        "lmkit.states:State",
        "lmkit.states:leaves",
        "lmkit.states:where",
        "lmkit.states:take",
        "lmkit.states:detach",
    ),
    "Cells and layers": (
        "lmkit.recurrence:Cell",
        "lmkit.recurrence:GatedCell",
        "lmkit.recurrence:LinearCell",
        "lmkit.recurrence:ForgetGateOptions",
        "lmkit.recurrence:add_forget_bias",
        "lmkit.recurrence:from_layout",
        "lmkit.recurrence:Recurrent",
        "lmkit.recurrence:StackOptions",
        "lmkit.recurrence:LayerOptions",
        "lmkit.recurrence.projection:ProjectedCell",
    ),
    "Models trained by gradients": (
        "lmkit.recurrence:NeuralLanguageModel",
        "lmkit.recurrence:TrainableModel",
        "lmkit.recurrence:BidirectionalEncoder",
        "lmkit.neural.output:OutputLayer",
        "lmkit.neural.output:shares",
        "lmkit.neural.adaptive:AdaptiveOutputLayer",
        "lmkit.neural.sampled:SampledOutputLayer",
        "lmkit.neural.mixture:MixtureOutputLayer",
        "lmkit.neural.rows:TokenRows",
        "lmkit.neural.sizes:DEFAULT_HIDDEN_SIZE",
        "lmkit.neural.sizes:LARGEST_HIDDEN_SIZE",
        "lmkit.neural.sizes:MOST_LAYERS",
        "lmkit.neural.sizes:hidden_size_for",
        "lmkit.neural.sizes:per_layer",
        "lmkit.neural.batching:by_length",
        "lmkit.neural.batching:full_rows",
        "lmkit.neural.stream_slice:whole_window",
        "lmkit.host_copies:on_host",
        "lmkit.host_copies:send",
        "lmkit.host_copies:derive",
        "lmkit.recurrence.dropout:drop",
        "lmkit.recurrence.dropout:drop_words",
        "lmkit.neural.linear:linear",
        "lmkit.corpus.streams:Streams",
        "lmkit.corpus.streams:Window",
    ),
    "Models around others": (
        "lmkit.adaptation.cache:CachedModel",
        "lmkit.adaptation.options:CacheOptions",
        "lmkit.adaptation.wrapper:carried_over_lines",
        "lmkit.scoring.measured_lines:RawLine",
        "lmkit.scoring.strings:EVENTS",
        "lmkit.scoring.strings:WordTokens",
        "lmkit.scoring.strings:mixed",
        "lmkit.scoring.strings:string_scores",
    ),
    "Text": (
        "lmkit.corpus.store:TokenStore",
        "lmkit.corpus.readers:Line",
        "lmkit.corpus.readers:TextLines",
        "lmkit.corpus.word_lists:Words",
        "lmkit.corpus.word_lists:refuse_one_string",
        "lmkit.corpus.words:WHITE_SPACE",
        "lmkit.corpus.words:hidden",
        "lmkit.corpus.words:shown",
        "lmkit.embedding.alignment:read_words",
    ),
    "Residual codes": (
        "lmkit.residual:ResidualCounter",
        "lmkit.residual:WordResidual",
        "lmkit.spelling:SpellingCode",
        "lmkit.spelling:spread",
        "lmkit.residual:LineCode",
        "lmkit.residual:GapCounter",
        "lmkit.residual:gaps",
        "lmkit.residual:new_word_rate",
    ),
    "Files": (
        "lmkit.corpus.compression:SUFFIXES",
        "lmkit.corpus.compression:EXPANSION_FLOOR",
        "lmkit.corpus.compression:blocks",
        "lmkit.corpus.decoding:is_utf8",
        "lmkit.files:new_file",
        "lmkit.files:read_bounded",
        "lmkit.mapped:let_go",
        "lmkit.mapped:use_large_pages",
        "lmkit.strict_json:read",
        "lmkit.strict_json:parse",
        "lmkit.strict_json:dumps",
        "lmkit.pickles:SUFFIXES",
        "lmkit.safetensors_check:check_header",
        "lmkit.hdf5:opened",
        "lmkit.hdf5:floats",
        "lmkit.runs:LoadedRun",
        "lmkit.runs:load_run",
        "lmkit.runs:make_run",
        "lmkit.runs:check_free",
        "lmkit.runs:read_json",
        "lmkit.runs:travelling",
    ),
    "Errors, messages, extras and compiled loops": (
        "lmkit.errors:LmkitError",
        "lmkit.errors:UsageError",
        "lmkit.errors:DataError",
        "lmkit.errors:ModelError",
        "lmkit.errors:PluginError",
        "lmkit.errors:reason_of",
        "lmkit.errors:one_line",
        "lmkit.plugins:install_hint",
        "lmkit.extras:needs",
        "lmkit.notes:NOTE",
        "lmkit.jit:kernel",
    ),
}
"""By section, every name that plugins may use, as module:name. What is not here may change in any release."""

HOMES = {
    "hookimpl": "lmkit.hookspecs",
    "FORWARD": "lmkit.contracts.models",
    "BACKWARD": "lmkit.contracts.models",
}
"""Where a constant that a package exports is defined."""

HEAD = """# The plugin API

Made by `python docs/make_api.py`: do not edit.

A plugin may use the names on this page and no others of lmkit. The built-in plugins use only the same names, which a \
test checks. [Writing a plugin](plugins.md) is the tutorial.

**What API 1 promises.** A plugin whose specs have `api=1` (the default) and that uses only these names keeps working \
in every release whose first version digit is the same. Names stay importable from the same modules. Arguments keep \
their names, order and meaning; new ones have defaults. lmkit calls methods that a plugin may override only with \
arguments that they accept, and new methods of a base class have working defaults. New names may be added. A name \
that must be removed stays for at least one minor release, and a warning names its replacement.

**How API 2 will accept API 1.** A change that cannot keep this promise makes API 2, which a spec requests with \
`api=2`. lmkit reads the specs of both: an adapter offers the old interface to parts with `api=1`, at least until the \
next first digit of lmkit's version. lmkit skips a part made for an API that it does not know, with a warning that \
names the plugin (exit code 6 if the part is requested).
"""


def render() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(f"## {title}\n\n{_section(names)}" for title, names in API.items())])


def _section(names: tuple[str, ...]) -> str:
    return "\n".join(_entry(name) for name in names)


def _entry(name: str) -> str:
    module, _, attribute = name.partition(":")
    value = getattr(importlib.import_module(module), attribute)
    lines = [f"### `{module}.{attribute}`", ""]
    if inspect.isclass(value):
        lines += [_doc(value, name), ""]
        for member, part in _members(value):
            lines += [f"- `{member}`: {' '.join(part.split())}"]
    elif inspect.isfunction(value):
        lines += [f"`{attribute}({_parameters(value)})`", "", _doc(value, name)]
    else:
        lines += [constant_doc(name)]
    return "\n".join([*lines, ""])


def _members(kind: type) -> Iterator[tuple[str, str]]:
    """The public methods that a class defines itself, with their docstrings."""
    for name, member in vars(kind).items():
        function = getattr(member, "__func__", member.fget if isinstance(member, property) else member)
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        doc = inspect.getdoc(function)
        if doc:
            yield name if isinstance(member, property) else f"{name}({_parameters(function)})", doc


def _parameters(function: Callable[..., object]) -> str:
    """The names of a function's parameters, without their types, which each version of Python writes otherwise."""
    return ", ".join(name for name in inspect.signature(function).parameters if name not in ("self", "cls"))


def _doc(value: object, name: str) -> str:
    doc = inspect.getdoc(value)
    assert doc, f"{name} has no docstring"
    return doc


def constant_doc(name: str) -> str:
    """The docstring of a constant or a type alias: the string behind its assignment."""
    module, _, attribute = name.partition(":")
    home = HOMES.get(attribute, module)
    doc = _constants(importlib.import_module(home)).get(attribute)
    assert doc, f"{name} has no docstring"
    return doc


@cache
def _constants(module: ModuleType) -> dict[str, str]:
    body = ast.parse(inspect.getsource(module)).body
    found = {}
    for statement, after in pairwise(body):
        targets = (
            statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        )
        is_doc = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if is_doc and isinstance(targets[0], ast.Name):
            found[targets[0].id] = str(after.value.value)  # pyright: ignore[reportAttributeAccessIssue]
    return found


if __name__ == "__main__":
    page = render()
    if "--print" in sys.argv:
        print(page, end="")
    else:
        PAGE.write_text(page, encoding="utf-8")
