"""One table for any set of runs on one text: what each is, and their scores, ranked where that is fair."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmkit import run_paths, runs
from lmkit.recipe import RECURRENT


def facts(run: Path) -> dict[str, Any]:
    """What a run is, without loading it: model, vocabulary, bytes on disk, seconds of training."""
    manifest = runs.read_manifest(run)
    return {
        "model": model_name(manifest),
        "fingerprint": manifest["vocabulary"]["fingerprint"],
        "bytes_on_disk": sum(file["size"] for file in manifest["files"].values()),
        "training_seconds": _training_seconds(run),
    }


def model_name(manifest: Mapping[str, Any]) -> str:
    """A run's model in a few letters: "gru", "2 x lstm", "elmo (2 x lstm)", "ngram 5"."""
    table = manifest["model"]
    name = _bare(table["name"])
    given = table.get("cell")
    cells = [_bare(one["name"]) for one in (given if isinstance(given, list) else [given]) if one]
    if table.get("order"):
        return f"{name} {table['order']}"
    if not cells:
        return name
    layers = table.get("num_layers") or 1
    stack = ", ".join(cells) if len(cells) > 1 or layers == 1 else f"{layers} x {cells[0]}"
    return stack if table["name"] == RECURRENT else f"{name} ({stack})"


def _bare(long_name: str) -> str:
    return long_name.rpartition(":")[2]


def _training_seconds(run: Path) -> float | None:
    """How long the run was trained, as its metrics say; None where there are none."""
    path = run / run_paths.METRICS
    if not path.is_file():
        return None
    seconds = []
    for line in path.read_text(encoding="utf-8").splitlines():
        # The last line of a training that was killed may be cut off.
        with contextlib.suppress(ValueError):
            seconds.append(json.loads(line).get("seconds"))
    return max((s for s in seconds if s is not None), default=None)


@dataclass(frozen=True)
class Comparison:
    """Rows, the best first, and what must be said of them.

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
    compares = len({row["fingerprint"] for row in rows}) == 1
    if not compares:
        notes.append("perplexity a token is left out: the vocabularies differ, so that it does not compare")
    for signature in dict.fromkeys(row["signature"] for row in rows):
        names = ", ".join(row["run"] for row in rows if row["signature"] == signature)
        notes.append(f"{names}: {signature}")
    return Comparison([*fair, *rest], notes, compares)
