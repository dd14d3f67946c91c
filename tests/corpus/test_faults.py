"""Bad text: every case says which file, where in it, what is wrong and what to do, and exits with 3."""

import bz2
import gzip
import json
import lzma
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from lmkit.corpus import compression
from lmkit.corpus.encodings import guess_encoding
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text
from lmkit.errors import DataError, UsageError
from lmkit.notes import NOTE

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda raw: zstandard.ZstdCompressor(write_checksum=True).compress(raw),
}
CHINESE = "我们在这里学习语言模型,它能预测下一个词。\n" * 3
JAPANESE = "これは日本語の文章です。モデルは次の単語を予測します。\n" * 3
TRADITIONAL = "我們在這裡學習語言模型,它能預測下一個詞。\n" * 3
FRENCH = "Le café est déjà fermé, hélas; où aller près d'ici?\n" * 3


def fault(*sources: str | Path, options: DataOptions | None = None) -> str:
    """The message of the DataError that reading gives: one line, exit code 3."""
    with pytest.raises(DataError) as caught:
        list(Text([str(s) for s in sources], options or DataOptions()))
    assert caught.value.exit_code == 3
    message = str(caught.value)
    assert "\n" not in message
    return message


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "name", ["nowhere.txt", "nowhere/at/all", "./nowhere", "/nowhere", "nowhere.jsonl.gz"]
)
def test_missing_path(name: str) -> None:
    """A path that is not there is an error when the Text is made, before anything runs."""
    with pytest.raises(DataError, match="no such file or folder") as caught:
        Text([name], DataOptions())
    assert name in str(caught.value)


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    """A pipe, which could be read but once, and a name that no file can have are errors at once."""
    os.mkfifo(tmp_path / "pipe")
    for name, words in (
        (str(tmp_path / "pipe"), "write it to a file"),
        ("x" * 5000, "not a usable path"),
        ("~nobody-/x", "not a usable path"),
    ):
        with pytest.raises(DataError, match=words):
            Text([name], DataOptions())


def test_pattern_without_match(tmp_path: Path) -> None:
    """A pattern that matches nothing is shown."""
    pattern = str(tmp_path / "*.nothing")
    message = fault(pattern)
    assert pattern in message
    assert "no file matches the pattern" in message


@pytest.mark.parametrize(
    ("content", "what"), [(b"", "empty"), (b"\n \n\t\r\n", "blank"), (b"\xef\xbb\xbf", "empty")]
)
def test_no_text(tmp_path: Path, content: bytes, what: str) -> None:
    """An empty or blank file is named, and so is a folder without files."""
    message = fault(written(tmp_path / "a.txt", content))
    assert "a.txt" in message
    assert what in message
    (tmp_path / "folder").mkdir()
    assert "no files" in fault(tmp_path / "folder")


def test_blank_file_among_others(tmp_path: Path) -> None:
    """One blank file does not spoil a folder that has text."""
    written(tmp_path / "a.txt", b"")
    written(tmp_path / "b.txt", b"text\n")
    assert [line.text for line in Text([str(tmp_path)], DataOptions())] == ["text"]


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (FRENCH, "latin-1"),
        (CHINESE, "gb18030"),
        (TRADITIONAL, "big5"),
        (JAPANESE, "shift_jis"),
        (FRENCH, "utf-16"),
        (FRENCH, "utf-32"),
        (FRENCH, "utf-16-le"),
        (FRENCH, "utf-16-be"),
    ],
)
def test_other_encodings(tmp_path: Path, content: str, encoding: str) -> None:
    """Text that is not UTF-8 is an error that names an encoding, and that encoding reads it exactly."""
    path = written(tmp_path / "a.txt", ("plain\n" + content).encode(encoding))
    message = fault(path)
    assert str(path) in message
    assert "byte " in message
    assert f"--encoding {encoding}" in message
    found = list(Text([str(path)], DataOptions(encoding=encoding)))
    assert [line.text for line in found] == ["plain", *content.splitlines()]
    assert [line.num_bytes for line in found[1:]] == [len(line.encode()) for line in content.splitlines()]


def test_offset_of_a_bad_byte(tmp_path: Path) -> None:
    """The byte offset is the one in the file, with a mark before it and blocks behind it."""
    good = b"\xef\xbb\xbf" + b"0123456789\r\n" * 200_000
    message = fault(written(tmp_path / "a.txt", good + b"caf\xe9 noir\n" + b"x\n" * 10))
    assert f"line 200001 (byte {len(good) + 3})" in message
    assert "--encoding latin-1" in message
    assert "--on-bad-line skip" in message


def test_one_bad_byte_in_utf8(tmp_path: Path) -> None:
    """A slip in text that is UTF-8 is not answered with another encoding, which would spoil the rest."""
    assert "--encoding" not in fault(written(tmp_path / "a.txt", CHINESE.strip().encode() + b"\xff\n"))


def test_wrong_encoding_named(tmp_path: Path) -> None:
    """A file that the named encoding cannot read is told by its byte offset."""
    path = written(tmp_path / "a.txt", "0123456789 é中\n".encode())
    message = fault(path, options=DataOptions(encoding="ascii"))
    assert f"{path}: byte 11: not ascii text" in message
    assert "--encoding utf-8" in message


def test_unknown_encoding() -> None:
    """An encoding unknown to Python is a usage error: 2."""
    for name in ("utf-9", "base64", "rot13"):
        with pytest.raises(UsageError, match=name):
            Text([], DataOptions(encoding=name))


def test_compressed_under_a_wrong_name(tmp_path: Path) -> None:
    """A compressed file whose name does not say so is recognised."""
    assert "end in .gz" in fault(written(tmp_path / "a.txt", gzip.compress(b"text\n")))


def test_nul(tmp_path: Path) -> None:
    """A NUL is told with its line and byte."""
    message = fault(written(tmp_path / "a.txt", b"one\ntwo\nthr\0ee\n"))
    assert "a.txt: line 3 (byte 11): a NUL" in message


def test_skipping_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """--on-bad-line skip leaves bad lines out, counts them, and says so once for a Text."""
    path = written(tmp_path / "a.txt", b"a\0b\none\ntwo\xff\nthree\n")
    text = Text([str(path)], DataOptions(on_bad_line="skip"))
    with caplog.at_level(NOTE):
        found = list(text)
        assert list(text) == found
    assert [(line.text, line.starts_document) for line in found] == [("one", True), ("three", False)]
    assert len(caplog.records) == 1
    assert "2 bad lines skipped" in caplog.text
    assert "line 1" in caplog.text


def test_skipping_in_another_encoding(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Bytes invalid in the given encoding make only their line a bad one."""
    path = written(tmp_path / "a.txt", "一\n".encode("gb18030") + b"\xff\xff\n" + "二\n".encode("gb18030"))
    text = Text([str(path)], DataOptions(encoding="gb18030", on_bad_line="skip"))
    assert [line.text for line in text] == ["一", "二"]
    assert "1 bad lines skipped" in caplog.text


@pytest.mark.parametrize("suffix", PACKERS)
def test_compressed_files(tmp_path: Path, suffix: str) -> None:
    """Compressed text gives the lines of plain text, in several streams too; a cut or foreign one is 3."""
    plain = written(tmp_path / "a.txt", b"".join(b"line %d of the text\n" % i for i in range(20000)))
    half = plain.read_bytes()[:99999], plain.read_bytes()[99999:]
    packed = written(tmp_path / f"a.txt{suffix}", b"".join(map(PACKERS[suffix], half)))
    assert list(Text([str(packed)], DataOptions())) == list(Text([str(plain)], DataOptions()))
    whole = PACKERS[suffix](plain.read_bytes())
    for end in (len(whole) // 2, len(whole) - 3):
        message = fault(written(tmp_path / f"cut{suffix}", whole[:end]))
        assert f"cut{suffix}: cut off" in message
    assert "not a" in fault(written(tmp_path / f"plain{suffix}", plain.read_bytes()))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    assert "flip" in fault(written(tmp_path / f"flip{suffix}", bytes(flipped)))


@pytest.mark.parametrize("suffix", PACKERS)
def test_decompression_bomb(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that grows past the limit is refused, and the option that the message names lifts it."""
    monkeypatch.setattr(compression, "EXPANSION_FLOOR", 1 << 20)
    path = written(tmp_path / f"bomb{suffix}", PACKERS[suffix](b"ha ha\n" * 250_000))
    assert "--max-expansion" in fault(path)
    assert sum(1 for _ in Text([str(path)], DataOptions(max_expansion=0))) == 250_000


def test_memory_for_xz(tmp_path: Path) -> None:
    """A header that asks for 4 GiB is refused; several streams with padding between are read."""
    whole = bytearray(lzma.compress(b"text\n"))
    packed = written(tmp_path / "a.xz", bytes(whole) + bytes(20_000) + bytes(whole))
    assert [line.text for line in Text([str(packed)], DataOptions())] == ["text", "text"]
    # The block's header follows 12 bytes: its size, then flags, then LZMA2's number, then its dictionary's size
    # (https://tukaani.org/xz/xz-file-format.txt, sections 3.1 and 5.3.1); a CRC of it ends it.
    end = 12 + (whole[12] + 1) * 4
    at = whole.index(b"\x21\x01", 12, end)
    whole[at + 2] = 40
    whole[end - 4 : end] = zlib.crc32(whole[12 : end - 4]).to_bytes(4, "little")
    assert "more than 1024 MiB of memory" in fault(written(tmp_path / "large.xz", bytes(whole)))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('{"text": "broken', "not JSON"),
        ("[1, 2]", "a list, not an object"),
        ('"text"', "a string, not an object"),
        ('{"text": 3}', "the field 'text' is a number"),
        ('{"text": {"body": "x"}}', "choose a field in it, such as --text-field text.body"),
        ('{"text": ["x", 1]}', "a list that contains a number"),
        ('{"body": "x", "id": 1}', "no field 'text'; its fields are 'body', 'id'"),
        ('{"text": "a\\u0000b"}', "a NUL"),
        ('{"text": "a\\ud800b"}', "surrogate"),
        ("[" * 100_000, "too deep nesting"),
        ('{"text": ' + "9" * 5000 + "}", "too long a number"),
    ],
)
def test_bad_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture, row: str, words: str) -> None:
    """A row of JSONL that cannot be used is told with its line; skipping leaves that row out."""
    path = tmp_path / "a.jsonl"
    path.write_text(f"{json.dumps({'text': 'good'})}\n\n{row}\n{json.dumps({'text': 'last'})}\n", "utf-8")
    message = fault(path)
    assert f"{path}: line 3" in message
    assert words in message
    text = Text([str(path)], DataOptions(on_bad_line="skip"))
    assert [line.text for line in text] == ["good", "last"]
    assert "1 bad lines skipped" in caplog.text


def test_row_that_is_not_utf8(tmp_path: Path) -> None:
    """The byte offset of a bad byte in JSONL is the one in the file."""
    message = fault(written(tmp_path / "a.jsonl", b'{"text": "x"}\n{"text": "caf\xe9"}\n'))
    assert "line 2 (byte 27): not UTF-8" in message


def test_missing_field_is_named(tmp_path: Path) -> None:
    """The fields that a row has are shown, so that --text-field can name one."""
    path = written(tmp_path / "a.jsonl", b'{"body": "hello"}\n')
    assert "--text-field" in fault(path)
    assert [line.text for line in Text([str(path)], DataOptions(text_field="body"))] == ["hello"]


def test_guesses_need_no_aligned_sample() -> None:
    """A sample that ends inside a character is still recognised."""
    raw = (CHINESE * 2000).encode("gb18030")
    assert guess_encoding(raw[: 1 << 16]) == "gb18030"
    assert guess_encoding(b" " + raw[: (1 << 16) - 1]) == "gb18030"
