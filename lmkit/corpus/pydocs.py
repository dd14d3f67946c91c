"""The built-in data set `pydocs`: the English in the standard library of the Python that runs this.

Nothing is imported: docstrings come from the source files with `ast`, and the language reference from
the table in `pydoc_data/topics.py`. Code, interpreter sessions and grammar rules are omitted, so that the text is
prose that a small model can learn from.
"""

import ast
import hashlib
import inspect
import json
import os
import platform
import re
import sysconfig
import warnings
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from lmkit.errors import DataError, suggest
from lmkit.files import replaced, user_cache
from lmkit.strict_json import dumps

NAME = "pydocs"
PARTS = ("train", "valid", "test")
HELD_OUT = 20
"""One in this many documents is in the part "valid", and one in "test"."""

_LEFT_OUT = {
    "test",
    "tests",
    "idle_test",
    "lib2to3",
    "site-packages",
    "dist-packages",
    "encodings",
    "pydoc_data",
}
"""Tests, installed packages, and codecs, whose docstrings are nearly equal."""
_DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_LETTER = re.compile(r"[A-Za-z]")
_NO_LETTERS = re.compile(r"[^A-Za-z]+")
_ITEM = re.compile(r"\s*([-*+]|\d+[.)])\s")
_NOT_PROSE = re.compile(r"::=|^\s*(\||>>>)", re.MULTILINE)


def parse(name: str) -> str | None:
    """The part in a name such as "pydocs:test"; None for "pydocs", the whole text.

    Raises DataError for an unknown part.
    """
    _, colon, part = name.partition(":")
    if not colon:
        return None
    if part not in PARTS:
        raise DataError(f"{name}: pydocs has no part '{part}'; {suggest(part, PARTS)}")
    return part


def describe(part: str | None = None) -> str:
    """The name for messages, with the version of Python, on which the text depends."""
    name = NAME if part is None else f"{NAME}:{part}"
    return f"{name} (Python {'.'.join(platform.python_version_tuple()[:2])})"


def documents(part: str | None = None) -> tuple[str, ...]:
    """About 2 MB: each module's docstrings in the order of the source, then each topic of the reference.

    part: "train", "valid" or "test", which share no document; the checksum of a document decides.
    """
    return tuple(text for text in _documents() if part is None or part_of(text) == part)


def part_of(document: str) -> str:
    """The part that a document belongs to."""
    return {0: "test", 1: "valid"}.get(zlib.crc32(document.encode()) % HELD_OUT, "train")


@cache
def _documents() -> tuple[str, ...]:
    """All documents: from the user's cache folder, or read from the sources, which takes some seconds, and kept there.

    A file of the cache begins with the SHA-256 of the rest, so that a damaged one is written again.
    """
    folder = user_cache("pydocs")
    if folder is None:
        return _read()
    path = folder / f"{digest()}.json"
    try:
        checksum, _, kept = path.read_bytes().partition(b"\n")
        if checksum == hashlib.sha256(kept).hexdigest().encode():
            return tuple(json.loads(kept))
    except OSError:
        pass  # not read yet
    found = _read()
    kept = dumps(found).encode()
    # Without a writable cache folder, each process reads the sources.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as file:
            file.write(hashlib.sha256(kept).hexdigest().encode() + b"\n" + kept)
    return found


def _read() -> tuple[str, ...]:
    found = [text for path in _sources() if (text := _module(path.read_bytes()))]
    found += [prose(topic) for topic in _topics()]
    if not found:
        raise DataError(f"pydocs: this Python has no source files in {_library()}; give another text")
    return tuple(found)


@cache
def digest() -> str:
    """A string that changes with the files and the way they are read; much faster than reading them."""
    sha = hashlib.sha256(Path(__file__).read_bytes())
    for path in [*_sources(), _library() / "pydoc_data" / "topics.py"]:
        if path.is_file():
            sha.update(hashlib.sha256(path.read_bytes()).digest())
    return sha.hexdigest()


def prose(text: str) -> str:
    """Paragraphs that read as sentences, one a line: no code, sessions, grammar rules, tables or underlines."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
    kept = [p for p in map(_without_lines, paragraphs) if p and _is_prose(p)]
    return "".join(folded(p) + "\n" for p in kept)


def folded(paragraph: str) -> str:
    """A paragraph in one line, and each item of a list in its own: no model learns the width of a page."""
    items: list[list[str]] = []
    for line in paragraph.splitlines():
        if not items or _ITEM.match(line):
            items.append([])
        items[-1] += line.split()
    return "\n".join(" ".join(words) for words in items)


def _module(source: bytes) -> str:
    """The docstrings of a module; "" if it is not for this Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about the library's source do not concern the user
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    return "".join(map(prose, _docstrings(tree)))


def _docstrings(node: ast.AST) -> Iterator[str]:
    if isinstance(node, (ast.Module, *_DEFINITIONS)) and (text := ast.get_docstring(node)):
        yield text
    for child in [*getattr(node, "body", ()), *getattr(node, "orelse", ())]:
        # Definitions inside functions have no useful docstrings.
        if isinstance(child, (*_DEFINITIONS, ast.If, ast.Try)) and not isinstance(node, _DEFINITIONS[1:]):
            yield from _docstrings(child)


def _topics() -> list[str]:
    """The language reference, by name of topic; empty if the table is missing or has another form."""
    path = _library() / "pydoc_data" / "topics.py"
    try:
        tree = ast.parse(path.read_bytes())
        value = next(node.value for node in tree.body if isinstance(node, ast.Assign))
        table = ast.literal_eval(value)
        return [text for _, text in sorted(table.items())]
    except (OSError, SyntaxError, ValueError, StopIteration, AttributeError):
        return []


def _sources() -> list[Path]:
    found = []
    for parent, folders, names in os.walk(_library()):
        folders[:] = [f for f in folders if f not in _LEFT_OUT]  # never walk installed packages
        found += [Path(parent, name) for name in names if name.endswith(".py")]
    return sorted(found)


def _library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _without_lines(paragraph: str) -> str:
    """Remove the underlines of titles, and trailing white space."""
    lines = [line.rstrip() for line in paragraph.splitlines()]
    return "\n".join(line for line in lines if _LETTER.search(line))


def _is_prose(paragraph: str) -> bool:
    if _NOT_PROSE.search(paragraph) or all(line.startswith("  ") for line in paragraph.splitlines()):
        return False  # an indented block is nearly always code
    dense = "".join(paragraph.split())
    return len(_NO_LETTERS.sub("", dense)) > 0.75 * len(dense)
