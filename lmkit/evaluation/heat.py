"""The words of a line coloured by what they do for an answer: in a terminal, in HTML, as a picture."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from lmkit.evaluation import pictures
from lmkit.evaluation.fill import Part

STEPS = (224, 217, 210, 203, 196)
"""Reds of the terminal's 256 colours, from faint to full."""
STYLE = """body { font-family: sans-serif; max-width: 50em; margin: 2em auto; line-height: 2.2 }
span { padding: .2em .1em; border-radius: .2em } b { text-decoration: underline } small { color: #666 }"""

Line = Sequence[Part | None]


def strongest(parts: Line) -> float:
    """The largest cost of a line, by which its colours are scaled; never 0."""
    return max([1e-9, *(part.cost for part in parts if part)])


def terminal(parts: Line, answer: str, *, colours: bool) -> str:
    """The line with the answer in place: backgrounds in red, or without colours the cost behind the strongest."""
    most = strongest(parts)
    words = []
    for part in parts:
        if part is None:
            words.append(f"\033[1;4m{answer}\033[0m" if colours else f"[{answer}]")
            continue
        share = part.cost / most
        if colours and share >= 0.1:
            shade = STEPS[min(len(STEPS) - 1, int(share * len(STEPS)))]
            words.append(f"\033[30;48;5;{shade}m{part.text}\033[0m")
        elif not colours and share >= 0.1:
            words.append(f"{part.text}({part.cost:+.1f})")
        else:
            words.append(part.text)
    return " ".join(words)


def page(lines: Mapping[str, tuple[Line, str]]) -> str:
    """A page of HTML: by run, a line and the answer in it; a word's cost in nats shows when it is pointed at."""
    body = []
    for label, (parts, answer) in lines.items():
        most = strongest(parts)
        words = []
        for part in parts:
            if part is None:
                words.append(f"<b>{html.escape(answer)}</b>")
                continue
            red = max(0.0, part.cost / most)
            words.append(
                f'<span style="background: rgba(213, 94, 0, {red:.2f})" title="{part.cost:+.3f} nats">'
                f"{html.escape(part.text)}</span>"
            )
        body.append(f"<h2>{html.escape(label)}</h2>\n<p>{' '.join(words)}</p>")
        body.append(f"<small>the darkest: {most:.2f} nats less for the answer when it is left out</small>")
    title = "What carries the answer"
    return (
        f'<!doctype html>\n<html><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def picture(path: Path, lines: Mapping[str, tuple[Line, str]]) -> None:
    """A bar for each word, as high as the answer falls when it is left out; a panel a run, one below the other."""
    longest = max(len(parts) for parts, _ in lines.values())
    with pictures.panels(
        path, 1, rows=len(lines), width=max(6.0, 0.35 * longest + 1), height=2.3 * len(lines)
    ) as all_axes:
        for axes, (label, (parts, answer)) in zip(all_axes, lines.items(), strict=True):
            texts = [answer if part is None else part.text for part in parts]
            pictures.warn_of_missing_font("".join(texts))
            for place, part in enumerate(parts):
                if part is None:
                    axes.axvspan(place - 0.5, place + 0.5, color="#dddddd")
                else:
                    axes.bar(place, part.cost, color=pictures.COLOURS[1 if part.cost > 0 else 0])
            axes.set_xticks(range(len(texts)), texts, rotation=60, ha="right", rotation_mode="anchor")
            axes.set_xlim(-0.7, len(texts) - 0.3)
            axes.set_ylabel("nats")
            axes.set_title(f"{label}: what leaving a word out costs the answer", loc="left", fontsize=10)
            axes.grid(visible=False, axis="x")
