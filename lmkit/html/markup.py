"""Elements of HTML: `tag` escapes every string that is not markup already."""

import html
import unicodedata
from collections.abc import Iterable

VOID = frozenset({"meta", "line", "path", "rect"})
"""Elements without content."""
REORDERING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that reverse the text behind them, and could make a page show something else than it says."""


class Html(str):
    """Markup, which `tag` inserts unchanged; all other strings are text, which it escapes."""

    __slots__ = ()


def escaped(text: str) -> str:
    """A text as HTML: markup is escaped; controls, lone surrogates and REORDERING appear as escapes of Python."""
    if not text.isprintable():
        text = "".join(_visible(character) for character in text)
    return html.escape(text)


def tag(name: str, /, *children: str, **attributes: str | float | bool | None) -> Html:
    """An element: `tag("td", "a < b", class_="text", aria_label="x")`.

    In names of attributes, "_" at the end is dropped and becomes "-" elsewhere. None and False omit an attribute, True
    gives one without a value.
    """
    shown = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        shown += " " + key.rstrip("_").replace("_", "-")
        if value is not True:
            shown += f'="{escaped(str(value))}"'
    if name in VOID:
        return Html(f"<{name}{shown}>" if name == "meta" else f"<{name}{shown}/>")
    return Html(f"<{name}{shown}>{joined(children)}</{name}>")


def joined(parts: Iterable[str], between: str = "") -> Html:
    """Parts one after another; those that are not markup are escaped."""
    return Html(escaped(between).join(part if isinstance(part, Html) else escaped(part) for part in parts))


def _visible(character: str) -> str:
    kept = character in "\t\n" or unicodedata.category(character) not in ("Cc", "Cs")
    return character if kept and character not in REORDERING else ascii(character)[1:-1]
