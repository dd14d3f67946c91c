"""Blocks of lines: the same text as line by line, for readers, tokenizers and the store."""

import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_tokenizers.byte import ByteTokenizer

from lmkit.corpus import lines as lines_module
from lmkit.corpus import readers
from lmkit.corpus.lines import BadLines, Line, LineBlock, LineReader, expanded
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text, TextLines
from lmkit.corpus.split import Part, hold_out
from lmkit.corpus.store import TokenStore
from lmkit.errors import PluginError

texts = st.text(st.sampled_from("ab \n\r\t\x0b\x0c\x1c\x85\xa0\u2028é中😀"), max_size=80)
cuts = st.lists(st.integers(0, 300), max_size=5)


def reader(policy: str = "error") -> LineReader:
    return LineReader(lambda line, byte: f"line {line} (byte {byte})", BadLines(policy))


def cut_at(raw: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(raw), *(c for c in cuts if c < len(raw))})
    return [raw[a:b] for a, b in pairwise(edges)]


def by_definition(raw: bytes) -> list[bytes]:
    """ "\\n" ends a line, with one "\\r" before it; a last line needs no end."""
    parts = raw.split(b"\n")
    return [part.removesuffix(b"\r") for part in (parts[:-1] if parts[-1] == b"" else parts)]


class LineByLine:
    """A text that offers no blocks."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self.fingerprint, self.describe = text.fingerprint, text.describe

    def __iter__(self) -> Iterator[Line]:
        return iter(self._text)

    blocks = __iter__


class Wrong(ByteTokenizer):
    """A tokenizer that loses the last line of a block."""

    def block_ids(self, raw: bytes) -> tuple[np.ndarray, np.ndarray]:
        ids, ends = super().block_ids(raw)
        return ids, ends[:-1]


@settings(deadline=None)
@given(texts, cuts, st.integers(8, 40))
def test_blocks_are_the_lines(text: str, cuts: list[int], piece: int) -> None:
    """However the bytes come, blocks and Lines together are the lines of the definition; no line is too long."""
    raw = text.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "PIECE", piece)
        found = list(reader().read_blocks(cut_at(raw, cuts)))
    assert all(
        len(line) <= piece for part in found if isinstance(part, LineBlock) for line in part.raw.split(b"\n")
    )
    whole = b""
    joined = []
    for line in expanded(found):
        whole += line.text.encode()
        if not line.continues:
            joined.append(whole)
            whole = b""
    assert joined == by_definition(raw)
    assert [line.starts_document for line in expanded(found)] == [
        i == 0 for i, _ in enumerate(expanded(found))
    ]


@settings(deadline=None)
@given(st.binary(max_size=60).map(lambda raw: raw.replace(b"\xf0", b"\n")), cuts)
def test_bad_lines_do_not_depend_on_blocks(raw: bytes, cuts: list[int]) -> None:
    """What is not UTF-8, holds a NUL or Japanese in escapes is left out of any text, however its bytes come."""
    lines = [
        line
        for line in by_definition(raw)
        if not any(mark in line for mark in (b"\0", b"\x1b$B", b"\x1b$@"))
        and line.decode(errors="ignore").encode() == line
    ]
    found = [line.text.encode() for line in expanded(reader("skip").read_blocks(cut_at(raw, cuts)))]
    assert found == lines


@settings(deadline=None, max_examples=25)
@given(texts.filter(str.strip), st.integers(8, 40))
def test_the_store_of_blocks_is_that_of_lines(text: str, piece: int) -> None:
    """Ids, boundaries, and the bytes and words of each line are those of the text read line by line."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "PIECE", piece)
        path = Path(folder, "text.txt")
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        read = Text([str(path)], DataOptions())
        blocks = TokenStore.build(read, ByteTokenizer(), cache=Path(folder, "blocks"))
        lines = TokenStore.build(LineByLine(read), ByteTokenizer(), cache=Path(folder, "lines"))
        assert blocks.fingerprint == lines.fingerprint
        assert blocks.line_words.tolist() == lines.line_words.tolist()
        assert blocks.line_bytes.tolist() == [len(line) for line in by_definition(text.encode())]
        del blocks, lines


def test_every_file_of_plain_text_begins_a_document(tmp_path: Path) -> None:
    """The first block of each file begins a document, its other blocks none."""
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_bytes(b"some words\n" * 200_000)
    text = Text([str(tmp_path)], DataOptions())
    starts = [part.starts_document for part in text.blocks() if isinstance(part, LineBlock)]
    assert starts == [True, False, False] * 2
    store = TokenStore.build(text, ByteTokenizer(), cache=tmp_path / "cache")
    assert store.document_starts.tolist() == [0, 200_000]


def test_a_part_of_a_text_comes_line_by_line() -> None:
    """A text that is divided offers its lines alone."""
    train, valid = hold_out(Text.from_lines(map(str, range(40))))
    assert valid is not None
    assert list(train.blocks()) == list(train)


def test_a_block_that_loses_a_line_is_refused(tmp_path: Path) -> None:
    """A tokenizer whose block_ids gives another number of lines is named."""
    (tmp_path / "text.txt").write_text("a\nb\n")
    with pytest.raises(PluginError, match="Wrong gave 1 lines"):
        TokenStore.build(Text([str(tmp_path / "text.txt")], DataOptions()), Wrong(), cache=tmp_path / "cache")


def test_strings_to_fit_on(tmp_path: Path) -> None:
    """TextLines are the strings of a text, as often as they are asked for, seen by a progress bar."""
    (tmp_path / "text.txt").write_bytes(b"a b\r\n\r\nc")
    labels = []

    def progress(items: Iterable[Any], *, total: int | None, label: str) -> Iterable[Any]:
        labels.append(label)
        return items

    lines = TextLines(Text([str(tmp_path / "text.txt")], DataOptions()), progress)
    assert list(lines) == list(lines) == ["a b", "", "c"]
    assert list(lines.blocks()) == [LineBlock(b"a b\n", True), LineBlock(b"c", False)]
    assert labels == ["reading text.txt"] * 3


@pytest.mark.parametrize(("held", "readings"), [(1 << 24, 1), (0, 2)])
def test_the_beginning_is_not_read_twice(
    held: int, readings: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that were looked at come again without another reading, unless they are too much to hold."""
    monkeypatch.setattr(readers, "HELD", held)
    path = tmp_path / "text.txt"
    path.write_text("".join(f"some words {i}\n" for i in range(20_000)))
    text = Text([str(path)], DataOptions())
    read, blocks = [], text.blocks
    monkeypatch.setattr(text, "blocks", lambda: read.append(path) or blocks())
    lines = TextLines(text)
    assert [line.text for line in islice(lines.beginning(), 3)] == [f"some words {i}" for i in range(3)]
    assert list(lines) == path.read_text().splitlines()
    assert len(read) == readings
    assert list(lines) == path.read_text().splitlines()
    assert len(read) == readings + 1


@settings(deadline=None, max_examples=25)
@given(st.lists(texts, min_size=1, max_size=90), st.booleans())
def test_both_parts_in_one_reading(lines: list[str], cached: bool) -> None:
    """The stores of both parts are what each part alone gives, wherever one of them is in the cache already."""
    train, valid = hold_out(Text.from_lines(["first", *lines, "last"]))
    assert isinstance(train, Part)
    assert isinstance(valid, Part)
    tokenizer = ByteTokenizer()
    with tempfile.TemporaryDirectory() as folder:
        alone = [TokenStore.build(part, tokenizer, cache=Path(folder, "alone")) for part in (train, valid)]
        if cached:
            TokenStore.build(valid, tokenizer, cache=Path(folder, "both"))
        both = TokenStore.build_parts(train, valid, tokenizer, cache=Path(folder, "both"))
        assert [store.fingerprint for store in both] == [store.fingerprint for store in alone]
        for got, wanted in zip(both, alone, strict=True):
            assert np.array_equal(got.tokens, wanted.tokens)
            assert np.array_equal(got.document_starts, wanted.document_starts)
        del alone, both, got, wanted
