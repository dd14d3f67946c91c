"""The token store: what is in it, that it is written once, and that damage is noticed."""

import json
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from lmkit.contracts import Encoding, Tokenizer, Vocabulary
from lmkit.corpus import lines as lines_module
from lmkit.corpus import store as store_module
from lmkit.corpus.readers import Text
from lmkit.corpus.split import hold_out
from lmkit.corpus.store import TokenStore
from lmkit.corpus.store_files import ARRAYS, content_hash
from lmkit.errors import DataError, PluginError
from lmkit.notes import NOTE


class Bytes(Tokenizer):
    """Ids are UTF-8 bytes; 256 ends a line."""

    def __init__(self, size: int = 257, fingerprint: str = "bytes") -> None:
        self.vocabulary = Vocabulary(size, 256, None, fingerprint)
        self.calls = 0

    @classmethod
    def fit(cls, lines: Iterable[str], options: Any) -> Self:
        return cls()

    def encode(self, line: str) -> Encoding:
        self.calls += 1
        ids = np.frombuffer(line.encode(), np.uint8).astype(np.int32)
        return Encoding(ids, np.zeros((len(ids), 2), np.int64))

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(i for i in ids if i < 256).decode()

    def residual_bits(self, line: str, ids: np.ndarray) -> float:
        return 0.0

    def save(self, directory: Path) -> None: ...

    @classmethod
    def load(cls, directory: Path, options: Any) -> Self:
        return cls()


def build(cache: Path, lines: list[str], tokenizer: Bytes | None = None) -> TokenStore:
    return TokenStore.build(Text.from_lines(lines), tokenizer or Bytes(), cache=cache)


LINES = ["one two", "", "drei é", "四"]


def test_what_is_in_it(tmp_path: Path) -> None:
    """Ids with one end a line, boundaries, and the raw counts of each line."""
    tokenizer = Bytes()
    store = build(tmp_path, LINES, tokenizer)
    assert [tokenizer.decode(ids.tolist()) for ids in store.lines()] == LINES
    assert all(ids[-1] == 256 and (ids[:-1] < 256).all() for ids in store.lines())
    assert store.tokens.dtype == np.uint16
    assert isinstance(store.tokens, np.memmap)
    assert not store.tokens.flags.writeable
    assert store.line_ends.tolist() == [8, 9, 17, 21]
    assert store.line_bytes.tolist() == [7, 0, 7, 3]
    assert store.line_words.tolist() == [2, 0, 2, 1]
    assert store.document_starts.tolist() == [0]
    assert (store.num_tokens, store.num_lines) == (21, 4)
    assert build(tmp_path, LINES, Bytes(size=65537, fingerprint="large")).tokens.dtype == np.int32


@settings(deadline=None, max_examples=25)
@given(st.lists(st.text(st.sampled_from("ab é\t"), max_size=30), min_size=1, max_size=20), st.integers(1, 40))
def test_flushes_and_pieces_change_nothing(lines: list[str], flush: int) -> None:
    """However often arrays are written, and however a line is cut, the store is that of the definition."""
    lines = [*lines, "x"]
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(store_module, "_FLUSH", flush)
        patch.setattr(lines_module, "PIECE", 8)
        store = build(Path(folder), lines)
        rows = [[*line.encode(), 256] for line in lines]
        assert store.tokens.tolist() == [i for row in rows for i in row]
        assert store.line_ends.tolist() == np.cumsum([len(row) for row in rows]).tolist()
        assert store.line_bytes.tolist() == [len(line.encode()) for line in lines]
        assert store.line_words.tolist() == [len(line.split()) for line in lines]
        del store


def test_documents_of_a_split(tmp_path: Path) -> None:
    """Document starts are lines, also in a part of a text."""
    _, valid = hold_out(Text.from_lines([str(i) for i in range(1200)]))
    assert valid is not None
    store = TokenStore.build(valid, Bytes(), cache=tmp_path)
    assert store.document_starts.tolist() == list(range(0, 60, 3))


def test_it_is_made_once(tmp_path: Path) -> None:
    """The same text and vocabulary open the cached store; another text or vocabulary does not."""
    tokenizer = Bytes()
    first = build(tmp_path, LINES, tokenizer)
    made = tokenizer.calls
    again = build(tmp_path, LINES, tokenizer)
    assert tokenizer.calls == made
    assert again.fingerprint == first.fingerprint
    other = build(tmp_path, [*LINES, "more"], tokenizer)
    assert tokenizer.calls > made
    relabelled = build(tmp_path, LINES, Bytes(fingerprint="other"))
    assert len({first.fingerprint, other.fingerprint, relabelled.fingerprint}) == 3
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("name", ["tokens", "line_ends", "store.json", "document_starts"])
@pytest.mark.parametrize("how", ["cut", "longer", "gone", "changed"])
def test_damage_is_mended(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, how: str) -> None:
    """A file of another size or with other bytes than were written makes lmkit tokenize again, with a note."""
    tokens = build(tmp_path, LINES).tokens.tolist()
    (path,) = tmp_path.glob(f"*/{name}")
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "changed":
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    else:
        path.write_bytes(content[:-1] if how == "cut" else content + b"x")
    with caplog.at_level(NOTE):
        again = build(tmp_path, LINES)
    assert "damaged" in caplog.text
    assert again.tokens.tolist() == tokens
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("name", "place", "value", "reason"),
    [
        ("tokens", 3, 65535, "not in the vocabulary"),
        ("line_ends", 0, 2**40, "do not divide"),
        ("line_ends", 0, 0, "do not divide"),
        ("line_ends", -1, 1, "do not divide"),
        ("document_starts", 0, -1, "do not begin at lines"),
        ("document_starts", -1, 2**40, "do not begin at lines"),
    ],
)
def test_contents_are_checked_whoever_wrote_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, place: int, value: int, reason: str
) -> None:
    """Ids outside the vocabulary and boundaries outside the text reach no model, though the hash is right."""
    tokenizer = Bytes()
    tokens = build(tmp_path, LINES, tokenizer).tokens.tolist()
    (header,) = tmp_path.glob("*/store.json")
    facts = json.loads(header.read_text("utf-8"))
    arrays = {
        each: np.fromfile(header.with_name(each), np.uint16 if each == "tokens" else np.int64)
        for each in ARRAYS
    }
    arrays[name][place] = value
    arrays[name].tofile(header.with_name(name))
    facts["fingerprint"] = content_hash(arrays, tokenizer.vocabulary)
    header.write_text(json.dumps(facts), "utf-8")
    with caplog.at_level(NOTE):
        again = build(tmp_path, LINES, tokenizer)
    assert reason in caplog.text
    assert again.tokens.tolist() == tokens


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    """An error in the text, or in the tokenizer, leaves no half-written store."""
    with pytest.raises(DataError):
        build(tmp_path, ["good", "bad\0"])
    with pytest.raises(PluginError, match="vocabulary has 100"):
        build(tmp_path, ["é"], Bytes(size=100))
    assert not [p for p in tmp_path.iterdir() if p.suffix != ".lock"]


def test_leftovers_of_a_killed_process(tmp_path: Path) -> None:
    """What a killed process left does not hinder the next."""
    build(tmp_path, LINES)
    (target,) = (p for p in tmp_path.iterdir() if p.is_dir())
    target.rename(tmp_path / f".{target.name}")
    (tmp_path / f".{target.name}" / "tokens").unlink()
    assert build(tmp_path, LINES).num_lines == 4
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == [target.name]


def test_unwritable_cache(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where the cache cannot be written, the store lives in a temporary folder, with a notice."""
    (tmp_path / "file").write_text("not a folder")
    with caplog.at_level(NOTE):
        store = build(tmp_path / "file" / "cache", LINES)
    assert "cannot be written" in caplog.text
    assert store.num_lines == 4
    assert store.tokens[-1] == 256


def test_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room on the disk is one line that names the folder."""

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module.os, "fsync", full)
    with pytest.raises(DataError, match=f"{tmp_path}: cannot write the tokens: No space left"):
        build(tmp_path, LINES)
    assert not [p for p in tmp_path.iterdir() if p.suffix != ".lock"]


def test_waiting_for_another_process_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever finds the tokens locked says so after a moment, and goes on when they are written."""
    monkeypatch.setattr(store_module, "WAIT", 0.05)
    text = Text.from_lines(LINES)
    held = threading.Event()

    def hold() -> None:
        with FileLock(tmp_path / f"{store_module._key(text, Bytes().vocabulary)}.lock"):
            held.set()
            time.sleep(0.3)

    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    assert build(tmp_path, LINES).num_lines == len(LINES)
    other.join()
    assert "another process is writing the tokens of 4 lines" in caplog.text


def test_in_memory() -> None:
    """from_lines makes the store of given ids, without counts of raw text."""
    vocabulary = Bytes().vocabulary
    rows = [np.array([1, 2, 256]), np.array([256])]
    store = TokenStore.from_lines(iter(rows), vocabulary)
    assert [ids.tolist() for ids in store.lines()] == [[1, 2, 256], [256]]
    assert store.line_ends.tolist() == [3, 4]
    assert store.document_starts.tolist() == [0]
    assert store.line_bytes.tolist() == store.line_words.tolist() == [0, 0]
    assert TokenStore.from_lines([], vocabulary).num_tokens == 0
    assert store.fingerprint == TokenStore.from_lines(rows, vocabulary).fingerprint


def test_progress_sees_every_line(tmp_path: Path) -> None:
    """A progress bar is handed the lines with a label."""
    seen = []

    def progress(items: Iterable[Any], *, total: int | None, label: str) -> Iterable[Any]:
        for item in items:
            seen.append(label)
            yield item

    TokenStore.build(Text.from_lines(LINES), Bytes(), cache=tmp_path, progress=progress)
    assert seen == ["tokenizing 4 lines"] * 4
