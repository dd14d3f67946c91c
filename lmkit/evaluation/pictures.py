"""Plots: matplotlib axes in lmkit's style, written atomically to a PNG, SVG or PDF."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.errors import UsageError
from lmkit.files import check_new, new_file
from lmkit.plugins import install_hint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg", ".pdf")

CJK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "SimHei",
    "Arial Unicode MS",
)
"""Fonts with Chinese characters, on Linux, macOS and Windows; the first installed one is used."""

DOTS_PER_INCH = 150

# Okabe and Ito (2008), for colour-blind readers, without their yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "os^Dvx+"
DASHES = ("-", "--", "-.", ":")

logger = logging.getLogger(__name__)


def check(path: Path) -> None:
    """Raise UsageError if a plot could not be written to `path`; call this before long work."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: unknown format of a plot; use a name ending in {', '.join(SUFFIXES)}")
    check_new(path, overwrite=True)
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        raise UsageError(
            f"{path}: plots need matplotlib, which is not installed: {install_hint('plot')}"
        ) from None


@contextmanager
def drawing(path: Path, width: float = 7, height: float = 4.5) -> Iterator["Axes"]:
    """Axes to draw on, of `width` by `height` inches; written to `path` when the block ends without an error.

    Raises UsageError as `check` does.
    """
    with panels(path, 1, width=width, height=height) as (axes,):
        yield axes


@contextmanager
def panels(
    path: Path, columns: int, *, rows: int = 1, width: float = 10, height: float = 4.5
) -> Iterator[list["Axes"]]:
    """The same for several axes, row by row."""
    check(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Only inside the context, and without pyplot: a caller's settings and windows stay unchanged.
    with mpl.rc_context(_style()):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield list(figure.subplots(rows, columns, squeeze=False).flat)
        with new_file(path, overwrite=True) as file, warnings.catch_warnings():
            # `warn_of_missing_font` warns once, not for each character.
            warnings.filterwarnings("ignore", r"Glyph \d+")
            figure.savefig(file, format=path.suffix[1:].lower(), dpi=DOTS_PER_INCH)


def line_style(place: int) -> dict[str, Any]:
    """Colour, marker and dashes of line number `place`, from 0: lines also differ without colour."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": DASHES[place % len(DASHES)],
    }


@cache
def text_font() -> str | None:
    """An installed font with Chinese characters, or None."""
    from matplotlib import font_manager

    def first_known() -> str | None:
        known = set(font_manager.get_font_names())
        return next((name for name in CJK_FONTS if name in known), None)

    found = first_known()
    if found is None:
        # matplotlib caches a list of fonts, which may be out of date.
        listed = {entry.fname for entry in font_manager.fontManager.ttflist}
        for path in set(font_manager.findSystemFonts()) - listed:
            with contextlib.suppress(OSError, RuntimeError):
                font_manager.fontManager.addfont(path)
        found = first_known()
    return found


def warn_of_missing_font(text: str) -> None:
    """Warn if a plot's text has Chinese, Japanese or Korean characters that no installed font has."""
    if any("\u2e80" <= c <= "\U0003ffff" for c in text) and text_font() is None:
        logger.warning(
            "no font with Chinese characters is installed: they are drawn as boxes (%s)", CJK_FONTS[0]
        )


def _style() -> dict[Any, Any]:
    chinese = text_font()
    return {
        "font.family": ["DejaVu Sans", *([chinese] if chinese else [])],
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "lines.markersize": 4,
        "legend.frameon": False,
        "svg.fonttype": "none",
    }
