"""Write and read vectors in the HDF5 format of bilm-tf and AllenNLP, one line at a time."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from lmkit import hdf5, strict_json
from lmkit.errors import DataError
from lmkit.files import new_file

INDEX = "sentence_to_index"
"""AllenNLP's dataset with one string: a JSON object that maps each sentence to the name of its dataset."""


def write_dump(
    path: Path, vectors: Iterable[Tensor], sentences: Iterable[str], *, overwrite: bool = False
) -> None:
    """Write the vectors of each line as a dataset named "0", "1" and so on.

    vectors: of each line (layers, tokens, features), or (tokens, features) if a layer was chosen; a line without
    tokens also has a dataset. sentences: the lines. If some are equal, the table has the last, as in AllenNLP.
    Memory holds one line's vectors, and the table of sentences, which is a single string.
    Raises UsageError when the file exists and `overwrite` is false, cannot be written, or h5py is missing.
    """
    h5py = hdf5.library()
    with new_file(path, overwrite=overwrite) as target:
        sink = _Sink(target)
        with h5py.File(sink, "w") as file:
            index: dict[str, str] = {}
            for number, (layers, sentence) in enumerate(zip(vectors, sentences, strict=True)):
                rows = layers.detach().to("cpu", torch.float32).numpy()
                file.create_dataset(str(number), data=rows)
                index[sentence] = str(number)
                sink.check()
            table = file.create_dataset(INDEX, (1,), dtype=h5py.string_dtype())
            table[0] = strict_json.dumps(index)
        sink.check()


class _Sink:
    """A file for HDF5 to write, which keeps the first error for `check`.

    HDF5 crashes where a disk is full, and goes on after an interruption by a signal, without what was to be written.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: BaseException | None = None
        self.tell = file.tell
        # Writing waits in a buffer, so that each of these may find the disk full.
        self.read, self.write = self._kept(file.read), self._kept(file.write)
        self.seek, self.truncate = self._kept(file.seek), self._kept(file.truncate)
        self.flush = self._kept(file.flush)

    def _kept(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def tried(*arguments: Any) -> Any:
            try:
                return call(*arguments)
            except BaseException as error:
                self._error = self._error or error
                return 0

        return tried

    def check(self) -> None:
        """Raise the error."""
        if self._error is not None:
            raise self._error


def read_dump(path: str | Path) -> Iterator[Tensor]:
    """The vectors of each line, in the order of the lines, read on demand: float32 on the CPU.

    Raises DataError if it is not such a file, UsageError if h5py is missing. Links are not followed.
    """
    try:
        with hdf5.opened(Path(path)) as file:
            lines = file.id.get_num_objs() - (INDEX in file)
            for number in range(lines):
                dataset = hdf5.floats(file, str(number))
                if len(dataset.shape) not in (2, 3):
                    raise ValueError(
                        f"'{number}' has the shape {list(dataset.shape)}, wanted 2 or 3 dimensions"
                    )
                yield torch.from_numpy(dataset[()].astype("f4", copy=False))
    except ValueError as error:
        raise DataError(
            f"{path}: not a file of vectors of bilm-tf or AllenNLP: {error}; give such a file"
        ) from error
