"""The plot of `lmkit compare`: bits per byte, speed and size of each run, the best on top."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmkit.evaluation import pictures


def draw(path: Path, rows: Sequence[Mapping[str, Any]], text: str) -> None:
    """A bar for each row and figure, except for rows without bits per byte."""
    figures = [
        ("bits_per_byte", f"bits per byte of {text}", 1, ".3f", False),
        ("tokens_per_second", "tokens per second", 1, ",.0f", True),
        ("bytes_on_disk", "megabytes on disk", 1e-6, ",.1f", True),
    ]
    names = [row["run"] for row in rows][::-1]
    pictures.warn_of_missing_font("".join(names))
    with pictures.panels(path, len(figures), width=13, height=1.4 + 0.42 * len(rows)) as axes:
        for place, (one, (key, title, scale, form, is_log)) in enumerate(zip(axes, figures, strict=True)):
            values = [(row[key] or 0) * scale for row in rows][::-1]
            bars = one.barh(range(len(rows)), values, color=pictures.COLOURS[place])
            one.bar_label(bars, [format(value, form) if value else "-" for value in values], padding=3)
            one.set_yticks(range(len(rows)), names if place == 0 else [""] * len(rows))
            one.set_title(title, loc="left", fontsize=10)
            one.grid(visible=False, axis="y")
            if is_log and any(values):
                one.set_xscale("log")
                shown = [value for value in values if value]
                one.set_xlim(min(shown) / 3, max(shown) * 12)
            else:
                one.set_xlim(0, max([*values, 1e-9]) * 1.25)
