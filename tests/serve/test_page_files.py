"""The files of the page: nothing from outside, no markup made of text, and both languages complete."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "lmkit" / "serve" / "page"
SCRIPTS = sorted(PAGE.glob("*.js"))
FILES = [PAGE / "index.html", PAGE / "style.css", *SCRIPTS]


def read(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_comes_from_outside(path: Path) -> None:
    """No address of another server; the name of SVG's elements is no address."""
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//\w+\.\w|@import|url\(", text)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_text_never_becomes_markup(path: Path) -> None:
    """Scripts neither parse HTML nor evaluate text, and import only files of the page."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|new Function", text
    )
    for name in re.findall(r'from "(.*?)"', text):
        assert name.startswith("./")
        assert (PAGE / name).is_file(), name


def test_the_page_has_no_inline_code() -> None:
    """A Content-Security-Policy that allows only files of the server breaks nothing."""
    page = read("index.html")
    assert re.findall(r"<script.*?>", page) == ['<script type="module" src="app.js">']
    assert "style=" not in page
    assert "<style" not in page
    assert not re.search(r"\son\w+=", page)


def test_every_label_has_both_languages() -> None:
    """English and Chinese have the same keys: those that the page and its scripts name."""
    languages = re.findall(r"^  (en|zh): \{\n(.*?)^  \}", read("text.js"), re.MULTILINE | re.DOTALL)
    assert [name for name, _ in languages] == ["en", "zh"]
    english, chinese = (re.findall(r"^    (\w+):", body, re.MULTILINE) for _, body in languages)
    assert english == chinese
    used = set(re.findall(r'data-text="(\w+)"', read("index.html")))
    for path in SCRIPTS:
        for first, second in re.findall(
            r'text\([^"()]*"(\w+)"(?: : "(\w+)")?\)', path.read_text(encoding="utf-8")
        ):
            used |= {first, second} - {""}
    assert used == set(english)


def test_every_field_has_a_label_and_every_script_its_elements() -> None:
    """Screen readers name each field; `byId` finds what it is asked for."""
    page = read("index.html")
    ids = set(re.findall(r'\bid="([\w-]+)"', page))
    fields = re.findall(r'<(?:input|textarea|select)[^>]*\bid="([\w-]+)"', page)
    assert set(fields) <= set(re.findall(r'<label for="([\w-]+)"', page))
    for path in SCRIPTS:
        assert set(re.findall(r'byId\("([\w-]+)"\)', path.read_text(encoding="utf-8"))) <= ids
    for name in re.findall(r'aria-(?:controls|labelledby)="([\w-]+)"', page):
        assert name in ids
