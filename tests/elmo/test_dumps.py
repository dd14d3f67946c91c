"""Dumps in HDF5: lines keep their place whatever they hold, and nothing outside of the file is read."""

import io
import json
import subprocess
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from lmkit.embedding import dumps
from lmkit.embedding.dumps import read_dump, write_dump
from lmkit.errors import DataError, UsageError

LINES = ["the cat", "", "a / b", "the cat", " ", "/", "sentence_to_index"]


def vectors_of(lines: list[str]) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(3, len(line.split()), 4) for line in lines]


def test_lines_keep_their_place(tmp_path: Path) -> None:
    """Duplicates, "/", blank and empty lines each have the dataset of their number, as bilm-tf and AllenNLP name it."""
    path, vectors = tmp_path / "x.hdf5", vectors_of(LINES)
    write_dump(path, iter(vectors), iter(LINES))
    assert all(torch.equal(a, b) for a, b in zip(read_dump(path), vectors, strict=True))
    with h5py.File(path) as file:
        assert set(file) == {*map(str, range(len(LINES))), "sentence_to_index"}
        assert file["1"].shape == (3, 0, 4)  # pyright: ignore
        table = json.loads(file["sentence_to_index"][0])  # pyright: ignore
    assert table == {line: str(number) for number, line in enumerate(LINES)}
    assert table["the cat"] == "3"


def test_one_layer(tmp_path: Path) -> None:
    """Of a chosen layer a dataset is (tokens, features)."""
    vectors = [layers[0] for layers in vectors_of(LINES)]
    write_dump(tmp_path / "x.hdf5", vectors, LINES)
    assert [line.shape for line in read_dump(tmp_path / "x.hdf5")] == [line.shape for line in vectors]


def test_more_lines_than_digits(tmp_path: Path) -> None:
    """Line 10 comes after line 9, not after line 1."""
    vectors = [torch.full((1, 1, 1), float(i)) for i in range(25)]
    write_dump(tmp_path / "x.hdf5", vectors, [str(i) for i in range(25)])
    assert [int(line) for line in read_dump(tmp_path / "x.hdf5")] == list(range(25))


def test_published_dumps(shared: Path) -> None:
    """Dumps that bilm-tf wrote are read."""
    for row in range(3):
        lines = list(read_dump(shared / "reference" / "elmo" / f"lm_embeddings_{row}.hdf5"))
        assert len(lines) == 10
        assert all(line.shape[::2] == (2, 16) for line in lines)


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    """An interrupted dump leaves the old file; an existing one is replaced only if that is asked for."""
    path = tmp_path / "x.hdf5"
    write_dump(path, vectors_of(["a"]), ["a"])
    with pytest.raises(UsageError, match="--overwrite"):
        write_dump(path, vectors_of(["a"]), ["a"])

    def broken() -> Any:
        yield from vectors_of(["a"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dump(path, broken(), LINES, overwrite=True)
    assert len(list(read_dump(path))) == 1
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(UsageError, match="cannot be written"):
        write_dump(tmp_path / "no" / "x.hdf5", [], [])


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """HDF5 crashes where it cannot write: a limit on the size of files replaces a full disk, in another process."""
    code = f"""
import resource, signal, torch
from pathlib import Path
from lmkit.embedding import dumps
from lmkit.embedding.dumps import write_dump
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
write_dump(Path({str(tmp_path / "x.hdf5")!r}), (torch.ones(1, 9, 9) for _ in range(999)), map(str, range(999)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.returncode
    assert "x.hdf5 cannot be written (File too large); free some space" in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


class Interrupted(io.BytesIO):
    """A file whose reader presses Ctrl-C while HDF5 writes."""

    def write(self, data: Any) -> int:
        if self.tell() > 1000:
            raise KeyboardInterrupt
        return super().write(data)


def test_an_interruption_inside_hdf5_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HDF5 goes on after an exception of the file that it writes; the dump does not."""
    monkeypatch.setattr(dumps, "new_file", lambda *_, **__: nullcontext(Interrupted()))
    with pytest.raises(KeyboardInterrupt):
        write_dump(tmp_path / "x.hdf5", vectors_of(LINES), LINES)


def _external(file: h5py.File) -> None:
    file["1"] = h5py.ExternalLink("other.hdf5", "/0")


def _soft(file: h5py.File) -> None:
    file["1"] = h5py.SoftLink("/0")


def _outside(file: h5py.File) -> None:
    file.create_dataset("1", (1, 2, 3), "f4", external=[("other.bin", 0, 24)])


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((1, 2, 3), "f4")
    layout[:] = h5py.VirtualSource("other.hdf5", "0", (1, 2, 3))
    file.create_virtual_dataset("1", layout)


def _huge(file: h5py.File) -> None:
    file.create_dataset("1", (3, 10**12, 4), "f4", chunks=(1, 10, 4))


def _compressed(file: h5py.File) -> None:
    file.create_dataset("1", data=np.zeros((3, 1000, 4), "f4"), compression="gzip")


def _text(file: h5py.File) -> None:
    file.create_dataset("1", data=["a"])


def _double(file: h5py.File) -> None:
    file.create_dataset("1", data=np.zeros((3, 2, 4)))


def _flat(file: h5py.File) -> None:
    file.create_dataset("1", data=np.zeros(3, "f4"))


def _group(file: h5py.File) -> None:
    file.create_group("1")


def _named(file: h5py.File) -> None:
    file.create_dataset("a sentence", data=np.zeros((3, 2, 4), "f4"))


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (_external, "link"),
        (_soft, "link"),
        (_outside, "other files"),
        (_virtual, "other files"),
        (_huge, "holds fewer"),
        (_compressed, "h5repack"),
        (_text, "float32"),
        (_double, "float32"),
        (_flat, "dimensions"),
        (_group, "is not a dataset"),
        (_named, "no dataset '1'"),
    ],
)
def test_what_is_not_read(tmp_path: Path, add: Any, message: str) -> None:
    """Whatever points elsewhere, or is larger than the file or of another kind, is refused in one line."""
    path = tmp_path / "x.hdf5"
    (tmp_path / "other.bin").write_bytes(bytes(24))
    with h5py.File(path, "w") as file:
        file.create_dataset("0", data=np.zeros((1, 2, 3), "f4"))
        add(file)
    with pytest.raises(DataError, match=message) as caught:
        list(read_dump(path))
    assert "\n" not in str(caught.value)


def test_damaged(tmp_path: Path) -> None:
    """A file that is missing, cut off, changed or no HDF5 is a DataError, never a crash."""
    path = tmp_path / "x.hdf5"
    with pytest.raises(DataError, match="no such file"):
        list(read_dump(path))
    write_dump(path, vectors_of(LINES), LINES)
    sound = path.read_bytes()
    for size in range(0, len(sound), 257):
        path.write_bytes(sound[:size])
        with pytest.raises(DataError):
            list(read_dump(path))
    chance = np.random.default_rng(0)
    for _ in range(200):
        changed = np.frombuffer(sound, np.uint8).copy()
        changed[chance.integers(len(sound), size=4)] = chance.integers(256, size=4)
        path.write_bytes(changed.tobytes())
        with suppress(DataError):
            list(read_dump(path))
