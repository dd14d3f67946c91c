"""From what DATA names to sources of documents: files, built-in data sets and the hub."""

import glob
import hashlib
import os
import re
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmkit.corpus import compression, pydocs
from lmkit.corpus.decoding import to_utf8, without_mark
from lmkit.corpus.distances import PREFIX, DistanceText
from lmkit.corpus.jsonl import read_jsonl
from lmkit.corpus.lines import BadLines, Line, LineBlock, LineReader
from lmkit.corpus.options import STDIN, DataOptions
from lmkit.corpus.text import read_text, utf8_blocks
from lmkit.errors import DataError
from lmkit.run_paths import is_run, is_unfinished, refuse_as_text, run_of_file

_FORMATS = {".jsonl": "jsonl", ".json": "jsonl", ".parquet": "parquet", ".csv": "csv", ".tsv": "tsv"}
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


class Source(ABC):
    """Documents that come from one place."""

    @abstractmethod
    def read(self, options: DataOptions, bad: BadLines) -> Iterator[Line | LineBlock]:
        """Its lines; those of plain text may come in blocks."""

    @abstractmethod
    def digest(self) -> str:
        """Equal for equal content."""

    def stamp(self) -> object:
        """Changes with the content as far as that is known without reading it."""
        return None


@dataclass(frozen=True)
class FileSource(Source):
    """A file: its extension says how it is read, its text is one document unless it is a table."""

    path: Path

    @property
    def format(self) -> str:
        suffixes = [s.lower() for s in self.path.suffixes]
        if suffixes and suffixes[-1] in compression.SUFFIXES:
            suffixes.pop()
        return _FORMATS.get(suffixes[-1], "text") if suffixes else "text"

    def read(self, options: DataOptions, bad: BadLines) -> Iterator[Line | LineBlock]:
        if self.format == "parquet":
            from lmkit.corpus.tables import read_parquet

            yield from read_parquet(self.path, options, bad)
        elif self.format in ("csv", "tsv"):
            from lmkit.corpus.tables import read_csv

            yield from read_csv(self.path, options, bad, separator="\t" if self.format == "tsv" else ",")
        elif self.format == "jsonl":
            blocks, mark = utf8_blocks(self.path, options, bad)
            yield from read_jsonl(blocks, str(self.path), options.text_field, bad, offset=mark)
        else:
            yield from read_text(self.path, options, bad)

    def digest(self) -> str:
        sha = hashlib.sha256(self.format.encode())
        # The compressed bytes: unpacking would cost more than building a store again after a new compression.
        for block in compression.raw_blocks(self.path):
            sha.update(block)
        return sha.hexdigest()

    def stamp(self) -> object:
        try:
            stat = self.path.stat()
        except OSError:
            return None  # reading says what is wrong
        return stat.st_mtime_ns, stat.st_size


class StdinSource(Source):
    """Plain text from standard input: one document, kept on the disk, since a text is read more than once."""

    name = "standard input"

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lmkit-stdin-")
        self._path = Path(self._folder.name, "text")
        try:
            with self._path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        except OSError as error:
            reason = error.strerror or error
            raise DataError(
                f"{self.name}: cannot be kept in {self._folder.name}: {reason}; name a file"
            ) from None

    def read(self, options: DataOptions, bad: BadLines) -> Iterator[Line | LineBlock]:
        found = to_utf8(compression.raw_blocks(self._path), options.encoding, self.name, skip=bad.skip)
        blocks, mark = without_mark(found)
        reader = LineReader(lambda line, byte: f"{self.name}: line {line}", bad, offset=mark)
        yield from reader.read_blocks(blocks)

    def digest(self) -> str:
        return FileSource(self._path).digest()


@dataclass(frozen=True)
class ListSource(Source):
    """Lines that Python code gave: one document."""

    given: tuple[str, ...]

    def read(self, options: DataOptions, bad: BadLines) -> Iterator[Line | LineBlock]:
        yield from LineReader(lambda line, byte: f"line {line} of the list", bad).read(self._blocks())

    def digest(self) -> str:
        sha = hashlib.sha256(b"list")
        for block in self._blocks():
            sha.update(block)
        return sha.hexdigest()

    def _blocks(self) -> Iterator[bytes]:
        return ((line.removesuffix("\n") + "\n").encode("utf-8", "surrogatepass") for line in self.given)


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
        for sentence in self.text:
            num_words = sentence.count(" ") + 1
            yield Line(sentence, len(sentence.encode()), num_words, starts_document=True, continues=False)

    def digest(self) -> str:
        return self.text.digest()


@dataclass(frozen=True)
class HubSource(Source):
    """A data set of the Hugging Face hub."""

    name: str

    def read(self, options: DataOptions, bad: BadLines) -> Iterator[Line | LineBlock]:
        from lmkit.corpus.tables import read_hub

        yield from read_hub(self.name, options, bad)

    def digest(self) -> str:
        from lmkit.corpus.tables import hub_revision

        return f"hub:{self.name}@{hub_revision(self.name)}"


def find(name: str) -> tuple[list[Source], str]:
    """The sources that a name of DATA stands for, and a short description of them.

    "-", which is standard input; a file; a folder (its files, below it too, hidden ones and runs left out); a
    pattern (files of runs left out); "pydocs" or one of its parts, "pydocs:test"; "distances:" and what follows;
    else a data set of the hub, which is looked up when it is read. Raises DataError for a path that is missing or
    finds nothing, and for a run or a file of one.
    """
    if name == STDIN:
        return [StdinSource()], StdinSource.name
    try:
        path = Path(name).expanduser()
        is_folder, exists, is_file = path.is_dir(), path.exists(), path.is_file()
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{name[:100]}: no path that can be used ({reason}); check it") from None
    refuse_as_text(path)
    if is_folder:
        files = _files_below(path)
        if not files:
            what = "files of text, only runs" if any(map(is_run, path.iterdir())) else "files"
            raise DataError(f"{name}: the folder has no {what}; name one that has")
        return list(map(FileSource, files)), f"{_count(files)} of {path.resolve().name}/"
    if exists and not is_file:
        raise DataError(
            f"{name}: a pipe or a device, but text is read more than once; write it to a file first"
        )
    if exists:
        return [FileSource(path)], path.name
    if glob.has_magic(name):
        matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
        matched = [p for p in map(Path, matches) if p.is_file()]
        files = [p for p in matched if run_of_file(p) is None]
        if matched and not files:
            raise DataError(f"{name}: the pattern matches files of runs alone, which are no text; give text")
        if not files:
            raise DataError(
                f"{name}: the pattern matches no file; check it, or quote it if the shell expands it"
            )
        return list(map(FileSource, files)), f"{_count(files)} of {name}"
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
