"""Compare any set of runs on one text in a table, ranked if that is fair."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmkit.evaluation.tables import Table
from lmkit.html import Html, bar, fragment, note, tag
from lmkit.run_facts import describe


def facts(run: Path) -> dict[str, Any]:
    """Facts of a run that is not loaded: model, vocabulary, bytes on disk, seconds of training."""
    found = describe(run)
    return {
        "model": found["model"],
        "fingerprint": found["fingerprint"],
        "bytes_on_disk": found["bytes_on_disk"],
        "training_seconds": found["training_seconds"],
    }


@dataclass(frozen=True)
class Comparison:
    """Rows, the best first, with notes.

    Rows without bits per byte come last, unranked. perplexity_compares: all rows have one vocabulary.
    """

    rows: list[dict[str, Any]]
    notes: list[str]
    perplexity_compares: bool

    def table(self) -> Table:
        """The figures that at least one run has."""
        columns: dict[str, list[str]] = {
            "run": [row["run"] for row in self.rows],
            "model": [row["model"] for row in self.rows],
        }

        def add(title: str, key: str, form: str, scale: float = 1) -> None:
            values = [row[key] for row in self.rows]
            if any(value is not None for value in values):
                columns[title] = ["-" if value is None else format(value * scale, form) for value in values]

        add("bits per byte", "bits_per_byte", ".4f")
        if any(row["oov_tokens"] for row in self.rows):
            add("spelling of unknowns", "spelling_share", ".1%")
        add("word perplexity", "word_perplexity", ",.1f")
        if all(row["word_perplexity"] is None for row in self.rows):
            add("bits per character", "bits_per_character", ".4f")
        if self.perplexity_compares:
            add("perplexity", "perplexity", ",.1f")
        add("parameters", "parameters", ",d")
        add("on disk, MB", "bytes_on_disk", ",.1f", 1e-6)
        add("tokens/s", "tokens_per_second", ",.0f")
        add("peak, MB", "peak_memory", ",.0f", 1e-6)
        add("trained, s", "training_seconds", ",.1f")
        return Table(list(columns), list(zip(*columns.values(), strict=True)), left=2)

    def html(self) -> list[Html]:
        """The table, in which bits per byte have bars, and the notes."""
        shown = self.table()
        bits = [row["bits_per_byte"] for row in self.rows]
        worst = max((value for value in bits if value is not None), default=0.0)
        rows = [list(row) for row in shown.rows]
        for row, value in zip(rows, bits, strict=True):
            if value is not None and worst:
                place = shown.header.index("bits per byte")
                row[place] = bar(value / worst, row[place])
        notes = [note("The shorter the bar, the better the model predicts the text.")] if worst else []
        if self.notes:
            notes.append(tag("ul", *(tag("li", line) for line in self.notes), class_="note"))
        return [*shown.html("Models, the best first", cells=rows), *notes]

    def _repr_html_(self) -> str:
        return fragment(*self.html())


def ranked(rows: Sequence[dict[str, Any]]) -> Comparison:
    """Rows in the order of their bits per byte, the code length of the same raw text under each model."""
    fair = sorted((row for row in rows if row["bits_per_byte"] is not None), key=lambda r: r["bits_per_byte"])
    rest = [row for row in rows if row["bits_per_byte"] is None]
    notes = []
    for row in rest:
        why = row["withheld"].get("bits_per_byte", "no bits per byte")
        notes.append(f"{row['run']} is not ranked: {why}")
    notes += _notices(rows)
    compares = len({row["fingerprint"] for row in rows}) == 1
    if not compares:
        notes.append("perplexity per token is omitted: it is not comparable, since the vocabularies differ")
    for signature in dict.fromkeys(row["signature"] for row in rows):
        names = ", ".join(row["run"] for row in rows if row["signature"] == signature)
        notes.append(f"{names}: {signature}")
    return Comparison([*fair, *rest], notes, compares)


def _notices(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Notes on the rows; an explanation shared by several rows is given only after the first."""
    explained = set()
    for row in rows:
        for notice in row["notices"]:
            fact, comma, explanation = notice.partition(", ")
            yield f"{row['run']}: {fact if explanation in explained else fact + comma + explanation}"
            explained.add(explanation)
