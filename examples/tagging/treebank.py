"""Words and their universal part-of-speech tags, from a treebank in CoNLL-U."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmkit.errors import DataError

FORM, UPOS, COLUMNS = 1, 3, 10
"""Where the word and its tag stand in a line, and how many columns it has (universaldependencies.org/format.html)."""


@dataclass(frozen=True)
class Sentence:
    """Words and their tags, one each."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


def read_part(folder: Path, part: str) -> list[Sentence]:
    """The sentences of a treebank's part: "train", "dev" or "test". DataError unless there is one file of it."""
    found = sorted(folder.glob(f"*-{part}.conllu"))
    if len(found) != 1:
        raise DataError(f"{folder}: {len(found)} files *-{part}.conllu: give the folder of one treebank")
    return list(read_conllu(found[0]))


def read_conllu(path: Path) -> Iterator[Sentence]:
    """The sentences of a file, without its ranges of several words ("1-2") and its empty nodes ("1.1").

    Raises DataError where a line is not of CoNLL-U.
    """
    rows: list[list[str]] = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if not line:
                yield from _sentence(rows)
                rows = []
            elif not line.startswith("#"):
                columns = line.split("\t")
                if len(columns) != COLUMNS:
                    raise DataError(f"{path}, line {number}: {len(columns)} columns, CoNLL-U has {COLUMNS}")
                rows.append(columns)
    yield from _sentence(rows)


def _sentence(rows: list[list[str]]) -> Iterator[Sentence]:
    words = [row for row in rows if row[0].isdecimal()]
    if words:
        yield Sentence(tuple(row[FORM] for row in words), tuple(row[UPOS] for row in words))


def subset(sentences: Sequence[Sentence], size: int, seed: int) -> list[Sentence]:
    """`size` of the sentences at random; DataError when there are fewer."""
    if size > len(sentences):
        raise DataError(f"the treebank has {len(sentences)} sentences to train on, fewer than {size}")
    return random.Random(seed).sample(sentences, size)
