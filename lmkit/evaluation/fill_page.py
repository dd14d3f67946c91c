"""The answers of models to a blank as HTML: candidates with bars, and the line coloured by what they depend on."""

from lmkit.evaluation import fill_report
from lmkit.evaluation.fill import Filled
from lmkit.evaluation.fill_why import Why
from lmkit.evaluation.normalization import NORMALIZATIONS
from lmkit.evaluation.tables import Table
from lmkit.html import Html, Word, bar, coloured, details, note, section, table


def candidates(label: str, filled: Filled, top: int) -> Table:
    """The candidates of a model, the best first."""
    header = [label, "two-sided score" if filled.two_sided else "log-probability"]
    columns = [filled.candidates, [f"{value:.2f}" for value in filled.sums]]
    if filled.normalize != "none":
        header.append(f"score ({filled.normalize})")
        columns.append([f"{value:.2f}" for value in filled.scores])
    columns.append([f"{share:.1%}" for share in filled.shares])
    rows = [list(row) for row in zip(*columns, strict=True)]
    return Table([*header, "share of these"], rows[:top])


def answer_section(label: str, filled: Filled, reasons: Why | None, top: int) -> Html:
    """What one model answers, and why."""
    shown = candidates(label, filled, top)
    rows = [[*row[:-1], bar(share, row[-1])] for row, share in zip(shown.rows, filled.shares, strict=False)]
    header = ["candidate", *shown.header[1:]]
    ranked = note(f"Ranked by {NORMALIZATIONS[filled.normalize]} (normalize {filled.normalize}).")
    parts = [table(header, rows, caption=f"Candidates of {label}, the best first"), ranked]
    if reasons is not None:
        parts += _why(label, reasons)
    return section(label, *parts)


def _why(label: str, reasons: Why) -> list[Html]:
    """The line, coloured by the cost of leaving each word out, and the costs in tables."""
    most = fill_report.strongest(reasons)
    words = [
        Word(reasons.answer, space=reasons.space, marked=True)
        if part is None
        else Word(part.text, fill_report.strength(part, most), f"{part.cost:+.3f} nats", part.space)
        for part in reasons.words
    ]
    legend = (
        f"Red: words that support the answer; the strongest colour means {most:.2f} nats of its log-probability. "
        "Blue: words that contradict it."
    )
    of_clauses = table(
        fill_report.HEADER,
        fill_report.rows(reasons.clauses),
        caption=f"{label}: clauses left out, one at a time",
    )
    of_words = table(
        fill_report.HEADER, fill_report.rows(reasons.words), caption=f"{label}: words left out, one at a time"
    )
    return [coloured(words), note(legend), of_clauses, details("Each word", of_words)]
