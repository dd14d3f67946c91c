"""The rule that keeps the house in order: imports point one way, and what every command loads is light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = (
    (
        "aliases",
        "errors",
        "figures",
        "files",
        "specs",
        "hookspecs",
        "states",
        "devices",
        "run_paths",
        "strict_json",
        "pickles",
        "jit",
        "notes",
    ),
    ("options", "plugins", "contracts", "safetensors_check", "hdf5"),
    ("corpus", "recurrence"),
    ("recipe", "keywords", "runs", "archive", "packed"),
    ("evaluation", "generation", "embedding"),
    ("training",),
    ("api", "pipelines"),
    ("testing", "cli", "__main__"),
)
"""What a module may import: its own layer and the ones above it in this table."""
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
OPEN_TO_PLUGINS = {
    "",
    "contracts",
    "corpus",
    "embedding",
    "errors",
    "hookspecs",
    "options",
    "recurrence",
    "specs",
    "states",
    "strict_json",
    "pickles",
    "jit",
    "files",
    "notes",
    "hdf5",
    "runs",
}
"""The modules of lmkit that a plugin may use; "" is lmkit itself."""
HEAVY = ("torch", "numpy", "datasets", "sentencepiece", "rich")

CORE = sorted((ROOT / "lmkit").rglob("*.py"))
PACKAGES = sorted(path.parent for path in (ROOT / "plugins").glob("*/__init__.py"))


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports; `from a import b` gives `a.b`. What only type checkers read is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        waiting += ast.iter_child_nodes(node)


def room(module: str) -> str:
    """The part of lmkit that a module is in: "corpus" for lmkit.corpus.store, "" for lmkit itself."""
    names = module.split(".")[1:]
    return names[0] if names and names[0] in LEVEL else ""


def level(module: str) -> int:
    """The layer of a module; dataclasses of options describe and import nothing, so that they lie low."""
    return LEVEL["options"] if ".options" in module else LEVEL.get(room(module), 0)


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_core_imports_point_one_way(path: Path) -> None:
    """A module of the core imports its own layer and lower ones, and no plugin ever."""
    name = path.relative_to(ROOT).as_posix()
    own = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert own == "lmkit" or room(own), f"{own} has no place in LAYERS yet"
    plugins = {package.name for package in PACKAGES}
    for module in imports(path):
        top = module.split(".")[0]
        assert top not in plugins, f"{name} imports the plugin {top}"
        # lmkit itself hands out what lies above it when it is asked to.
        if top != "lmkit" or own == "lmkit":
            continue
        if room(own) == room(module):
            continue
        assert level(module) <= level(own), f"{name} imports {module}, which lies above it"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_plugins_use_public_names(package: Path) -> None:
    """A built-in plugin uses what any plugin may use: public names of open modules, and no other plugin."""
    others = {other.name for other in PACKAGES} - {package.name}
    for path in package.rglob("*.py"):
        for module in imports(path):
            names = module.split(".")
            assert names[0] not in others, f"{path.name} imports {module}"
            if names[0] == "lmkit":
                assert room(module) in OPEN_TO_PLUGINS, f"{path.name} imports {module}"
                assert not any(name.startswith("_") for name in names), f"{path.name} imports {module}"


@pytest.mark.parametrize("module", ["lmkit", "lmkit.cli", "lmkit.recipe", *(p.name for p in PACKAGES)])
def test_light_imports(module: str) -> None:
    """What `lmkit --help` and `lmkit plugins list` import loads no torch, numpy or the like."""
    code = f"import sys, {module}; print(*(n for n in {HEAVY!r} if n in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, ""), result.stderr
