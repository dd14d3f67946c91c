"""Turn the names in DATA into sources of documents: files, built-in data sets and the hub."""

import glob
import hashlib
import logging
import os
import re
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmkit.corpus import compression, pydocs
from lmkit.corpus.decoding import check_encoding
from lmkit.corpus.delimited import read_csv, read_tsv
from lmkit.corpus.distances import PREFIX, DistanceText
from lmkit.corpus.json_array import read_array, starts_array
from lmkit.corpus.jsonl import read_jsonl
from lmkit.corpus.lines import BadLines, Line, LineBlock, LineReader
from lmkit.corpus.options import (
    BY_NAME,
    CSV,
    JSON,
    JSONL,
    PARQUET,
    STDIN,
    TEXT,
    TSV,
    TSV_QUOTED,
    DataOptions,
)
from lmkit.corpus.rows import Row, lines_of_rows
from lmkit.corpus.text import read_text, utf8_blocks
from lmkit.errors import DataError, reason_of
from lmkit.notes import NOTE
from lmkit.run_paths import is_run, is_unfinished, refuse_as_text, run_of_file

_FORMATS = {".jsonl": JSONL, ".json": JSON, ".parquet": PARQUET, ".csv": CSV, ".tsv": TSV}
_STDIN_NAME = "standard input"
_LINES_A_BLOCK = 1000
"""Lines from Python code to read at once."""
ROWS_VERSION = 2
"""Part of the fingerprint of tables, so that tokens are not reused after a change of reading.

Version 2 reads a line for each empty cell, and TSV without quoting.
"""

log = logging.getLogger(__name__)
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


class Source(ABC):
    """Documents of one origin."""

    @abstractmethod
    def read(self, options: DataOptions, bad: BadLines) -> Iterator[Line | LineBlock]:
        """Its lines; those of plain text may come in blocks."""

    @abstractmethod
    def digest(self) -> str:
        """Equal for equal content."""

    def stamp(self) -> object:
        """A string that changes with the content, as far as that is known without reading it."""
        return None


class TableSource(Source):
    """A source of rows, each a document."""

    @abstractmethod
    def rows(self, options: DataOptions, bad: BadLines, columns: Collection[str] = ()) -> Iterator[Row]:
        """Its rows. columns: those that are needed; others may be omitted; () for all."""

    def read(self, options: DataOptions, bad: BadLines) -> Iterator[Line | LineBlock]:
        return self.read_keeping((), options, bad)

    def read_keeping(self, keep: tuple[str, ...], options: DataOptions, bad: BadLines) -> Iterator[Line]:
        """Its lines, with the values of the columns `keep` of their rows."""
        field = options.text_field
        return lines_of_rows(self.rows(options, bad, (field, *keep)), field, keep, bad)


@dataclass
class Digests:
    """The digests of a file computed while it was read, by its stamp. as_read: whether to compute them."""

    as_read: bool = False
    known: dict[object, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FileSource(Source):
    """A file of plain text, one document.

    name: for messages. holder: an object that must live as long as the file.
    """

    path: Path
    name: str
    format: str = TEXT
    holder: object = None
    digests: Digests = field(default_factory=Digests, compare=False, repr=False)

    def read(self, options: DataOptions, bad: BadLines) -> Iterator[Line | LineBlock]:
        return read_text(self.path, self.name, options, bad, self._watch())

    def digest(self) -> str:
        # The compressed bytes: unpacking would cost more than building a store again after a new compression.
        return self.digests.known.get(self.stamp()) or self._digest()

    def _digest(self) -> str:
        sha = hashlib.sha256(self.format.encode())
        for block in compression.raw_blocks(self.path):
            sha.update(block)
        return sha.hexdigest()

    def _watch(self) -> compression.Watch | None:
        """The function to call with the bytes of the file as they are read; None if no digest is needed."""
        stamp = self.stamp()
        if not self.digests.as_read or stamp is None or stamp in self.digests.known:
            return None
        sha = hashlib.sha256(self.format.encode())

        def watch(block: bytes) -> None:
            sha.update(block)
            if not block:
                self.digests.known[stamp] = sha.hexdigest()

        return watch

    def stamp(self) -> object:
        try:
            stat = self.path.stat()
        except OSError:
            return None  # reading reports the problem
        return stat.st_mtime_ns, stat.st_size


@dataclass(frozen=True)
class TableFile(TableSource, FileSource):
    """A file whose rows are documents."""

    def read(self, options: DataOptions, bad: BadLines) -> Iterator[Line | LineBlock]:
        return TableSource.read(self, options, bad)

    def rows(self, options: DataOptions, bad: BadLines, columns: Collection[str] = ()) -> Iterator[Row]:
        if self.format == PARQUET:
            from lmkit.corpus.tables import read_parquet

            return read_parquet(self.path, self.name, options, bad, columns)
        blocks, offset = utf8_blocks(self.path, self.name, options, bad, self._watch())
        if self.format == TSV:
            return read_tsv(blocks, self.name, bad, offset=offset)
        if self.format in (CSV, TSV_QUOTED):
            delimiter = "," if self.format == CSV else "\t"
            return read_csv(blocks, self.name, bad, delimiter=delimiter, offset=offset)
        is_array = False
        if self.format == JSON:
            is_array, blocks = starts_array(blocks)
        if is_array:
            return read_array(blocks, self.name, options.text_field, bad)
        return read_jsonl(blocks, self.name, options.text_field, bad, offset=offset)

    def digest(self) -> str:
        return f"{FileSource.digest(self)} {ROWS_VERSION}"


def read_rows(path: Path, options: DataOptions | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a table, each with its number from 1 and its cells by the names of the columns.

    The suffix of the path (or `options.input_format`) chooses JSON Lines, JSON, CSV, TSV or Parquet, compressed or
    not. Cells are strings in CSV and TSV, and keep their types in other formats. Raises DataError for a file that
    is missing, is plain text or has no rows, and for a bad row, unless `options.on_bad_line` is "skip".
    """
    options = options or DataOptions()
    check_encoding(options.encoding)
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path")
    source = _file_source(path, str(path), options.input_format)
    if not isinstance(source, TableFile):
        raise DataError(
            f"{path}: not a table; rename it to end in .jsonl, .json, .csv, .tsv or .parquet, or give --input-format"
        )
    bad = BadLines(options.on_bad_line)
    for row in source.rows(options, bad):
        yield row.number, row.cells
    if bad.count:
        log.log(NOTE, "%s: %s", path, bad.summary())
    if bad.row == bad.count:
        raise DataError(f"{path}: no readable rows; give another table")


def _file_source(path: Path, name: str, input_format: str, holder: object = None) -> FileSource:
    form = _format(path) if input_format == BY_NAME else input_format
    return (FileSource if form == TEXT else TableFile)(path, name, form, holder)


def is_table(path: Path) -> bool:
    """Whether a file has the suffix of a table, compressed or not."""
    return _format(path) != TEXT


def _format(path: Path) -> str:
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in compression.SUFFIXES:
        suffixes.pop()
    return _FORMATS.get(suffixes[-1], TEXT) if suffixes else TEXT


def _stdin_source(input_format: str) -> FileSource:
    """Standard input, stored in a temporary file, since a text is read more than once."""
    folder = tempfile.TemporaryDirectory(prefix="lmkit-stdin-")
    path = Path(folder.name, "text")
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    except OSError as error:
        raise DataError(
            f"{_STDIN_NAME}: cannot be stored in {folder.name}: {reason_of(error)}; give a file instead"
        ) from None
    return _file_source(path, _STDIN_NAME, input_format, folder)


@dataclass(frozen=True)
class ListSource(Source):
    """Lines from Python code: one document."""

    given: tuple[str, ...]

    def read(self, options: DataOptions, bad: BadLines) -> Iterator[Line | LineBlock]:
        yield from LineReader(lambda line, byte: f"line {line} of the list", bad).read(self._blocks())

    def digest(self) -> str:
        sha = hashlib.sha256(b"list")
        for block in self._blocks():
            sha.update(block)
        return sha.hexdigest()

    def _blocks(self) -> Iterator[bytes]:
        for start in range(0, len(self.given), _LINES_A_BLOCK):
            lines = self.given[start : start + _LINES_A_BLOCK]
            text = "".join(line.removesuffix("\n") + "\n" for line in lines)
            yield text.encode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class PydocsSource(Source):
    """The built-in data set: each module's docstrings and each topic of the reference are a document."""

    part: str | None = None

    def read(self, options: DataOptions, bad: BadLines) -> Iterator[Line | LineBlock]:
        for document in pydocs.documents(self.part):
            yield from LineReader(lambda line, byte: f"pydocs: line {line}", bad).read([document.encode()])

    def digest(self) -> str:
        return f"{pydocs.digest()}:{self.part}" if self.part else pydocs.digest()


@dataclass(frozen=True)
class DistanceSource(Source):
    """Generated sentences of the distance task: each is a document."""

    text: DistanceText

    def read(self, options: DataOptions, bad: BadLines) -> Iterator[Line | LineBlock]:
        for sentence, start, end in self.text:
            bad.row += 1
            num_words = sentence.count(" ") + 1
            size = len(sentence.encode())
            yield Line(sentence, size, num_words, True, False, bad.row, answer=(start, end))

    def digest(self) -> str:
        return self.text.digest()


@dataclass(frozen=True)
class HubSource(TableSource):
    """A data set of the Hugging Face hub."""

    name: str

    def rows(self, options: DataOptions, bad: BadLines, columns: Collection[str] = ()) -> Iterator[Row]:
        from lmkit.corpus.tables import read_hub

        return read_hub(self.name, options, bad)

    def digest(self) -> str:
        from lmkit.corpus.tables import hub_revision

        return f"hub:{self.name}@{hub_revision(self.name)} {ROWS_VERSION}"


def find(name: str, input_format: str = BY_NAME) -> tuple[list[Source], str]:
    """The sources of a name in DATA, and a short description of them.

    "-" (standard input); a file; a folder (all files in it, except hidden ones and runs); a pattern (except files
    of runs); "pydocs" or one of its parts, "pydocs:test"; "distances:" with settings; else a data set of the hub,
    which is looked up when it is read. Raises DataError for a path that is missing or has no files, and for a run
    or a file in one.
    input_format: how files are read.
    """

    def sources(paths: Sequence[Path]) -> list[Source]:
        return [_file_source(path, str(path), input_format) for path in paths]

    if name == STDIN:
        return [_stdin_source(input_format)], _STDIN_NAME
    try:
        path = Path(name).expanduser()
        is_folder, exists, is_file = path.is_dir(), path.exists(), path.is_file()
    except (OSError, RuntimeError) as error:
        raise DataError(f"{name[:100]}: not a usable path ({reason_of(error)}); check it") from None
    refuse_as_text(path)
    if is_folder:
        files = _files_below(path)
        if not files:
            what = "text files, only runs" if any(map(is_run, path.iterdir())) else "files"
            raise DataError(f"{name}: the folder has no {what}; give another folder")
        return sources(files), f"{_count(files)} of {path.resolve().name}/"
    if exists and not is_file:
        raise DataError(
            f"{name}: a pipe or a device, but text is read more than once; write it to a file first"
        )
    if exists:
        return sources([path]), path.name
    if glob.has_magic(name):
        matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
        matched = [p for p in map(Path, matches) if p.is_file()]
        files = [p for p in matched if run_of_file(p) is None]
        if matched and not files:
            raise DataError(f"{name}: the pattern matches only files of runs, not text; give text")
        if not files:
            raise DataError(
                f"{name}: no file matches the pattern; check it, or quote it if the shell expands it"
            )
        return sources(files), f"{_count(files)} of {name}"
    if name.partition(":")[0] == pydocs.NAME:
        part = pydocs.parse(name)
        return [PydocsSource(part)], pydocs.describe(part)
    if name.startswith(PREFIX):
        return [DistanceSource(DistanceText.parse(name))], name
    if _looks_like_path(name):
        raise DataError(f"{name}: no such file or folder (looked in {Path.cwd()}); check the path")
    return [HubSource(name)], name


def _files_below(folder: Path) -> list[Path]:
    files = []
    for parent, folders, names in os.walk(folder):
        paths = {f: Path(parent, f) for f in folders if not f.startswith(".")}
        folders[:] = [f for f, path in paths.items() if not (is_run(path) or is_unfinished(path))]
        files += [Path(parent, n) for n in names if not n.startswith(".")]
    return sorted(f for f in files if f.is_file())


def _looks_like_path(name: str) -> bool:
    known = {*_FORMATS, *compression.SUFFIXES, ".txt"}
    owner = Path(name).parent
    return (
        not _HUB_NAME.fullmatch(name)
        or Path(name).suffix.lower() in known
        or (str(owner) != "." and owner.is_dir())
    )


def _count(files: Sequence[Path]) -> str:
    return f"{len(files)} file{'s' if len(files) > 1 else ''}"
