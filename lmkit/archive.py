"""Runs in one file: .tar.gz, .tar.xz or .zip; archives are unpacked as untrusted input."""

import errno
import math
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, BinaryIO

from lmkit import run_paths, runs
from lmkit.corpus.compression import EXPANSION_FLOOR
from lmkit.corpus.options import DataOptions
from lmkit.errors import ModelError, UsageError, one_line
from lmkit.files import new_file
from lmkit.manifest import check_files, read_manifest
from lmkit.packed import CarefulFile, Unpacked
from lmkit.specs import NoOptions

MOST_MEMBERS = 10_000
LONGEST_PART = 255
"""Bytes of one part of a path, the limit of common file systems."""
LONGEST_NAME = 1024
DEEPEST = 16
MAX_EXPANSION = DataOptions.max_expansion

BLOCK = 1 << 20
"""Bytes copied at once."""

Member = tuple[str, str, Callable[[], IO[bytes]]]
"""A member's name, its kind ("file" or "folder"; any other is refused), and a function that opens it."""


def write_archive(run: runs.LoadedRun, file: Path, *, overwrite: bool = False) -> None:
    """Write the files of a model under a folder of the run's name; the suffix of `file` chooses the format.

    Raises UsageError when the file exists or its suffix is unknown, ModelError when the run is damaged.
    """
    if not file.name.endswith(run_paths.ARCHIVES):
        raise UsageError(
            f"{file}: an archive's name ends in {', '.join(run_paths.ARCHIVES)}; give it one of these"
        )
    check_files(run.directory, run.manifest, hash_limit=math.inf)
    top = run.directory.resolve().name or "run"
    names = runs.travelling(run.directory, run.manifest)
    members = [(run.directory / name, f"{top}/{name}") for name in names]
    file.parent.mkdir(parents=True, exist_ok=True)
    with new_file(file, overwrite=overwrite) as target:
        _write(target, file.name, members)


def _write(target: BinaryIO, name: str, members: list[tuple[Path, str]]) -> None:
    if name.endswith(".zip"):
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
            for path, inner in members:
                packed.write(path, inner)
        return
    with tarfile.open(name, "w:xz" if name.endswith(".xz") else "w:gz", target) as packed:
        for path, inner in members:
            packed.add(path, inner, recursive=False, filter=_nameless)


def _nameless(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The member without its owner, which an archive need not reveal."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


def read_archive(
    file: Path,
    out: Path,
    *,
    overwrite: bool = False,
    max_expansion: float = MAX_EXPANSION,
    options: NoOptions | None = None,
) -> None:
    """Unpack the run in an archive to the directory `out`; `lmkit.specs.FileFormat` says how readers are called.

    overwrite: replace the run that `out` already holds.
    max_expansion: refuse an archive that grows by more than this factor, past 64 MiB (0: no limit).
    Raises UsageError when `out` is taken, ModelError when the archive is damaged, holds anything but the files
    of one valid run, or would write outside it; then no files are left behind. No plugin is imported: loading
    the model checks whether its plugins are installed.
    """
    runs.check_free(out, overwrite=overwrite)
    with runs.staging(out) as folder:
        root = folder / "run"
        root.mkdir()
        try:
            _unpack(file, root, max_expansion)
            run = _run_in(root)
            check_files(run, read_manifest(run), hash_limit=math.inf)
            _check_no_more(run)
        except ModelError as error:
            # Messages name a file by its path inside the archive.
            raise ModelError(f"{file}: {str(error).replace(f'{root}{os.sep}', '')}") from error
        runs.put_in_place(run, out)


def _unpack(file: Path, root: Path, max_expansion: float) -> None:
    if not file.is_file():
        raise ModelError("is not a file; check the path")
    if not file.name.endswith(run_paths.ARCHIVES):
        raise ModelError(f"the name of an archive must end in {', '.join(run_paths.ARCHIVES)}; rename it")
    kinds: dict[PurePosixPath, str] = {}
    room = max(EXPANSION_FLOOR, max_expansion * file.stat().st_size) if max_expansion else math.inf
    is_zip = file.name.endswith(".zip")
    members = _zip_members(file) if is_zip else _tar_members(file, root, max_expansion)
    with _sound(), closing(members):
        for name, kind, opened in members:
            path = root / _checked(name, kind, kinds)
            if kind == "folder":
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with opened() as source, path.open("xb") as target:
                while block := source.read(BLOCK):
                    room -= len(block)
                    if room < 0:
                        raise ModelError(
                            f"grows to more than {max_expansion:g} times its size, like a decompression bomb; "
                            "if you trust it, raise --max-expansion (0: no limit)"
                        )
                    target.write(block)


@contextmanager
def _sound() -> Iterator[None]:
    """Turn errors of the libraries into ModelErrors."""
    try:
        yield
    except OSError as error:
        # zipfile seeks to offsets from headers; only errors of the disk have an errno.
        if error.errno not in (None, errno.EINVAL):
            raise
        raise ModelError("is not a valid archive; fetch it again") from None
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        NotImplementedError,
    ) as error:
        raise ModelError(f"is not a valid archive ({one_line(error)}); fetch it again") from None


def _checked(name: str, kind: str, kinds: dict[PurePosixPath, str]) -> PurePosixPath:
    """The path of a member; ModelError unless it can be written inside a folder without touching another member."""
    path = PurePosixPath(name)
    windows = PureWindowsPath(name)
    plain = name.isprintable() and "\\" not in name and len(path.parts) <= DEEPEST
    if not plain or not (path.parts or kind == "folder"):
        raise _refused(name, "has an unusual name")
    if path.is_absolute() or windows.drive or ".." in path.parts:
        raise _refused(name, "would be written outside the directory")
    if len(name) > LONGEST_NAME or any(len(part.encode()) > LONGEST_PART for part in path.parts):
        raise _refused(name, "has a name that is too long")
    if kind not in ("file", "folder"):
        raise _refused(name, f"is {kind}, not a file")
    if len(kinds) >= MOST_MEMBERS:
        raise ModelError(f"has more than {MOST_MEMBERS:,} members, more than any run")
    # Some file systems ignore case.
    folded = PurePosixPath(name.casefold())
    if kinds.get(folded, kind) != kind or (kind == "file" and folded in kinds):
        raise _refused(name, "occurs twice")
    for parent in list(folded.parents)[:-1]:
        if kinds.setdefault(parent, "folder") == "file":
            raise _refused(name, "is inside a file")
    kinds[folded] = kind
    return path


def _refused(name: str, problem: str) -> ModelError:
    shown = name if len(name) <= LONGEST_PART else f"{name[:LONGEST_PART]}..."
    return ModelError(f"its member {shown!r} {problem}; nothing is unpacked: fetch the archive again")


def _zip_members(file: Path) -> Generator[Member]:
    with CarefulFile(file) as raw, zipfile.ZipFile(raw) as packed:
        for info in packed.infolist():
            yield info.filename, _zip_kind(info), lambda info=info: packed.open(info)


def _zip_kind(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 0x1:
        return "encrypted"
    # The upper half holds Unix modes; other systems leave it empty.
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or a device"
    # Other methods may need gigabytes of memory.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "compressed in an unusual way"
    return "folder" if info.is_dir() else "file"


def _tar_members(file: Path, root: Path, max_expansion: float) -> Generator[Member]:
    with (
        Unpacked(file, max_expansion) as raw,
        tarfile.open(fileobj=raw, mode="r:") as packed,  # pyright: ignore[reportArgumentType, reportCallIssue]
    ):
        for info in packed:
            kind = _tar_kind(info)
            yield info.name, kind, lambda info=info: _opened(packed, tarfile.data_filter(info, str(root)))


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.isdir():
        return "folder"
    if not info.isreg() or info.issparse():
        return "a link, a device or a sparse file"
    return "file"


def _opened(packed: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    opened = packed.extractfile(info)
    assert opened is not None, "only regular files are opened"
    return opened


def _run_in(root: Path) -> Path:
    """The directory of the run: the only folder, or the root."""
    inner = list(root.iterdir())
    if len(inner) == 1 and inner[0].is_dir():
        return inner[0]
    return root


def _check_no_more(run: Path) -> None:
    """Raise ModelError for files that the manifest does not list."""
    listed = read_manifest(run)["files"].keys() | {
        run_paths.MANIFEST,
        run_paths.METRICS,
        run_paths.RECIPE,
    }
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.is_file() and name not in listed:
            raise ModelError(
                f"{name}: not listed in {run_paths.MANIFEST}; make the archive with `lmkit export`"
            )
