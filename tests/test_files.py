"""Files appear whole or not at all, are never written through links, and are read in bounded memory."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lmkit.errors import DataError, LmkitError, UsageError
from lmkit.files import check_new, new_file, place_folder, read_bounded, replaced, write_text


def names(folder: Path) -> list[str]:
    """What is in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def refused(words: str, kind: type[LmkitError] = UsageError) -> Iterator[None]:
    """An error of one line with these words."""
    with pytest.raises(kind, match=words) as caught:
        yield
    assert "\n" not in str(caught.value)


def test_a_file_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    """Until the end there is the older file; afterwards the new one, and nothing beside it."""
    path = tmp_path / "a"
    path.write_text("older")
    with new_file(path, overwrite=True) as file:
        file.write(b"newer")
        file.flush()
        assert path.read_text() == "older"
        assert Path(file.name).read_bytes() == b"newer"
    assert path.read_text() == "newer"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_after_any_error_nothing_is_left(tmp_path: Path, error: type[BaseException]) -> None:
    """The older file stays, and no part of the new one; the error is the one that was raised."""
    path = tmp_path / "a"
    path.write_text("older")

    def write(name: str) -> None:
        with new_file(tmp_path / name, overwrite=True) as file:
            file.write(b"half")
            raise error

    for name in ("a", "b"):
        with pytest.raises(error):
            write(name)
    assert path.read_text() == "older"
    assert names(tmp_path) == ["a"]


def test_the_contents_are_on_the_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash of the machine leaves the older file or the whole new one: first fsync, then the rename."""
    path, order = tmp_path / "a", []
    sync = os.fsync

    def watched(handle: int) -> None:
        order.append((os.fstat(handle).st_size, path.exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    with new_file(path) as file:
        file.write(b"12345")
    assert order == [(5, False)]


def test_an_existing_file_is_replaced_only_if_asked(tmp_path: Path) -> None:
    """Without overwrite the error names --overwrite, and nothing is touched."""
    path = tmp_path / "a"
    path.write_text("older")
    for attempt in (lambda: check_new(path), lambda: new_file(path).__enter__()):
        with refused("a exists already: give --overwrite"):
            attempt()
    check_new(path, overwrite=True)
    assert path.read_text() == "older"


def test_places_that_cannot_be_files(tmp_path: Path) -> None:
    """A folder, a device and a folder that is missing are named before anything is made."""
    cases = [(tmp_path, "is not a file"), (Path(os.devnull), "is not a file")]
    cases.append((tmp_path / "absent" / "a", f"there is no folder {tmp_path / 'absent'}; create it"))
    for path, words in cases:
        for attempt in (
            lambda path=path: check_new(path, overwrite=True),
            lambda path=path: new_file(path, overwrite=True).__enter__(),
        ):
            with refused(words):
                attempt()
    assert names(tmp_path) == []


def test_a_name_that_the_file_system_refuses(tmp_path: Path) -> None:
    """What opening says becomes one line with the file's name and a remedy."""
    path = tmp_path / ("a" * 255)
    with refused(r"a cannot be written \(File name too long\); .*another place"), new_file(path):
        pass


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever notices, the writer or the last flush: the file, the reason, the remedy, and nothing left."""
    path = tmp_path / "a"
    words = r"a cannot be written \(No space left on device\); free some space"
    with refused(words, DataError), new_file(path):
        no_space()
    monkeypatch.setattr(os, "fsync", no_space)
    with refused(words, DataError), new_file(path) as file:
        file.write(b"half")
    assert names(tmp_path) == []


def test_an_error_of_another_file_is_its_own(tmp_path: Path) -> None:
    """A text that disappears while its results are written is not reported as a full disk."""
    with pytest.raises(FileNotFoundError) as caught, new_file(tmp_path / "a"):
        (tmp_path / "text").read_bytes()
    assert caught.value.filename == str(tmp_path / "text")
    assert names(tmp_path) == []


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    """An older part is thrown away, not continued."""
    with new_file(tmp_path / "a") as file:
        part = Path(file.name)
    part.write_text("half of something much longer")
    with new_file(tmp_path / "a", overwrite=True) as file:
        file.write(b"new")
    assert (tmp_path / "a").read_text() == "new"
    assert names(tmp_path) == ["a"]


def test_a_link_that_waits_for_the_part_is_not_followed(tmp_path: Path) -> None:
    """In a shared folder, a link planted under the part's name leads nowhere: its target is not written."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    with new_file(tmp_path / "a") as file:
        part = Path(file.name)
    part.symlink_to(victim)
    with new_file(tmp_path / "a", overwrite=True) as file:
        file.write(b"new")
    assert victim.read_text() == "precious"
    assert (tmp_path / "a").read_text() == "new"
    assert names(tmp_path) == ["a", "victim"]


def test_a_link_to_the_target_stays_a_link(tmp_path: Path) -> None:
    """A file that is named by a link is written where it lies."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder / "a")
    with new_file(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (folder / "a").read_text() == "new"
    assert names(folder) == ["a"]


def test_of_two_writers_the_last_to_begin_wins(tmp_path: Path) -> None:
    """The first is told that another process writes the same file; the second's file is whole."""
    path = tmp_path / "a"
    first, second = new_file(path), new_file(path)
    first.__enter__().write(b"first, and longer")
    file = second.__enter__()
    file.write(b"sec")
    file.flush()
    with refused("another process"):
        first.__exit__(None, None, None)
    assert not path.exists()
    file.write(b"ond")
    second.__exit__(None, None, None)
    assert path.read_text() == "second"
    assert names(tmp_path) == ["a"]


def test_lmkits_own_files_raise_what_the_system_raised(tmp_path: Path) -> None:
    """`replaced` and `write_text` replace without asking; whoever calls them says what an OSError means."""
    path = tmp_path / "a"
    for text in ("älter\n", "neuer\n"):
        write_text(path, text)
        assert path.read_bytes() == text.encode()
    with pytest.raises(OSError, match="No space left"), replaced(path):
        no_space()
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "absent" / "a", "x")
    assert path.read_text(encoding="utf-8") == "neuer\n"
    assert names(tmp_path) == ["a"]


def test_a_folder_gets_its_name_with_its_files(tmp_path: Path) -> None:
    """A finished folder is there under its name alone."""
    hidden = tmp_path / ".a"
    hidden.mkdir()
    (hidden / "file").write_text("x")
    place_folder(hidden, tmp_path / "a")
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["file"]


def test_reading_is_bounded(tmp_path: Path) -> None:
    """A file of the limit is read; a larger one, and what is no file, is refused without reading it."""
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(ValueError, match="it has 5 bytes, more than 4"):
        read_bounded(path, 4)
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path, tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(ValueError, match="not a file"):
            read_bounded(other, 5)
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "absent", 5)
