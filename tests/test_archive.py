"""Runs in one file: what goes in comes out, and nothing in an archive reaches beyond the new directory."""

import errno
import gzip
import io
import json
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import lmkit
from lmkit import archive, manifest, runs
from lmkit.archive import read_archive, write_archive
from lmkit.cli import cli
from lmkit.errors import DataError, ModelError, UsageError
from lmkit.packed import Unpacked


@pytest.fixture(scope="module")
def run(trained):
    """The run itself: exporting does not change it."""
    return trained


@pytest.fixture
def place(tmp_path):
    """An empty folder in which nothing but the archive may be found after a refusal."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def model_files(run: Path) -> dict[str, bytes]:
    """What travels: the model and its recipe, not the figures of its training, its checkpoints or its lock."""
    listed = [*json.loads((run / "lmkit.json").read_text())["files"], "lmkit.json", "recipe.toml"]
    return {name: data for name, data in contents(run).items() if name in listed}


def refused(file: Path, **options) -> str:
    """The message; nothing may have changed around the archive."""
    before = sorted(file.parent.parent.rglob("*"))
    with pytest.raises(ModelError) as caught:
        read_archive(file, file.parent / "new" / "run", **options)
    assert sorted(file.parent.parent.rglob("*")) == before
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    return message


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as packed:
        for info, data in members:
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for info, data in members:
            packed.writestr(info, data)
    return path


@pytest.mark.parametrize("ending", [".tar.gz", ".tar.xz", ".zip"])
def test_what_is_exported_can_be_imported(run, place, ending):
    """The command line writes and reads each kind of archive; the copy is the same model."""
    file = place / f"model{ending}"
    done = CliRunner().invoke(cli, ["export", str(run), "--to", "archive", str(file)])
    assert (done.exit_code, done.stdout) == (0, ""), done.stderr
    assert [p.name for p in place.iterdir()] == [file.name]
    done = CliRunner().invoke(cli, ["import", "archive", str(file), "--out", str(place / "runs" / "copy")])
    assert (done.exit_code, done.stdout) == (0, ""), done.stderr
    copy = place / "runs" / "copy"
    assert contents(copy) == model_files(run)
    assert sorted(place.iterdir()) == sorted([file, place / "runs"])
    assert lmkit.load(copy).score("the cat").log_prob == lmkit.load(run).score("the cat").log_prob
    assert copy.stat().st_mode == run.stat().st_mode


def test_checkpoints_and_hidden_files_stay_at_home(run, tmp_path):
    """An archive holds the model, not the states of its training nor what lies beside it."""
    home = shutil.copytree(run, tmp_path / "home")
    (home / "checkpoints").mkdir(exist_ok=True)
    (home / "checkpoints" / "state").write_text("x")
    (home / ".notes").write_text("x")
    write_archive(runs.load_run(home), tmp_path / "a.tar.gz")
    with tarfile.open(tmp_path / "a.tar.gz") as packed:
        names = packed.getnames()
        assert {info.uname for info in packed} == {""}
    listed = json.loads((home / "lmkit.json").read_text())["files"]
    assert sorted(names) == sorted(f"home/{name}" for name in [*listed, "lmkit.json", "recipe.toml"])


def test_an_existing_file_or_directory_is_kept(run, place):
    """Both ends refuse to overwrite, unless they are asked to."""
    loaded, file = runs.load_run(run), place / "a.zip"
    file.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        write_archive(loaded, file)
    write_archive(loaded, file, overwrite=True)
    out = place / "taken"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match=r"exists already|not a run"):
            read_archive(file, out, overwrite=overwrite)
    assert contents(out) == {"thesis.txt": b"mine"}
    copy = shutil.copytree(run, place / "copy")
    (copy / "metrics.jsonl").write_text("older")
    read_archive(file, copy, overwrite=True)
    assert "metrics.jsonl" not in contents(copy)


def test_names_that_say_no_format(run, place):
    """The end of the name decides; others are refused with those that are known."""
    with pytest.raises(UsageError, match=r"\.tar\.gz"):
        write_archive(runs.load_run(run), place / "a.rar")
    (place / "a.rar").write_text("x")
    assert ".tar.gz" in refused(place / "a.rar")
    assert "not a file" in refused(place / "absent.zip")


def test_a_failed_export_leaves_nothing(run, place, monkeypatch):
    """A disk that is full while an archive is written leaves no half of it."""

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "write", full)
    with pytest.raises(DataError, match="No space"):
        write_archive(runs.load_run(run), place / "a.zip")
    assert list(place.iterdir()) == []


OUTSIDE = [
    "../evil",
    "run/../../evil",
    "/lmkit-evil",
    "//evil",
    "..",
    "C:/evil",
    "C:evil",
    "a/b/../../../evil",
]
NO_NAME = ["", ".", "a\\..\\evil", "a\nb", "\x1b[2J", "a\x00b", "a\u202eb", "/".join("a" * 20)]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_outside(place, name):
    """`../`, absolute paths and drives, in both kinds of archive: refused, nothing written anywhere."""
    assert "outside" in refused(tar(place / "a.tar.gz", (entry(name), b"x")))
    assert "outside" in refused(zipped(place / "a.zip", (name, b"x")))
    assert not Path("/lmkit-evil").exists()


@pytest.mark.parametrize("name", NO_NAME)
def test_names_that_are_none(place, name):
    """Control characters, backslashes, empty and deep names are refused."""
    message = refused(tar(place / "a.tar.gz", (entry(name), b"x")))
    assert message.isprintable()
    if name and "\x00" not in name:  # zipfile writes no such names
        assert "name" in refused(zipped(place / "b.zip", (name, b"x")))


def test_long_names(place):
    """A name that the file system would refuse is refused first."""
    assert "too long" in refused(tar(place / "a.tar.gz", (entry("a" * 300), b"x")))
    assert "too long" in refused(tar(place / "a.tar.gz", (entry("/".join(["b" * 200] * 6)), b"x")))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
)
def test_links_and_devices_in_a_tar(place, kind):
    """Only files and folders are unpacked, wherever a link leads."""
    members = [(entry("run/a", kind, "b"), b""), (entry("run/a/evil"), b"x")]
    assert "a link" in refused(tar(place / "a.tar.gz", *members))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip(place, kind):
    """Unix types of zip members are looked at too."""
    info = zipfile.ZipInfo("run/a")
    info.external_attr = (kind | 0o777) << 16
    assert "a link" in refused(zipped(place / "a.zip", (info, b"/etc/passwd")))


def test_a_name_twice(place):
    """The same file twice, in two cases of letters, and a file that is a folder too."""
    for names in (("r/a", "r/a"), ("r/a", "./r/a"), ("r/a", "R/A"), ("r/a", "r/a/b"), ("r/a/b", "r/a")):
        members = [(entry(name), b"x") for name in names]
        message = refused(tar(place / "a.tar.gz", *members))
        assert "twice" in message or "inside a file" in message


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_in_a_zip(place):
    """zipfile itself would take the last."""
    assert "twice" in refused(zipped(place / "a.zip", ("r/a", b"1"), ("r/a", b"2")))


def test_an_encrypted_zip(place):
    """The flag of encryption is enough."""
    file = zipped(place / "a.zip", ("r/a", b"x"))
    data = bytearray(file.read_bytes())
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + at] |= 1
    file.write_bytes(data)
    assert "is encrypted" in refused(file)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_compression_in_a_zip(place, method):
    """LZMA in a zip can ask for gigabytes."""
    with zipfile.ZipFile(place / "a.zip", "w", method) as packed:
        packed.writestr("r/a", b"x" * 100)
    assert "unusual" in refused(place / "a.zip")


@pytest.mark.parametrize("ending", [".tar.gz", ".tar.xz", ".zip"])
def test_a_bomb(place, monkeypatch, ending):
    """An archive that grows too much is refused; the flag lifts the limit."""
    monkeypatch.setattr(archive, "EXPANSION_FLOOR", 1 << 16)
    monkeypatch.setattr("lmkit.corpus.compression.EXPANSION_FLOOR", 1 << 16)
    file, zeros = place / f"a{ending}", bytes(1 << 22)
    if ending == ".zip":
        zipped(file, ("r/a", zeros))
    else:
        tar(file, (entry("r/a"), zeros))
        if ending == ".tar.xz":
            with tarfile.open(file) as packed:
                file.write_bytes(lzma.compress(packed.fileobj.read()))
    assert "--max-expansion" in refused(file)
    assert "no lmkit.json" in refused(file, max_expansion=0)


def test_too_many_members(place, monkeypatch):
    """Many empty files are a bomb as well."""
    monkeypatch.setattr(archive, "MOST_MEMBERS", 10)
    members = [(entry(f"r/{i}"), b"") for i in range(12)]
    assert "more than 10 members" in refused(tar(place / "a.tar.gz", *members))


def test_a_header_that_claims_gigabytes(place):
    """tarfile reads a long name in one go, zipfile its list of members: neither gets what it asks for."""
    info = entry("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    info.size = 1 << 33
    (place / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    (place / "a.tar.gz").write_bytes(gzip.compress((place / "a.tar").read_bytes()))
    assert "claims 8,589,934,592 bytes" in refused(place / "a.tar.gz")
    file = place / "a.zip"
    file.write_bytes(bytes(8 << 20) + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 8 << 20, 0, 0))
    assert "claims" in refused(file)


@pytest.mark.parametrize("ending", [".tar.gz", ".tar.xz", ".zip"])
def test_damaged_archives(run, place, ending):
    """Cut off within its contents, empty, or something else by name: one line."""
    whole, cut = place / f"whole{ending}", place / f"cut{ending}"
    write_archive(runs.load_run(run), whole)
    data = whole.read_bytes()
    for size in (0, 1, 10, len(data) // 2, len(data) - 100):
        cut.write_bytes(data[:size])
        refused(cut)
    cut.write_bytes(b"no archive at all" * 100)
    refused(cut)


def test_a_file_that_the_manifest_does_not_list(run, place):
    """Unlisted files are refused: an archive holds a model and nothing beside it."""
    write_archive(runs.load_run(run), place / "a.zip")
    with zipfile.ZipFile(place / "a.zip", "a") as packed:
        packed.writestr("gru/sitecustomize.py", "print()")
    assert "sitecustomize.py: not listed" in refused(place / "a.zip")


@pytest.mark.parametrize("name", ["gru/model.safetensors", "gru/tokenizer/words.txt"])
def test_a_file_that_was_changed(run, place, name, monkeypatch):
    """Every file must have its SHA-256, large ones too."""
    monkeypatch.setattr(manifest, "HASHED_LIMIT", 0)
    write_archive(runs.load_run(run), place / "a.zip")
    with zipfile.ZipFile(place / "a.zip") as packed:
        members = [(info.filename, packed.read(info)) for info in packed.infolist()]
    changed = [(n, data[:-1] + b"#" if n == name else data) for n, data in members]
    zipped(place / "b.zip", *changed)
    assert f"{name}: has changed since it was saved" in refused(place / "b.zip")


def test_an_archive_of_a_run_without_its_folder(run, place):
    """The files may lie at the top, or below `./`."""
    for prefix in ("", "./"):
        members = [(entry(prefix + name), data) for name, data in model_files(run).items()]
        file = tar(place / "a.tar.gz", (entry("./", tarfile.DIRTYPE), b""), *members)
        read_archive(file, place / "copy", overwrite=True)
        assert contents(place / "copy") == model_files(run)


@given(st.binary(max_size=400), st.lists(st.tuples(st.integers(0, 450), st.integers(0, 60)), max_size=6))
def test_unpacked_reads_what_the_stream_holds(data, steps):
    """Reads and jumps forward give what slices of the whole give, whatever the blocks."""
    stream = Unpacked.__new__(Unpacked)
    stream._blocks = (data[i : i + 7] for i in range(0, len(data), 7))
    stream._block, stream._used, stream._at = b"", 0, 0
    at = 0
    for position, size in sorted(steps):
        if position >= at:
            stream.seek(position)
            at = min(position, len(data))
        assert stream.tell() == at
        assert stream.read(size) == data[at : at + size]
        at = min(at + size, len(data))
