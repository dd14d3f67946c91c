"""Minimal pairs: how often a model gives the grammatical sentence of a pair the higher probability."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmkit.errors import DataError
from lmkit.run_paths import refuse_as_text

GOOD, BAD, PARADIGM = "sentence_good", "sentence_bad", "UID"


@dataclass(frozen=True)
class Pair:
    """A sentence and its counterpart that breaks a rule, of a paradigm such as "anaphor_gender_agreement"."""

    good: str
    bad: str
    paradigm: str


def read_pairs(paths: Iterable[Path]) -> list[Pair]:
    """The pairs of JSON Lines files as BLiMP has them (Warstadt et al., 2020), and of all in a folder.

    A line without "UID" belongs to the paradigm of its file's name. Raises DataError for what is not such a file.
    """
    pairs: list[Pair] = []
    for path in paths:
        refuse_as_text(path)
        files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
        if not files:
            raise DataError(f"{path}: the folder has no .jsonl files; name one that has")
        for file in files:
            pairs += _pairs_of(file)
    return pairs


def _pairs_of(file: Path) -> list[Pair]:
    pairs = []
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    pairs.append(_pair(line, f"{file}: line {number}", file.stem))
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}; check the path") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 ({error.reason}); give JSON Lines") from None
    if not pairs:
        raise DataError(f"{file}: no pairs in it; give JSON Lines with '{GOOD}' and '{BAD}'")
    return pairs


def _pair(line: str, where: str, name: str) -> Pair:
    try:
        found: Any = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error}); give an object a line") from None
    if not isinstance(found, dict) or not all(isinstance(found.get(key), str) for key in (GOOD, BAD)):
        raise DataError(f"{where}: give an object with the strings '{GOOD}' and '{BAD}'")
    return Pair(found[GOOD], found[BAD], str(found.get(PARADIGM) or name))


def good_ones(score: Callable[[Sequence[str]], np.ndarray], pairs: Sequence[Pair]) -> np.ndarray:
    """(pairs,) 1 where the good sentence scores higher, 0 where the bad one does, 0.5 for a tie.

    score: the log-probabilities of sentences, such as `Model.sentence_scores`; of the whole sentence, without any
    correction for its length, as in the paper.
    """
    scores = score([pair.good for pair in pairs] + [pair.bad for pair in pairs])
    good, bad = scores[: len(pairs)], scores[len(pairs) :]
    return np.where(good == bad, 0.5, good > bad)


def accuracy(pairs: Sequence[Pair], right: np.ndarray) -> dict[str, float]:
    """By paradigm, in percent, from what `good_ones` gives for all pairs."""
    found: dict[str, list[float]] = {}
    for pair, value in zip(pairs, right.tolist(), strict=True):
        found.setdefault(pair.paradigm, []).append(value)
    return {paradigm: 100 * sum(values) / len(values) for paradigm, values in found.items()}
