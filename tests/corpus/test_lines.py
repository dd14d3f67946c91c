"""Lines from bytes: ends, counts and pieces, against a brute-force definition."""

import re
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmkit.corpus import lines
from lmkit.corpus.lines import BadLines, Line, LineReader
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text


def read(*blocks: bytes) -> list[Line]:
    return list(LineReader(lambda line, byte: f"line {line} (byte {byte})", BadLines("error")).read(blocks))


def brute(raw: bytes) -> list[str]:
    """The definition: "\\n" ends a line, with one "\\r" before it; a last line needs no end."""
    parts = raw.decode().split("\n")
    if parts[-1] == "":
        parts.pop()
    return [part.removesuffix("\r") for part in parts]


def joined(found: list[Line]) -> list[tuple[str, int, int]]:
    """Whole lines again: text, bytes, words."""
    whole = []
    text, size, words = "", 0, 0
    for line in found:
        text, size, words = text + line.text, size + line.num_bytes, words + line.num_words
        if not line.continues:
            whole.append((text, size, words))
            text, size, words = "", 0, 0
    assert not text
    return whole


WORD = re.compile("[^\0\t\n\r ]+")
texts = st.text(st.sampled_from("ab \n\r\t\x0b\x0c\xa0\u3000\u2028\x85é中😀"), max_size=60)


@settings(deadline=None)
@given(texts, st.lists(st.integers(0, 200), max_size=5), st.integers(8, 40))
def test_blocks_and_pieces_change_nothing(text: str, cuts: list[int], piece: int) -> None:
    """Any blocks give the same Lines, which add up to those of the definition; no piece is too long."""
    raw = text.encode()
    edges = sorted({0, len(raw), *(c for c in cuts if c < len(raw))})
    blocks = [raw[a:b] for a, b in pairwise(edges)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "PIECE", piece)
        found = read(*blocks)
        assert found == read(raw)
    wanted = [(line, len(line.encode()), len(WORD.findall(line))) for line in brute(raw)]
    assert joined(found) == wanted
    assert all(line.num_bytes <= piece for line in found)
    assert [line.starts_document for line in found] == [True] + [False] * (len(found) - 1) if found else True


def test_only_newlines_end_lines() -> None:
    """Form feeds, U+2028, U+0085 and a lone "\\r" stay inside a line."""
    assert [line.text for line in read("a\x0cb\u2028c\x85d\re\nf".encode())] == ["a\x0cb\u2028c\x85d\re", "f"]


def test_blank_lines_are_lines() -> None:
    """A blank line inside a text is an empty Line; the end of the last line begins no other."""
    assert [line.text for line in read(b"a\n\n\nb\n")] == ["a", "", "", "b"]
    assert read(b"") == []


def test_crlf_is_lf(tmp_path: Path) -> None:
    """A file with CRLF gives the Lines that LF gives, byte counts included."""
    (tmp_path / "lf.txt").write_bytes("one two\n\nthree é\n".encode())
    (tmp_path / "crlf.txt").write_bytes("one two\r\n\r\nthree é\r\n".encode())
    lf, crlf = (list(Text([str(tmp_path / name)], DataOptions())) for name in ("lf.txt", "crlf.txt"))
    assert lf == crlf
    assert [line.num_bytes for line in lf] == [7, 0, 8]


def test_mark_is_stripped(tmp_path: Path) -> None:
    """A byte-order mark is neither in the text nor counted."""
    path = tmp_path / "bom.txt"
    path.write_bytes(b"\xef\xbb\xbfone\n")
    assert list(Text([str(path)], DataOptions())) == [Line("one", 3, 1, True, False)]


def test_pieces_end_after_white_space() -> None:
    """A piece ends after white space where there is some, so that words stay whole."""
    found = read(b"word " * (lines.PIECE // 5 * 2) + b"end\nnext\n")
    assert [line.continues for line in found] == [True, True, False, False]
    assert all(line.text.endswith(" ") for line in found if line.continues)
    assert [words for _, _, words in joined(found)] == [lines.PIECE // 5 * 2 + 1, 1]


def test_only_kenlms_white_space_separates_words() -> None:
    """Wide and no-break spaces and form feeds are parts of words, and a piece is not cut after them."""
    assert [line.num_words for line in read("a\u3000b\xa0c\x0cd e\tf\n".encode())] == [3]
    (first, second) = read(b"a " + b"x\x0c" * (lines.PIECE // 2) + b"\n")
    assert (first.text, first.continues, second.num_words) == ("a ", True, 1)


def long_line(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for _ in range(size // (1 << 20)):
            file.write(b"some words " * ((1 << 20) // 11))


def peak_of(path: Path) -> tuple[int, int]:
    """The most bytes held while reading, and the number of pieces."""
    tracemalloc.start()
    pieces = sum(1 for _ in Text([str(path)], DataOptions()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak, pieces


@pytest.mark.parametrize("size", [16 << 20, pytest.param(100 << 20, marks=pytest.mark.slow)])
def test_a_huge_line_takes_bounded_memory(tmp_path: Path, size: int) -> None:
    """One line of any length comes in pieces of a mebibyte, within memory that does not grow with it."""
    path = tmp_path / "long.txt"
    long_line(path, size)
    peak, pieces = peak_of(path)
    # A piece's own list of words, made to count them, is most of it: some 60 bytes a word.
    assert peak < 15 * lines.PIECE + (4 << 20)
    assert pieces >= size // lines.PIECE - 1


def test_reading_is_lazy(tmp_path: Path) -> None:
    """The first line is there before the rest is read."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"good\n" + b"x" * (2 << 20) + b"\n\xff\n")
    first: Iterator[Line] = iter(Text([str(path)], DataOptions()))
    assert next(first).text == "good"
