"""Count the n-grams of a text, and write them to a file."""

import importlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lmkit.contracts import Progress
from lmkit.corpus.readers import Text, TextLines
from lmkit.corpus.store import TokenStore
from lmkit.errors import PluginError
from lmkit.evaluation.row_files import row_format, write_rows
from lmkit.files import new_file
from lmkit.options import choose
from lmkit.plugins import registry
from lmkit.recipe import choose_tokenizer
from lmkit.specs import ModelSpec
from lmkit.studies.inputs import usual_progress

START = "<s>"
Block = tuple[np.ndarray, np.ndarray]
"""(number, order) ids, and (number,) counts."""


@dataclass(frozen=True)
class Counted:
    """The figures of a file of counts. ngrams: rows of the file. occurrences: the sum of their counts."""

    tokens: int
    vocabulary: int
    ngrams: int
    occurrences: int


def count(
    text: Text,
    out: Path,
    *,
    order: int = 3,
    least: int = 1,
    boundaries: bool = False,
    tokenizer: str = "word",
    memory: str | None = None,
    scratch: str | None = None,
    overwrite: bool = False,
    progress: Progress = usual_progress,
) -> Counted:
    """Write the n-grams of `order` tokens that occur at least `least` times, one per row, in no particular order.

    out: .parquet, .tsv, .csv or .jsonl, with the columns word1, word2 ... and count. boundaries: also n-grams with
    `<s>` or `</s>`. memory, scratch: as for training an n-gram model. Raises UsageError if `out` exists.
    """
    form = row_format(out)
    model, counts = counter()
    choice = choose_tokenizer(tokenizer, choose("model", {"name": model}, "model"))
    with new_file(out, overwrite=overwrite) as file:
        fitted = choice.load().fit(TextLines(text, progress), choice.options)
        corpus = TokenStore.build(text, fitted, progress=progress)
        spelled = [symbol.decode("utf-8", "backslashreplace") for symbol in fitted.symbols()]
        blocks = counts(
            corpus, fitted.vocabulary, order, least,
            boundaries=boundaries, memory=memory, scratch=scratch, progress=progress,
        )  # fmt: skip
        sums = [0, 0]
        with closing(blocks):
            _write(_summed(blocks, sums), [*spelled, START], order, form, file)
    return Counted(corpus.num_tokens, fitted.vocabulary.size, sums[0], sums[1])


def counter() -> tuple[str, Callable[..., Generator[Block]]]:
    """The name of the model that counts n-grams, and its function; a built-in one takes precedence.

    Raises PluginError if there is none.
    """
    for part in registry().parts("model"):
        if isinstance(part.spec, ModelSpec) and part.spec.counter is not None:
            module, _, name = part.spec.counter.partition(":")
            return part.long_name, getattr(importlib.import_module(module), name)
    raise PluginError("no installed model counts n-grams; install lmkit with its built-in plugins again")


def _summed(blocks: Iterable[Block], sums: list[int]) -> Iterator[Block]:
    """The blocks, whose numbers of n-grams and occurrences are added to `sums`."""
    for ids, counts in blocks:
        sums[0] += len(counts)
        sums[1] += int(counts.sum(dtype=np.int64))
        yield ids, counts


def _write(blocks: Iterator[Block], spelled: list[str], order: int, form: str, sink: BinaryIO) -> None:
    words = [f"word{place}" for place in range(1, order + 1)]
    if form == "parquet":
        _write_parquet(blocks, spelled, words, sink)
        return
    columns: dict[str, type] = {**dict.fromkeys(words, str), "count": int}
    write_rows(_rows(blocks, spelled, words), columns, form, sink)


def _rows(blocks: Iterator[Block], spelled: list[str], words: list[str]) -> Iterator[dict[str, Any]]:
    for ids, counts in blocks:
        for row, number in zip(ids.tolist(), counts.tolist(), strict=True):
            yield {**{name: spelled[word] for name, word in zip(words, row, strict=True)}, "count": number}


def _write_parquet(blocks: Iterator[Block], spelled: list[str], words: list[str], sink: BinaryIO) -> None:
    """Write whole columns: `write_rows` needs a dictionary for each row."""
    import pyarrow as pa
    from pyarrow import parquet

    names = pa.array(spelled)
    schema = pa.schema([*((word, pa.string()) for word in words), ("count", pa.int64())])
    with parquet.ParquetWriter(sink, schema) as writer:
        for ids, counts in blocks:
            columns = [names.take(pa.array(column)) for column in ids.T.copy()]
            writer.write_table(pa.table([*columns, pa.array(counts.astype(np.int64))], schema=schema))
