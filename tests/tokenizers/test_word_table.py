"""Words counted and looked up by compiled loops: bit for bit what Python finds."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_tokenizers import word_counts, word_table
from lmkit_tokenizers.options import WordOptions
from lmkit_tokenizers.word import EOS, FIRST, UNK, WordTokenizer
from lmkit_tokenizers.word_kernels import BATCH
from lmkit_tokenizers.word_table import WordTable

from lmkit import residual
from lmkit.contracts import Tokenizer
from lmkit.corpus import lines as lines_module
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text, TextLines
from lmkit.corpus.store import TokenStore
from lmkit.residual import GapCounter, gaps

letters = st.sampled_from("ab \t\r\x0b\x0c\x1c\x85\xa0\u2028一😀\ufeff")
long_words = st.sampled_from(
    ["a" * 8, "a" * 9, "b" * 16, "b" * 17, "\x0b" * 20, "x" * 64, "一" * 30, " " * 65]
)
lines = st.lists(st.one_of(letters, long_words), max_size=30).map("".join)
texts = st.lists(lines, min_size=1, max_size=12)


@contextmanager
def patched(**values: int) -> Iterator[None]:
    """Small limits, so that small texts meet them. All text is large where LARGE is 0."""
    modules = (word_counts, word_table, residual, lines_module)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            (module,) = (m for m in modules if name in vars(m))
            patch.setattr(module, name, value)
        yield


def saved(tokenizer: WordTokenizer) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@settings(deadline=None)
@given(texts)
def test_words_and_white_space_are_counted_as_in_python(text: list[str]) -> None:
    """Counts of words, and of white space by place in the order of its first occurrence."""
    words: Counter[bytes] = Counter()
    spaces, found = GapCounter(), GapCounter()
    for line in text:
        words.update(
            line.encode().replace(b"\t", b" ").replace(b"\r", b" ").replace(b" ", b"\n").split(b"\n")
        )
        spaces.add(gaps(line))
    del words[b""]
    table = WordTable()
    table.count("\n".join(text).encode(), found)
    spelled = table.words(np.arange(len(table.counts)))
    assert dict(zip(spelled, table.counts.tolist(), strict=True)) == words
    assert repr(found.code().to_table()) == repr(spaces.code().to_table())


@settings(deadline=None, max_examples=25)
@given(
    texts.filter(lambda text: any(line.strip(" \t\r") for line in text)),
    st.integers(8, 60),
    st.integers(1, 3),
)
def test_large_texts_give_the_tokenizer_and_the_store_of_small_ones(
    text: list[str], piece: int, least: int
) -> None:
    """Whatever the lengths of lines, the files of the tokenizer and the tokens are equal to the last bit."""
    with tempfile.TemporaryDirectory() as folder, patched(PIECE=piece, MOST_STRINGS=4):
        path = Path(folder, "text.txt")
        path.write_bytes("\n".join(text).encode())
        read = Text([str(path)], DataOptions())
        options = WordOptions(min_count=least, vocab_size=6)
        small = WordTokenizer.fit((line.text for line in read), options)
        with patched(LARGE=0):
            large = WordTokenizer.fit(TextLines(read), options)
            fast = TokenStore.build(read, large, cache=Path(folder, "fast"))
        assert saved(large) == saved(small) == saved(WordTokenizer.fit(TextLines(read), options))
        slow = TokenStore.build(read, small, cache=Path(folder, "slow"))
        assert fast.fingerprint == slow.fingerprint
        del fast, slow


def test_tables_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """More words, bytes and odd white space than there is room for at first; every word keeps its number."""
    monkeypatch.setattr(word_table, "WORDS_AT_FIRST", BATCH)
    monkeypatch.setattr(word_table, "BYTES_A_WORD", 1)
    monkeypatch.setattr(word_table, "ODD_GAPS", BATCH)
    words = [b"%d" % i + b"x" * (i % 90) for i in range(5000)]
    table = WordTable()
    spaces = GapCounter()
    for _ in range(2):
        for first in range(0, len(words), 700):
            table.count(b"\t".join(words[first : first + 700]), spaces)
    assert table.words(np.arange(5000)) == words
    assert (table.counts == 2).all()
    assert spaces.code().between.counts == {"\t": 2 * (5000 - 8)}
    ids, ends = table.ids(b" ".join(reversed(words)) + b"\nnew 7x\n", 3, 1, 0)
    assert ids.tolist() == [*range(5002, 2, -1), 0, 1, 1, 0, 0]
    assert ends.tolist() == [5001, 5004, 5005]


def test_words_of_one_hash_are_told_apart() -> None:
    """Two long words whose 64-bit hashes are equal are two words: their bytes decide."""
    low = (1 << 64) - 1

    def mixed(hashed: int, pack: int) -> int:
        hashed = (hashed ^ pack) * 0xBF58476D1CE4E5B9 & low
        return hashed ^ hashed >> 32

    def hashed(word: bytes) -> int:
        return mixed(mixed(0, pack(word[:8])), pack(word[8:]))

    def pack(raw: bytes) -> int:
        return int.from_bytes(raw, "little")

    first = b"12345678abcdefgh"
    wanted = mixed(0, pack(first[:8])) ^ pack(first[8:])
    starts = (b"%08d" % i for i in range(1000))
    pairs = (start + (mixed(0, pack(start)) ^ wanted).to_bytes(8, "little") for start in starts)
    second = next(word for word in pairs if not set(word) & set(b"\0\t\n\r "))
    assert hashed(first) == hashed(second)
    table = WordTable.of([first, second])
    assert table.words(np.arange(2)) == [first, second]
    assert table.ids(b"%b %b" % (second, first), FIRST, UNK, EOS)[0].tolist() == [3, 2, 0]


def test_an_empty_table_knows_no_word() -> None:
    """Without words every word is unknown, and a blank line is its end."""
    ids, ends = WordTable.of([]).ids(b"a b\n", FIRST, UNK, EOS)
    assert ids.tolist() == [UNK, UNK, EOS, EOS]
    assert ends.tolist() == [3, 4]


def test_blocks_are_looked_up_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """From LARGE bytes on ids come from the table, and are the same."""
    tokenizer = WordTokenizer.fit(["a b c", "a \x0b b"], WordOptions(min_count=1))
    raw = b"b x \x0b\n\n a"
    monkeypatch.setattr(word_counts, "LARGE", 2 * len(raw))
    found = [tokenizer.block_ids(raw) for _ in range(3)]
    assert tokenizer._table is not None
    wanted, wanted_ends = Tokenizer.block_ids(tokenizer, raw)
    for ids, ends in found:
        assert (ids.dtype, ends.dtype) == (np.int32, np.int64)
        assert (ids.tolist(), ends.tolist()) == (wanted.tolist(), wanted_ends.tolist())


@given(lines.map(lambda line: line + "\n\0 a"))
def test_a_line_has_the_same_ids_from_the_table(line: str) -> None:
    """Once a tokenizer has its table, `ids` uses it: a line feed or NUL within a line is still white space."""
    slow, fast = (
        WordTokenizer.fit(["a b c", "a \x0b b aaaaaaaaa"], WordOptions(min_count=1)) for _ in range(2)
    )
    with patched(LARGE=0):
        ids = fast.ids(line)
    assert fast._table is not None
    assert slow._table is None
    assert ids.dtype == np.int32
    assert ids.tolist() == slow.ids(line).tolist()
