"""The built-in data set: present everywhere, the same each time, and English."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from lmkit.corpus import pydocs
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text
from lmkit.errors import DataError


def test_pydocs_is_the_default() -> None:
    """With no data named, some 2 MB of English are read, many documents of prose."""
    text = Text([], DataOptions())
    assert text.describe().startswith("pydocs (Python 3.")
    found = list(text)
    assert 1_000_000 < sum(line.num_bytes for line in found) < 4_000_000
    assert sum(line.starts_document for line in found) > 300
    words = [word.lower() for line in found for word in line.text.split()]
    assert words.count("the") > 0.03 * len(words)
    assert not any(line.text.lstrip().startswith(">>>") for line in found)


def test_deterministic_and_light() -> None:
    """Another process reads the same documents, and imports neither what it reads nor anything heavy."""
    code = (
        "import hashlib, sys; from lmkit.corpus import pydocs, readers;"
        "print(hashlib.sha256('|'.join(pydocs.documents()).encode()).hexdigest(), pydocs.digest(),"
        "*sorted({'turtle', 'tkinter', 'antigravity', 'torch', 'numpy', 'datasets'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    here = hashlib.sha256("|".join(pydocs.documents()).encode()).hexdigest()
    assert out.split() == [here, pydocs.digest()]


def test_the_cache_holds_what_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The sources are read once; a damaged cache, or no place for one, changes nothing but the time."""
    texts = ("One.\nTwo é.\n", "Three.\n")
    readings = []
    monkeypatch.setattr(pydocs, "_read", lambda: readings.append(1) or texts)
    read = pydocs._documents.__wrapped__
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert (read(), read(), len(readings)) == (texts, texts, 1)
    (kept,) = (tmp_path / "cache").rglob("*.json")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-9])
    assert (read(), len(readings)) == (texts, 2)
    assert kept.read_bytes() == whole
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert (read(), len(readings)) == (texts, 3)


def test_parts_share_nothing() -> None:
    """The parts are disjoint, together all of the text, and the held-out ones are of a size to score on."""
    parts = {part: pydocs.documents(part) for part in pydocs.PARTS}
    assert sorted(text for texts in parts.values() for text in texts) == sorted(pydocs.documents())
    assert not set(parts["train"]) & {*parts["valid"], *parts["test"]}
    assert not set(parts["valid"]) & set(parts["test"])
    sizes = {part: sum(map(len, texts)) for part, texts in parts.items()}
    assert sizes["train"] > 0.8 * sum(sizes.values())
    assert min(sizes.values()) > 10_000
    texts = {name: Text([name], DataOptions()) for name in ("pydocs", "pydocs:train", "pydocs:test")}
    assert texts["pydocs:test"].describe().startswith("pydocs:test (Python 3.")
    assert len({text.fingerprint() for text in texts.values()}) == 3


def test_unknown_part() -> None:
    """A part that pydocs lacks is named, with those that it has."""
    with pytest.raises(DataError, match="pydocs has no part 'tset'; did you mean 'test'"):
        Text(["pydocs:tset"], DataOptions())


def test_prose_keeps_sentences() -> None:
    """Sessions, grammar rules, code blocks, tables and underlines go; paragraphs and items stay, one a line."""
    text = """Title of it
    ***********

    A sentence that says something,
    in two lines.

    >>> 1 + 1
    2

       stmt ::= "pass"

        for x in y: f(x)

    | a | b |
    +---+---+

    A list:
      - one item
        in two lines
      2. another

    The end."""
    assert pydocs.prose(text).split("\n") == [
        "Title of it",
        "A sentence that says something, in two lines.",
        "A list:",
        "- one item in two lines",
        "2. another",
        "The end.",
        "",
    ]


def test_without_topics(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the language reference is missing, the docstrings alone are read; with neither it is 3."""
    (tmp_path / "a.py").write_text('"""Says what it does."""\ndef f():\n    """Does it."""\n')
    (tmp_path / "broken.py").write_text("print 'python 2'")
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "b.py").write_text('"""Not ours."""')
    monkeypatch.setattr(pydocs, "_library", lambda: tmp_path)
    assert pydocs._read() == ("Says what it does.\nDoes it.\n",)
    (tmp_path / "a.py").unlink()
    with pytest.raises(DataError, match="give another text"):
        pydocs._read()
