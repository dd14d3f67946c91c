"""The rule that keeps the house in order: imports point one way, and what every command loads is light."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = (
    (
        "aliases",
        "errors",
        "files",
        "specs",
        "hookspecs",
        "states",
        "devices",
        "host_copies",
        "kinds",
        "run_paths",
        "strict_json",
        "pickles",
        "jit",
        "mapped",
        "launch",
        "notes",
        "perplexity",
        "shipped",
        "html",
        "values",
        "notebook",
    ),
    (
        "option_fields",
        "options",
        "plugins",
        "part_files",
        "blame",
        "extras",
        "workers",
        "contracts",
        "safetensors_check",
        "hdf5",
    ),
    ("corpus", "residual", "spelling", "spelling_kernel"),
    ("neural",),
    ("recurrence",),
    ("adaptation",),
    (
        "recipe",
        "option_owners",
        "first_run",
        "manifest",
        "run_code",
        "run_facts",
        "runs",
        "archive",
        "packed",
    ),
    ("scoring",),
    ("evaluation", "generation", "embedding"),
    ("training",),
    ("classification",),
    ("model", "api", "pipelines", "onnx_export", "verify"),
    ("studies", "scaffold", "bench"),
    ("serve",),
    ("testing", "cli", "__main__"),
)
"""What a module may import: its own layer and the ones above it in this table."""
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
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


def test_no_two_modules_import_each_other() -> None:
    """Imports have no cycles, those inside functions included: each module can be read before its users."""
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in CORE
    }

    def home(name: str) -> str:
        return name if name in names else name.rpartition(".")[0]

    graph = {name: {home(used) for used in imports(path)} & names.keys() for name, path in names.items()}
    # lmkit itself hands out what lies above it when it is asked to.
    del graph["lmkit"]
    TopologicalSorter(graph).prepare()  # raises CycleError


def names_used(path: Path) -> Iterator[str]:
    """The names of lmkit that a file uses, as module:name; of a module that it imports, the attributes it takes."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("lmkit"):
            continue
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            if importlib.util.find_spec(node.module or "") and _is_module(full):
                modules[alias.asname or alias.name] = full
            elif (node.module or "").split(".")[0] == "lmkit":
                yield f"{node.module}:{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            module = modules[node.value.id]
            if module.split(".")[0] == "lmkit":
                yield f"{module}:{node.attr}"


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_plugins_use_the_plugin_api(package: Path) -> None:
    """A built-in plugin uses the names of docs/api.md, as any plugin may, and no other plugin."""
    others = {other.name for other in PACKAGES} - {package.name}
    known = {name for names in plugin_api().values() for name in names}
    for path in package.rglob("*.py"):
        for module in imports(path):
            assert module.split(".")[0] not in others, f"{path.name} imports {module}"
        missing = set(names_used(path)) - known
        assert not missing, (
            f"{path.name} uses {', '.join(sorted(missing))}: add it to docs/make_api.py or use another"
        )


def test_every_name_of_the_api_is_used_or_asked_for() -> None:
    """The API is no larger than its users need: each name is used by a built-in plugin, a test's or the docs."""
    root_files = [*(ROOT / "plugins").rglob("*.py"), *(ROOT / "tests" / "thirdparty").rglob("*.py")]
    used = {name for path in root_files for name in names_used(path)}
    pages = "".join(
        page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md") if page.name != "api.md"
    )
    unused = {
        name
        for names in plugin_api().values()
        for name in names
        if name not in used and name.rpartition(":")[2] not in pages
    }
    assert not unused


def plugin_api() -> dict[str, tuple[str, ...]]:
    """The list of docs/make_api.py, which is the plugin API."""
    return _make_api().API


def _make_api() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_api_page() -> None:
    """docs/api.md is what make_api.py writes: every name is importable and has a docstring."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert _make_api().render() == page, "run python docs/make_api.py"


@pytest.mark.parametrize("module", ["lmkit", "lmkit.cli", "lmkit.recipe", *(p.name for p in PACKAGES)])
def test_light_imports(module: str) -> None:
    """What `lmkit --help` and `lmkit plugins list` import loads no torch, numpy or the like."""
    code = f"import sys, {module}; print(*(n for n in {HEAVY!r} if n in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, ""), result.stderr


COUNTING = """
import json, sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise AssertionError("torch is imported")
sys.meta_path.insert(0, Refused())
from lmkit.cli import main
for line in json.loads(sys.argv[1]):
    sys.argv = ["lmkit", *line]
    try:
        main()
    except SystemExit as exit:
        assert not exit.code, line
"""
"""Runs command lines in which nobody may import torch."""


def test_models_of_counts_need_no_torch(tmp_path: Path) -> None:
    """To train, score, mix, compare and export models of counts loads no torch, which takes seconds to import."""
    text, run, infinite, mixed = (tmp_path / name for name in ("text.txt", "kn", "infinite", "mixed"))
    text.write_text("the cat sat on the mat\n" * 20, encoding="utf-8")
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("sentence_good\tsentence_bad\nthe cat sat\tcat the sat\n", encoding="utf-8")
    lines = (
        ["train", text, "--model", "ngram", "--order", "2", "--tokenizer", "word", "--out", run],
        ["train", text, "--model", "infini-gram", "--tokenizer", "word", "--out", infinite],
        ["eval", run, text],
        ["surprisal", run, text, "--out", tmp_path / "s.tsv"],
        ["compare", run, infinite, "--data", text],
        ["interpolate", run, infinite, "--data", text, "--out", mixed],
        ["eval", mixed, text],
        ["surprisal", mixed, text, "--out", tmp_path / "s.tsv"],
        ["minimal-pairs", run, mixed, "--data", pairs],
        ["fill", run, mixed, "the cat ____ on the mat", "--candidates", "sat,mat", "--why"],
        ["export", run, tmp_path / "kn.arpa", "--to", "arpa"],
        ["info", run],
        ["verify", run],
    )
    command = [sys.executable, "-c", COUNTING, json.dumps([list(map(str, line)) for line in lines])]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_no_clock_that_can_jump() -> None:
    """The system's time may be set back while a training runs: durations are those of monotonic clocks."""
    jumping = re.compile(r"\btime\.time\(|\bdatetime\.(now|utcnow|today)\(")
    sources = [path for top in ("lmkit", "plugins") for path in (ROOT / top).rglob("*.py")]
    assert not [path.name for path in sources if jumping.search(path.read_text(encoding="utf-8"))]
