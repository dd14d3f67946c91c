"""Compare any set of runs on one text in a table, ranked if that is fair."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
