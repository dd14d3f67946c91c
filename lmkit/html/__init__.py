"""Build pages and notebook output as HTML without scripts or outside addresses; text is escaped in one place."""

from lmkit.html.chart import Line, chart
from lmkit.html.markup import Html, joined, tag
from lmkit.html.page import fragment, report
from lmkit.html.parts import Word, bar, coloured, details, note, section, table

__all__ = [
    "Html",
    "Line",
    "Word",
    "bar",
    "chart",
    "coloured",
    "details",
    "fragment",
    "joined",
    "note",
    "report",
    "section",
    "table",
    "tag",
]
