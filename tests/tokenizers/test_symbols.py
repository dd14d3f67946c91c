"""Spellings of ids for files of n-grams, and the word for the unknown token."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lmkit_tokenizers.byte import ByteTokenizer
from lmkit_tokenizers.char import CharTokenizer
from lmkit_tokenizers.options import CharOptions, SentencePieceOptions, WordOptions
from lmkit_tokenizers.pieces import SentencePieceTokenizer
from lmkit_tokenizers.symbols import spelled
from lmkit_tokenizers.word import UNK, WordTokenizer

from lmkit.contracts import Tokenizer
from lmkit.errors import ModelError, PluginError, UsageError

TEXT = ["the <unk> cat\x0b sat <0x09> </s>", "the\tcat ▁ sat é", "<s> <unk> x"] * 20
GAP = re.compile(rb"[\0\t\n\r ]")
TOKENIZERS = [
    WordTokenizer.fit(TEXT, WordOptions()),
    CharTokenizer.fit(TEXT, CharOptions()),
    ByteTokenizer(),
    SentencePieceTokenizer.fit(TEXT, SentencePieceOptions(vocab_size=300)),
]


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: type(t).__name__)
def test_symbols_are_distinct_words(tokenizer: Tokenizer) -> None:
    """Each id has a spelling without white space; only `</s>` and the unknown may share theirs with a word."""
    vocabulary = tokenizer.vocabulary
    symbols = tokenizer.symbols()
    assert len(symbols) == vocabulary.size
    assert symbols[vocabulary.eos_id] == b"</s>"
    assert vocabulary.unk_id is None or symbols[vocabulary.unk_id] == b"<unk>"
    others = [s for i, s in enumerate(symbols) if i not in (vocabulary.eos_id, vocabulary.unk_id)]
    assert len(set(others)) == len(others)
    for symbol in symbols:
        assert symbol
        assert not GAP.search(symbol)
        symbol.decode()


def test_symbols_of_each_kind() -> None:
    """Words, characters and pieces are spelled as they are; white space and lone bytes are escaped."""
    word, char, byte, piece = (tokenizer.symbols() for tokenizer in TOKENIZERS)
    assert {b"the", b"cat\x0b", b"<unk>", b"</s>", b"<s>"} <= set(word)
    # The literal U+2581 keeps its spelling, so the space needs another.
    assert {b"t", "é".encode(), "▁".encode(), "▁_".encode(), b"<0x09>"} <= set(char)
    assert (byte[ord("a")], byte[ord(" ")], byte[0], byte[0xE4]) == (b"a", "▁".encode(), b"<0x00>", b"<0xE4>")
    assert "▁".encode() in piece
    assert {b"<0x00>", b"<0x20>"} <= set(piece)


@given(st.lists(st.text("a_▁ \t<0x9>", min_size=1, max_size=6), unique=True, max_size=30))
def test_distinct_tokens_are_spelled_distinctly(tokens: list[str]) -> None:
    """Whatever tokens there are; those without white space keep their spelling."""
    raw = [token.encode() for token in tokens]
    found = spelled(raw)
    assert len(set(found)) == len(raw)
    assert not any(GAP.search(symbol) for symbol in found)
    assert all(a == b for a, b in zip(found, raw, strict=True) if not GAP.search(b))


def test_a_tokenizer_without_symbols_says_so() -> None:
    """The default names the tokenizer and what it lacks."""
    with pytest.raises(PluginError, match=r"ByteTokenizer has no spellings .* symbols\(\)"):
        Tokenizer.symbols(ByteTokenizer())


@pytest.mark.parametrize("min_count", [1, 2])
def test_the_unknown_word_of_a_text(min_count: int, tmp_path: Path) -> None:
    """unk_word has the unknown id and no other, leaves its place to another word, and survives saving."""
    text = ["<unk> a <unk> b", "<unk> a c b d"]
    tokenizer = WordTokenizer.fit(text, WordOptions(unk_word="<unk>", vocab_size=4, min_count=min_count))
    assert tokenizer.ids("a b <unk> x <unk>").tolist() == [2, 3, UNK, UNK, UNK]
    assert tokenizer.encode("<unk>").ids.tolist() == [UNK]
    assert tokenizer.block_ids(b"<unk> a")[0].tolist() == [UNK, 2, 0]
    assert tokenizer.decode([UNK, 2]) == "\ufffd a"
    assert tokenizer.symbols() == [b"</s>", b"<unk>", b"a", b"b"]
    tokenizer.save(tmp_path)
    again = WordTokenizer.load(tmp_path, WordOptions())
    assert (again.vocabulary, again.unk_word) == (tokenizer.vocabulary, "<unk>")


def test_the_unknown_word_is_paid_for_like_others() -> None:
    """Its spelling costs bits, so that a line is restored from its ids and residual bits."""
    tokenizer = WordTokenizer.fit(TEXT, WordOptions(unk_word="<unk>"))
    bits = [tokenizer.residual_bits(line, tokenizer.ids(line)) for line in ("the <unk>", "the cat\x0b")]
    assert bits[0] > bits[1] + 0.1


@pytest.mark.parametrize("wrong", ["", " ", "a b", "\t<unk>", "a\n"])
def test_an_unknown_word_that_is_no_word_is_refused(wrong: str) -> None:
    """unk_word is one word without white space."""
    with pytest.raises(UsageError, match=r"--unk-word .* not one word"):
        WordTokenizer.fit(TEXT, WordOptions(unk_word=wrong))


def test_a_damaged_unknown_word_is_refused(tmp_path: Path) -> None:
    """What `save` did not write is a ModelError that names the file."""
    WordTokenizer.fit(TEXT, WordOptions(unk_word="<unk>")).save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text().replace('"unk_word": "<unk>"', '"unk_word": 3'))
    with pytest.raises(ModelError, match=r"tokenizer\.json: its unk_word"):
        WordTokenizer.load(tmp_path, WordOptions())
