"""Fit tables and paragraphs to the width of a terminal."""

import io
import re
from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

GAP = 2
"""Spaces between two columns of a table."""

NARROW_TEXT = 12
"""The width down to which columns of text are folded before a table is divided."""

NARROW_TITLE = 10
"""The minimum width when words in titles are broken: longer than most words, shorter than names of runs."""

JOINTS = " -_/|.,:;=+"
"""The characters after which a word too long for a line is broken if possible; Chinese is broken anywhere."""
CLINGING = "，。、；：！？）】》」』”’…)]("
"""The characters that do not begin a line of Chinese; an opening bracket belongs to the word before it."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
PARTS = re.compile(rf"{COLOUR.pattern}|\([-+][\d.]+\)|.")
"""Of a word: a colour, a number in brackets, which is not broken, or a character."""


def fitted(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int, width: int, styled: bool
) -> str:
    """Return a table at most `width` wide in which no number is cut.

    Titles are folded first, then text. Where that is not enough, the columns of numbers are divided into several
    tables, one below the other, each with the columns of text in front.

    left: how many columns are text; those after them are numbers, aligned to the right.
    """
    columns = [[title, *cells] for title, *cells in zip(header, *rows, strict=True)]
    texts, numbers = _widths(columns, left, width)
    room = width - sum(texts) - GAP * len(texts)
    drawn = []
    for part in _parts(numbers, room):
        chosen = [columns[left + place] for place in part]
        wide = _widened([column[0] for column in chosen], [numbers[place] for place in part], room)
        drawn.append(_drawn([*columns[:left], *chosen], [*texts, *wide], left, styled))
    return "\n\n".join(drawn)


def fold(text: str, width: int, indent: int = 0) -> list[str]:
    """Return the lines of a text at most `width` wide, broken at spaces; lines after the first are indented.

    A word that is longer than a line is broken after a hyphen, a slash or the like if possible, and Chinese before any
    character that may begin a line. Colours take no room.
    """
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in re.findall(r"\s*\S+", paragraph):
            # A word that must be broken anyway begins on this line.
            if not line or visible(line + word) <= width or visible(word.lstrip()) > width - indent:
                line += word
            else:
                lines.append(line)
                line = " " * indent + word.lstrip()
            while visible(line) > width:
                place = _break(line, width, indent)
                lines.append(line[:place].rstrip())
                line = " " * indent + line[place:].lstrip()
        lines.append(line)
    return lines


def visible(text: str) -> int:
    """The width of a text in a terminal, in columns."""
    return cell_len(COLOUR.sub("", text))


def _break(line: str, width: int, indent: int) -> int:
    """The index at which to break a line that is one long word."""
    place = used = joint = 0
    last = ""  # the part before, which may end a line, without colours
    for part in (piece for found in PARTS.findall(line) for piece in _small(found, width)):
        if COLOUR.fullmatch(part):
            place += len(part)
            continue
        if (
            used > width // 3
            and (last in JOINTS or _is_wide(last) or _is_wide(part))
            and part[0] not in CLINGING
        ):
            joint = place
        used += visible(part)
        if used > width and place > indent:
            break
        place += len(part)
        last = part
    return joint if joint > indent else place


def _small(part: str, width: int) -> Sequence[str]:
    """A part of a word, in characters if a line has no room for it."""
    return [part] if visible(part) <= width else part


def _is_wide(part: str) -> bool:
    """Whether a part is one character of two columns, as Chinese ones are."""
    return len(part) == 1 and cell_len(part) == 2


def _widths(columns: Sequence[Sequence[str]], left: int, width: int) -> tuple[list[int], list[int]]:
    """The widths of the columns of text and of those of numbers."""
    bodies = [max([1, *map(cell_len, column[1:])]) for column in columns]
    titles = [cell_len(column[0]) for column in columns]
    words = [max([1, *map(cell_len, column[0].split())]) for column in columns]
    gaps = GAP * (len(columns) - 1)
    broken = [min(word, NARROW_TITLE) for word in words]
    ways = [[max(pair) for pair in zip(bodies, limits, strict=True)] for limits in (titles, words, broken)]
    natural = next((way for way in ways if sum(way) + gaps <= width), ways[-1])
    texts, numbers = natural[:left], natural[left:]
    texts = _shrunk(texts, NARROW_TEXT, width - gaps - sum(numbers))
    return _shrunk(texts, 1, width - GAP * len(texts) - max(numbers, default=-GAP)), numbers


def _shrunk(widths: Sequence[int], least: int, room: int) -> list[int]:
    """The widths with the widest made smaller until they fit into the room or are `least` wide."""
    found = list(widths)
    while sum(found) > room and max(found) > least:
        found[found.index(max(found))] -= 1
    return found


def _parts(widths: Sequence[int], room: int) -> Iterator[list[int]]:
    """The numbers of the columns of each table that fits into the room; one column at least."""
    part: list[int] = []
    for place, width in enumerate(widths):
        if part and sum(widths[other] + GAP for other in part) + width > room:
            yield part
            part = []
        part.append(place)
    yield part


def _widened(titles: Sequence[str], widths: Sequence[int], room: int) -> list[int]:
    """The widths made larger, as far as there is room, so that titles take fewer lines."""
    wide = list(widths)
    for limit in range(1, room):
        folded = [fold(title, max(width, limit)) for title, width in zip(titles, widths, strict=True)]
        tried = [max(width, *map(cell_len, lines)) for width, lines in zip(widths, folded, strict=True)]
        if sum(tried) + GAP * (len(tried) - 1) > room:
            break
        wide = tried
    return wide


def _drawn(columns: Sequence[Sequence[str]], widths: Sequence[int], left: int, styled: bool) -> str:
    # Beside the space that the box draws between columns.
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, GAP - 1))
    for place, (column, width) in enumerate(zip(columns, widths, strict=True)):
        justify = "left" if place < left else "right"
        # Text objects, since "[x]" in a name is not markup.
        table.add_column(_cell(column[0], width), justify=justify, width=width, no_wrap=True)
    for cells in list(zip(*columns, strict=True))[1:]:
        table.add_row(*(_cell(cell, width) for cell, width in zip(cells, widths, strict=True)))
    whole = sum(widths) + GAP * len(widths)
    screen = Console(
        file=io.StringIO(), width=whole, force_terminal=styled, color_system="standard" if styled else None
    )
    with screen.capture() as capture:
        screen.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _cell(text: str, width: int) -> Text:
    return Text("\n".join(fold(text, width)))
