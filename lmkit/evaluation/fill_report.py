"""Colour the words of a line by their effect on an answer: in a terminal, in a plot."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from lmkit.evaluation import pictures
from lmkit.evaluation.fill_why import Part, Why

REDS = (224, 217, 210, 203, 196)
BLUES = (189, 153, 117, 75, 33)
"""Of the terminal's 256 colours, from faint to full."""
FAINTEST = 0.1
"""Words are coloured from this share of the strongest cost on."""


def strongest(reasons: Why) -> float:
    """The largest cost of a word in either direction, the scale of the colours; never 0 or infinite."""
    costs = [abs(part.cost) for part in reasons.words if part]
    return max([1e-9, *filter(math.isfinite, costs)])


def strength(part: Part, most: float) -> float:
    """-1 to 1: a part's cost as a share of the strongest; an infinite one also has the full colour."""
    return max(-1.0, min(1.0, part.cost / most))


def terminal(reasons: Why, *, colours: bool) -> str:
    """The line with the answer, and the cost in nats after each important word.

    Red for words that support the answer, blue for those that contradict it.
    """
    most = strongest(reasons)
    digits = 1 if most >= 1 else 2
    text = ""
    for part in reasons.words:
        if part is None:
            answer = reasons.answer
            text += (f"\033[1;4m{answer}\033[0m" if colours else f"[{answer}]") + reasons.space
            continue
        share = strength(part, most)
        if abs(share) < FAINTEST:
            text += part.text + part.space
            continue
        word = part.text
        if colours:
            shades = REDS if share > 0 else BLUES
            shade = shades[min(len(shades) - 1, int(abs(share) * len(shades)))]
            word = f"\033[30;48;5;{shade}m{word}\033[0m"
        text += f"{word}({part.cost:+.{digits}f}){part.space}"
    return text


def rows(parts: Sequence[Part | None]) -> list[list[str]]:
    """A row of a table for each part: its text, and the cost of leaving it out for the answer and for its share."""
    return [[part.text, f"{part.cost:+z.2f}", f"{part.share_cost:+z.2f}"] for part in parts if part]


HEADER = ("left out", "costs the answer, nats", "its share among these")


def picture(path: Path, runs: Mapping[str, Why]) -> None:
    """A bar for each word and a frame for each clause, as high as its cost when it is left out."""
    longest = max(len(reasons.words) for reasons in runs.values())
    with pictures.panels(
        path, 1, rows=len(runs), width=min(60.0, max(6.0, 0.35 * longest + 1)), height=2.6 * len(runs)
    ) as all_axes:
        for axes, (label, reasons) in zip(all_axes, runs.items(), strict=True):
            # No dollar signs: matplotlib would parse the text between two of them as a formula.
            texts = [(part.text if part else reasons.answer).replace("$", r"\$") for part in reasons.words]
            pictures.warn_of_missing_font("".join(texts))
            most = strongest(reasons)
            for place, part in enumerate(reasons.words):
                if part is None:
                    axes.axvspan(place - 0.5, place + 0.5, color="#dddddd")
                else:
                    colour = pictures.COLOURS[1 if part.cost > 0 else 0]
                    axes.bar(place, most * strength(part, most), width=0.6, color=colour)
            for first, number, clause in _places(reasons):
                if math.isfinite(clause.cost):
                    axes.bar(
                        first - 0.4,
                        clause.cost,
                        width=number - 0.2,
                        align="edge",
                        fill=False,
                        edgecolor="grey",
                    )
            axes.axhline(0, color="black", linewidth=0.8)
            axes.set_xticks(range(len(texts)), texts, rotation=60, ha="right", rotation_mode="anchor")
            axes.set_xlim(-0.7, len(texts) - 0.3)
            axes.set_ylabel("nats")
            axes.set_title(
                f"{label}: cost of leaving it out for the answer (bars: words, frames: clauses)",
                loc="left",
                fontsize=10,
            )
            axes.grid(visible=False, axis="x")


def _places(reasons: Why) -> list[tuple[int, int, Part]]:
    """For each clause in which a word begins, the index of its first word and the number of words."""
    found = []
    blank = reasons.words.index(None)
    left, right = _sides(reasons.words)
    left_clauses, right_clauses = _sides(reasons.clauses)
    for first, words, clauses in ((0, left, left_clauses), (blank + 1, right, right_clauses)):
        for clause in clauses:
            end = clause.start + len(clause.text)
            own = [place for place, word in enumerate(words, first) if clause.start <= word.start < end]
            if own:
                found.append((own[0], len(own), clause))
    return found


def _sides(parts: Sequence[Part | None]) -> tuple[list[Part], list[Part]]:
    """The parts left and right of the blank."""
    blank = parts.index(None)
    return [part for part in parts[:blank] if part], [part for part in parts[blank + 1 :] if part]
