"""A whole page in one file, and a fragment for a notebook, with the same style."""

from lmkit.html.markup import Html, joined, tag

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""A browser loads nothing and runs no script, whatever text is on the page."""

# Jupyter has rules of its own for tables, so those here name an element more.
STYLE = """\
.lmkit { font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
.lmkit h2 { font-size: 1.15em; margin: 1.6em 0 .4em }
.lmkit .words { line-height: 2.1; white-space: pre-wrap }
.lmkit .words span { padding: .2em 0; border-radius: .2em }
.lmkit .words b { text-decoration: underline }
.lmkit .note, .lmkit caption { font-size: .85em; opacity: .8; max-width: 60em }
.lmkit caption { text-align: left; padding-bottom: .3em }
.lmkit .wide { overflow-x: auto; max-width: 100%; width: fit-content }
.lmkit .wide:focus-visible { outline: 2px solid currentColor }
.lmkit table { border-collapse: collapse; font-size: .95em; font-variant-numeric: tabular-nums; overflow-wrap: normal }
.lmkit th, .lmkit td { padding: .2em .8em; text-align: right; border: 0 }
.lmkit th { font-weight: 600 } .lmkit tbody th { font-weight: 400 }
.lmkit thead th { border-bottom: 1px solid rgba(128, 128, 128, .6); vertical-align: bottom }
.lmkit tbody tr:nth-child(even) { background: rgba(128, 128, 128, .08) }
.lmkit td { white-space: nowrap }
.lmkit table .text { text-align: left; white-space: pre-wrap } .lmkit .long { min-width: 8em }
.lmkit tbody .text:not(.long) { white-space: pre }
.lmkit .bar { display: inline-block; width: 7em; height: .7em; background: rgba(128, 128, 128, .2) }
.lmkit .bar span { display: block; height: 100%; background: rgb(42, 127, 186) }
.lmkit .number { display: inline-block; min-width: 4.5em }
.lmkit details { margin: .4em 0 } .lmkit summary { cursor: pointer }
.lmkit svg { width: 100%; min-width: 24em; max-width: 38em; height: auto; display: block }
.lmkit svg text { font-size: 14px; fill: currentColor }
.lmkit svg .rule { stroke: rgba(128, 128, 128, .35) }
.lmkit figure { margin: 1em 0 } .lmkit figure .wide { width: auto } .lmkit figcaption p { margin: 0 0 .3em }
.lmkit .legend { list-style: none; padding: 0; margin: .3em 0; display: flex; flex-wrap: wrap; gap: .2em 1.5em }
.lmkit svg.key { display: inline-block; width: 30px; min-width: 0; height: 12px }
@media (max-width: 30em) { .lmkit th, .lmkit td { padding: .2em .4em } .lmkit .bar { width: 3em } }
.lmkit .unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
"""
PAGE_STYLE = """\
:root { color-scheme: light dark }
html { background: light-dark(#ffffff, #161718); color: light-dark(#1a1a1a, #ececec) }
body { margin: 0 auto; padding: 1em; max-width: 62em }
h1 { font-size: 1.4em; line-height: 1.3 }
"""


def report(title: str, *parts: str) -> str:
    """A page in one file: dark or light as the reader's system, for wide and narrow screens, without scripts."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Html(PAGE_STYLE + STYLE)),
    )
    body = tag("body", tag("main", tag("h1", title), *parts), class_="lmkit")
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def fragment(*parts: str) -> str:
    """The value of a `_repr_html_`: parts with their style, which concerns nothing else in a notebook."""
    return tag("div", tag("style", Html(STYLE)), joined(parts), class_="lmkit")
