"""Read labelled texts from tables or from one file for each class, and hold some out."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text
from lmkit.corpus.rows import CellError, kind_of, look_up, text_of
from lmkit.corpus.sources import is_table, read_rows
from lmkit.errors import DataError, UsageError, suggest
from lmkit.run_paths import refuse_as_text
from lmkit.scoring.measured_lines import whole_rows

VALID_SHARE = 10
"""One text in this many of each class is held out if there is no file for validation."""
MOST_CLASSES = 10_000


@dataclass(frozen=True, slots=True)
class Example:
    """A text in one line, and its class."""

    text: str
    label: str


@dataclass(frozen=True)
class LabelledText:
    """Where labelled texts are: tables with columns for text and label, or a file for each class.

    classes: the name of a class and its file of plain text, a line for each example.
    """

    tables: tuple[str, ...] = ()
    label: str = "label"
    classes: tuple[tuple[str, str], ...] = ()
    options: DataOptions = field(default_factory=DataOptions)

    def read(self) -> list[Example]:
        """The texts that are not blank; DataError for rows without a label and for files without examples."""
        if self.tables and self.classes:
            raise UsageError("give tables or --class NAME=FILE, not both")
        found = [one for one in self._all() if one.text.strip()]
        if not found:
            raise DataError(f"{self.describe()}: no text in it (only blank ones); give other texts")
        return found

    def describe(self) -> str:
        """The names of the files."""
        names = [*self.tables, *(file for _, file in self.classes)]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    def _all(self) -> Iterator[Example]:
        for name in self.tables:
            yield from self._rows(Path(name))
        options = replace(self.options, input_format="text")
        for label, file in self.classes:
            yield from (Example(text, label) for text in read_texts([file], options))

    def _rows(self, path: Path) -> Iterator[Example]:
        refuse_as_text(path)
        if path.is_file() and not is_table(path) and self.options.input_format in ("auto", "text"):
            raise DataError(
                f"{path}: plain text has no labels: give a table (.csv, .tsv, .jsonl, .json, .parquet), or a file "
                "for each class: --class NAME=FILE"
            )
        for number, cells in read_rows(path, self.options):
            try:
                text = text_of(cells, self.options.text_field, "--text")
                label = label_of(look_up(cells, self.label, "--label"), self.label)
            except CellError as error:
                if self.options.on_bad_line == "skip":
                    continue
                raise DataError(f"{path}: row {number}: {error.problem}; {error.remedy}") from None
            yield Example(" ".join(text.splitlines()), label)


def label_of(value: Any, column: str) -> str:
    """The class in a cell; CellError for an empty one, and for a number that is not whole."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise CellError(f"the label in '{column}' is {kind_of(value)}", "give a string or a whole number")
    if not value.strip():
        raise CellError(f"the label in '{column}' is empty", "fill it in, or remove the row")
    return value.strip()


def read_texts(sources: Sequence[str], options: DataOptions) -> Iterator[str]:
    """The lines or rows of texts without labels, blank ones included; each in one line."""
    return (row.text for row in whole_rows(Text(sources, options)))


def parse_class(text: str) -> tuple[str, str]:
    """("neg", "rt-polarity.neg") from "neg=rt-polarity.neg"; UsageError for anything else."""
    name, equals, file = text.partition("=")
    if not (name.strip() and equals and file):
        raise UsageError(f"--class {text!r}: write the name of the class and its file: --class neg=FILE")
    return name.strip(), file


def classes_of(examples: Sequence[Example], where: str) -> tuple[str, ...]:
    """The labels in order, numbers by their value; DataError unless there are two or more."""
    labels = {example.label for example in examples}
    if len(labels) < 2:
        raise DataError(
            f"{where}: all {len(examples)} texts have the label '{examples[0].label}': a classifier needs two "
            "classes or more; add texts of another, or choose another column with --label"
        )
    if len(labels) > min(MOST_CLASSES, len(examples) // 2):
        raise DataError(
            f"{where}: {len(labels):,} different labels in {len(examples):,} texts: is this the right column? "
            "Choose another with --label"
        )
    numbers = all(label.isdecimal() for label in labels)
    return tuple(sorted(labels, key=(lambda label: (int(label), label)) if numbers else None))


def check_labels(examples: Iterable[Example], labels: Sequence[str], where: str) -> None:
    """Raise DataError for an example of a class that was not in the training texts."""
    counts = Counter(example.label for example in examples if example.label not in labels)
    if counts:
        label, times = counts.most_common(1)[0]
        raise DataError(
            f"{where}: the label '{label}' ({times} texts) is not a class of the classifier; {suggest(label, labels)}"
        )


def split(
    examples: Sequence[Example], held_out: Sequence[Example] | None, seed: int
) -> tuple[Sequence[Example], Sequence[Example]]:
    """The texts to train on and those for validation: `held_out`, or without them some of the examples."""
    return hold_out(examples, seed) if held_out is None else (examples, held_out)


def hold_out(examples: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
    """The texts to train on and a tenth of each class for validation, drawn by chance.

    A class with one text keeps it for training. Raises DataError if nothing is left to hold out.
    """
    by_class: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        by_class[example.label].append(index)
    chance = random.Random(seed)
    held: set[int] = set()
    for label in sorted(by_class):
        indices = by_class[label]
        share = max(1, round(len(indices) / VALID_SHARE)) if len(indices) > 1 else 0
        held.update(chance.sample(indices, share))
    if not held:
        raise DataError(
            "every class has only one text, so none can be held out: add texts, or give --valid FILE"
        )
    train = [example for index, example in enumerate(examples) if index not in held]
    return train, [examples[index] for index in sorted(held)]
