"""Fill in the templates of a new plugin."""

import importlib.util
import keyword
import re
import sys
from pathlib import Path
from string import Template

from lmkit import runs
from lmkit.errors import UsageError
from lmkit.files import write_text
from lmkit.plugins import own_distribution, registry

TEMPLATES = Path(__file__).parent / "templates"
TRY = {
    "cell": "lmkit train text.txt --model {0} --out runs/{0}",
    "tokenizer": "lmkit train text.txt --tokenizer {0} --out runs/{0}",
    "model": "lmkit train text.txt --model {0} --out runs/{0}",
    "decoder": "lmkit generate RUN --decoder {0}",
    "encoder": "lmkit train text.txt --model {0} --out runs/{0}",
}
"""A command that uses the part."""


def write_plugin(kind: str, name: str, folder: Path) -> list[Path]:
    """Write a distribution with one part of a kind into the new folder; its files.

    name: of the part and of the distribution. Raises UsageError for a name that cannot be used, or if the folder
    exists.
    """
    values = _values(kind, name)
    if folder.exists():
        raise UsageError(f"{folder} exists already: give another --out, or remove it")
    package = values["package"]
    files = {
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": "README.md.txt",
        f"{package}/__init__.py": f"{kind}/plugin.py.txt",
        f"{package}/{values['module']}.py": f"{kind}/part.py.txt",
        f"tests/test_{package}.py": "test.py.txt",
    }
    with runs.staging(folder) as staged:
        made = staged / "plugin"
        for file, template in files.items():
            path = made / file
            path.parent.mkdir(parents=True, exist_ok=True)
            text = (TEMPLATES / template).read_text(encoding="utf-8")
            write_text(path, Template(text).substitute(values))
        runs.put_in_place(made, folder)
    return [folder / file for file in files]


def _values(kind: str, name: str) -> dict[str, str]:
    """What the templates need; UsageError for a name that cannot be used."""
    if not re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", name):
        raise UsageError(
            f"'{name}': a name begins with a letter, and has lower-case letters, digits, and single '-' or '_' between "
            "them, such as my-cell"
        )
    package = name.replace("-", "_")
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or importlib.util.find_spec(package):
        raise UsageError(f"'{name}': Python has a module {package} already; choose another name")
    space = "model" if kind == "encoder" else kind
    taken = ("cell", "model") if space in ("cell", "model") else (space,)
    if any(
        part.spec.name == name and part.plugin.builtin for part in registry().parts() if part.kind in taken
    ):
        raise UsageError(f"'{name}' is a built-in {space}; choose another name")
    own = own_distribution()
    return {
        "kind": kind,
        "name": name,
        "package": package,
        "module": kind,
        "Class": "".join(word.capitalize() for word in package.split("_")),
        "lmkit": own.name if own else "lmkit",
        "try": TRY[kind].format(name),
    }
