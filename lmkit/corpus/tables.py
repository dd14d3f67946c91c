"""Read Parquet files, and data sets of the Hugging Face hub with 🤗 datasets."""

import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

from lmkit.corpus import compression
from lmkit.corpus.lines import BadLines
from lmkit.corpus.options import DataOptions
from lmkit.corpus.rows import Row
from lmkit.errors import DataError, first_line, with_kind

_BATCH = 256
"""Rows of a Parquet file to turn into Python objects at once."""


def read_parquet(
    path: Path, name: str, options: DataOptions, bad: BadLines, columns: Collection[str] = ()
) -> Iterator[Row]:
    """The rows of a Parquet file; only these columns, if it has them all."""
    import pyarrow as pa
    from pyarrow import parquet

    before = bad.row
    with ExitStack() as stack:
        if path.suffix.lower() in compression.SUFFIXES:
            path = _unpacked(path, options, stack)
        try:
            file = stack.enter_context(parquet.ParquetFile(path))
            for batch in file.iter_batches(_BATCH, columns=_present(columns, file.schema_arrow.names)):
                for cells in batch.to_pylist():
                    bad.row += 1
                    yield Row(bad.row, f"{name}: row {bad.row - before}", cells)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{name}: cannot be read as Parquet: {with_kind(error, first_line)}; fetch it again, or fix its name"
            ) from None


def read_hub(name: str, options: DataOptions, bad: BadLines) -> Iterator[Row]:
    """The streamed rows of a data set of the hub."""
    where = f"{name} ({options.hub_split})"
    before = bad.row
    try:
        revision = hub_revision(name)
        for cells in _load(name, options.hub_subset, split=options.hub_split, revision=revision):
            bad.row += 1
            yield Row(bad.row, f"{where}: row {bad.row - before}", cells)
    except _LoadError as error:
        raise _no_data_set(name, str(error)) from None


def hub_revision(name: str) -> str:
    """The current commit of a data set of the hub, which identifies its content; DataError if it is unreachable."""
    _datasets()
    try:
        from huggingface_hub import HfApi

        return HfApi().dataset_info(name).sha or ""
    except Exception as error:
        raise _no_data_set(name, with_kind(error, first_line)) from None


class _LoadError(Exception):
    """An error of datasets, in one line."""


def _present(columns: Collection[str], names: list[str]) -> list[str] | None:
    """The columns of a file that contain the wanted ones ("meta" for "meta.text"); None for all of them."""
    found = [name if name in names else name.partition(".")[0] for name in columns]
    return found if found and set(found) <= set(names) else None


def _unpacked(path: Path, options: DataOptions, stack: ExitStack) -> Path:
    """A temporary copy without compression: Parquet is read from its end."""
    copy = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lmkit-")), path.stem)
    with copy.open("wb") as file:
        for block in compression.blocks(path, max_expansion=options.max_expansion):
            file.write(block)
    return copy


def _datasets() -> ModuleType:
    # The package reads both on its first import.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # its errors are also raised
    return datasets


def _load(*args: Any, **settings: Any) -> Iterator[Any]:
    """Rows, one after another; any failure is a _LoadError, since the classes differ by version."""
    datasets = _datasets()
    try:
        yield from datasets.load_dataset(*args, streaming=True, **settings)
    except Exception as error:
        cause = error.__cause__ if type(error).__name__ == "DatasetGenerationError" else None
        raise _LoadError(with_kind(cause or error, first_line)) from error


def _no_data_set(name: str, reason: str) -> DataError:
    return DataError(
        f"{name}: no such file or folder, and no such data set on the "
        f"Hugging Face hub could be reached ({reason}); check the name, or the network"
    )
