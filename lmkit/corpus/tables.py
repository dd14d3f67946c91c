"""Tables by way of 🤗 datasets: Parquet and CSV files, and data sets of the Hugging Face hub."""

import glob
import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from lmkit.corpus import compression
from lmkit.corpus.jsonl import row_lines
from lmkit.corpus.lines import BadLines, Line
from lmkit.corpus.options import DataOptions
from lmkit.corpus.text import read_text
from lmkit.errors import DataError


def read_parquet(path: Path, options: DataOptions, bad: BadLines) -> Iterator[Line]:
    """The lines of every row of a Parquet file; a null is an empty document."""
    try:
        rows = _load("parquet", data_files=_pattern(path), split="train")
        yield from _documents(rows, str(path), options, bad)
    except _LoadError as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}; mend it or fetch it again") from None


def read_csv(path: Path, options: DataOptions, bad: BadLines, *, separator: str) -> Iterator[Line]:
    """The lines of every row of a CSV file, whose first row names the columns."""
    if path.suffix.lower() in compression.SUFFIXES:
        # datasets decompresses by itself but tells damage and bombs from text less well.
        deque(compression.blocks(path, max_expansion=options.max_expansion), maxlen=0)
    # A converter keeps "007" and "NA" the strings that they are.
    keep = {options.text_field: str}
    try:
        rows = _load(
            "csv",
            data_files=_pattern(path),
            split="train",
            sep=separator,
            converters=keep,
            keep_default_na=False,
            encoding=options.encoding,
        )
        yield from _documents(rows, str(path), options, bad)
    except _LoadError as error:
        # If it is not text in its encoding, this says where.
        deque(read_text(path, options, BadLines("error")), maxlen=0)
        raise DataError(f"{path}: cannot be read as CSV: {error}; mend the file") from None


def read_hub(name: str, options: DataOptions, bad: BadLines) -> Iterator[Line]:
    """The lines of every row of a data set of the hub, streamed."""
    where = f"{name} ({options.hub_split})"
    try:
        revision = hub_revision(name)
        rows = _load(name, options.hub_subset, split=options.hub_split, revision=revision)
        yield from _documents(rows, where, options, bad)
    except _LoadError as error:
        raise _no_data_set(name, str(error)) from None


def hub_revision(name: str) -> str:
    """The commit that a data set of the hub is at: it stands for the content. DataError when out of reach."""
    _datasets()
    try:
        from huggingface_hub import HfApi

        return HfApi().dataset_info(name).sha or ""
    except Exception as error:
        raise _no_data_set(name, _say(error)) from None


class _LoadError(Exception):
    """Whatever datasets raised, in one line."""


def _datasets() -> ModuleType:
    # Both are read when the package is first imported.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # its errors are raised too
    return datasets


def _load(*args: Any, **settings: Any) -> Iterator[Any]:
    """Rows, one after another; any failure is a _LoadError, since their kinds differ by version."""
    datasets = _datasets()
    try:
        yield from datasets.load_dataset(*args, streaming=True, **settings)
    except Exception as error:
        cause = error.__cause__ if type(error).__name__ == "DatasetGenerationError" else None
        raise _LoadError(_say(cause or error)) from error


def _documents(rows: Iterable[Any], name: str, options: DataOptions, bad: BadLines) -> Iterator[Line]:
    field = options.text_field
    for number, row in enumerate(rows, start=1):
        if row.get(field, "") is not None:
            yield from row_lines(row, f"{name}: row {number}", field, bad)


def _pattern(path: Path) -> str:
    # datasets takes a name of a file for a pattern.
    return glob.escape(str(path.resolve()))


def _no_data_set(name: str, reason: str) -> DataError:
    return DataError(
        f"{name}: no such file or folder, and no data set of that name could be reached on the "
        f"Hugging Face hub ({reason}); check the name, or the network"
    )


def _say(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
