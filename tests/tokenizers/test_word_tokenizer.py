"""The word tokenizer: KenLM's words, ids by frequency, and lines that are restored."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_tokenizers import text
from lmkit_tokenizers.options import WordOptions
from lmkit_tokenizers.word import EOS, UNK, WordTokenizer

from lmkit.corpus import words
from lmkit.errors import DataError, ModelError

LINES = [
    "the king is the king",
    "  the\tqueen \x0b is here ",
    "",
    " ",
    "一 二 一",
    "<unk> <s> </s> <unk>",
    "rare",
]
KENLM = re.compile(rb"[^\0\t\n\r ]+")

tricky = st.text(st.sampled_from(" \0\t\n\r\x0b\x0c\x1c\x85\xa0\u2003\u3000ab一😀\ufeff"), max_size=30)
lines = st.one_of(tricky, st.text(max_size=30))


@pytest.fixture(scope="module")
def tokenizer() -> WordTokenizer:
    return WordTokenizer.fit(LINES, WordOptions())


def kenlm_words(line: str) -> list[str]:
    return [word.decode() for word in KENLM.findall(line.encode())]


@given(lines)
def test_words_are_split_at_five_characters_only(line):
    """NUL, tab, line feed, carriage return and space separate words as in KenLM, nothing else does."""
    found = [words.shown(word).decode() for chunk in text.word_chunks(line) for word in chunk]
    assert found == kenlm_words(line)


@given(lines)
def test_spans_cover_the_words(tokenizer, line):
    """The characters of each span are the word of its id."""
    encoding = tokenizer.encode(line)
    assert [line[start:end] for start, end in encoding.spans] == kenlm_words(line)
    assert encoding.ids.dtype == np.int32
    assert encoding.spans.dtype == np.int64
    assert len(encoding.ids) == len(encoding.spans)


def test_ids_fall_with_the_count_and_ties_follow_the_text():
    """0 is `</s>`, 1 the unknown word, then types by falling count and code points."""
    tokenizer = WordTokenizer.fit(["b a c a b \x0b \x0b c", "rare"], WordOptions())
    assert tokenizer.ids("\x0b a b c rare").tolist() == [2, 3, 4, 5, UNK]
    assert tokenizer.vocabulary.size == 6
    assert (tokenizer.vocabulary.eos_id, tokenizer.vocabulary.unk_id) == (EOS, UNK)


def test_names_of_special_tokens_are_ordinary_words(tokenizer):
    """`<unk>` in a text is a word like others; `<s>` and `</s>`, seen once here, are unknown like others."""
    ids = tokenizer.ids("<unk> </s>").tolist()
    assert ids[0] > UNK
    assert ids[1] == UNK


def test_vocab_size_and_min_count_cut_types():
    """vocab_size counts all ids; min_count drops rare types first."""
    assert WordTokenizer.fit(["a a b b c c d"], WordOptions(vocab_size=4)).vocabulary.size == 4
    assert WordTokenizer.fit(["a a b b c c d"], WordOptions(min_count=1)).vocabulary.size == 6
    assert WordTokenizer.fit(["a a b b c c d"], WordOptions()).vocabulary.size == 5


def test_a_vocabulary_without_words_is_announced(caplog):
    """Where every word is too rare, the notice says which option to change."""
    tokenizer = WordTokenizer.fit(["a b"], WordOptions())
    assert tokenizer.vocabulary.size == 2
    assert "min_count" in caplog.text


def test_decode_joins_words_by_one_space(tokenizer):
    """The unknown is U+FFFD and `</s>` nothing."""
    ids = tokenizer.ids("  the  strange king").tolist()
    assert tokenizer.decode([*ids, EOS]) == "the \ufffd king"
    assert tokenizer.decode([]) == ""


@settings(deadline=None)
@given(lines)
def test_residual_bits_are_finite(tokenizer, line):
    """Any line has a code, however strange."""
    assert 0 <= tokenizer.residual_bits(line, tokenizer.ids(line)) < float("inf")


def test_residual_bits_add_up_over_unknown_words():
    """Two unknown words cost what each costs, beside the same white space."""
    tokenizer = WordTokenizer.fit(["a a " * 9 + "bc bd ce"], WordOptions())

    def bits(line):
        return tokenizer.residual_bits(line, tokenizer.ids(line))

    assert bits("xb a bd") - bits("a a a") == pytest.approx(
        bits("xb a a") + bits("a a bd") - 2 * bits("a a a")
    )


def test_long_lines_are_worked_through_in_chunks(tokenizer, monkeypatch):
    """The chunk size changes nothing, only the memory."""
    line = "  the king\0was\tx\x0b queen   here rare " * 3
    whole = tokenizer.encode(line)
    bits = tokenizer.residual_bits(line, whole.ids)
    for chunk in (1, 2, 7, 50):
        monkeypatch.setattr(text, "CHUNK", chunk)
        assert tokenizer.ids(line).tolist() == whole.ids.tolist()
        assert tokenizer.residual_bits(line, whole.ids) == pytest.approx(bits)


def test_half_a_surrogate_pair_is_refused(tokenizer):
    """What UTF-8 cannot hold is not text: one clear error."""
    with pytest.raises(DataError, match=r"character 1 of a line is U\+D800"):
        tokenizer.ids("a\ud800")


def test_the_fingerprint_follows_the_ids():
    """Equal texts give equal fingerprints; a changed order of ids gives another."""

    def fingerprint(lines, **options):
        return WordTokenizer.fit(lines, WordOptions(**options)).vocabulary.fingerprint

    base = fingerprint(["a a a b b"])
    assert fingerprint(["b a a", "a b"]) == base
    assert fingerprint(["a a b b b"]) != base
    assert fingerprint(["a a a b b"], vocab_size=3) != base


def test_save_and_load_agree(tokenizer, tmp_path):
    """Ids, text and residual codes survive."""
    tokenizer.save(tmp_path)
    again = WordTokenizer.load(tmp_path, WordOptions())
    assert again.vocabulary == tokenizer.vocabulary
    for line in [*LINES, "so so \x0c strange"]:
        ids = tokenizer.ids(line)
        assert again.ids(line).tolist() == ids.tolist()
        assert again.residual_bits(line, ids) == tokenizer.residual_bits(line, ids)
        assert again.decode(ids.tolist()) == tokenizer.decode(ids.tolist())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("words.txt", b""),
        ("words.txt", b"the\nthe\nking\n"),
        ("words.txt", b"the\n\xff\n"),
        ("words.txt", b"the king\nis\n"),
        ("words.txt", None),
        ("tokenizer.json", b"{"),
        ("tokenizer.json", b"[" * 100_000),
        ("tokenizer.json", b"[1]"),
        ("tokenizer.json", b'{"size": 3, "tokenizer": "char", "format": 1}'),
        ("tokenizer.json", None),
        ("residual.json", b"3"),
        ("residual.json", b"{}"),
    ],
)
def test_damaged_files_are_refused_by_name(tokenizer, tmp_path, name, content):
    """A file that `save` did not write is a ModelError that names it."""
    tokenizer.save(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=re.escape(name)):
        WordTokenizer.load(tmp_path, WordOptions())


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.update(spelling=[[0, 300, 1]]),
        lambda t: t.update(spelling=[[0, 1, -1]]),
        lambda t: t.update(spelling=[[0, 1]]),
        lambda t: t.update(spelling=[[0, 1, 2], [0, 1, 3]]),
        lambda t: t["spelling"].update(order=9),
        lambda t: t["spelling"].update(order=True),
        lambda t: t["spelling"]["words"].append(3),
        lambda t: t["spelling"]["words"].append("\ud800"),
        lambda t: t.update(novelty=1),
        lambda t: t.update(novelty="0.1"),
        lambda t: t.update(spelling={}),
        lambda t: t["spaces"].pop("after"),
        lambda t: t["spaces"]["before"]["counts"].update(x=1),
        lambda t: t["spaces"]["before"]["counts"].update({" ": 0}),
        lambda t: t["spaces"]["before"].update(uncounted=-1),
    ],
)
def test_wrong_residual_tables_are_refused(tokenizer, tmp_path, change):
    """A table that could not be a code is refused."""
    tokenizer.save(tmp_path)
    path = tmp_path / "residual.json"
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))
    with pytest.raises(ModelError, match=r"residual\.json"):
        WordTokenizer.load(tmp_path, WordOptions())


def test_exchanged_words_are_noticed(tokenizer, tmp_path):
    """Words in another order are sound words, but not the saved vocabulary."""
    tokenizer.save(tmp_path)
    words = (tmp_path / "words.txt").read_bytes().splitlines(keepends=True)
    (tmp_path / "words.txt").write_bytes(b"".join(reversed(words)))
    with pytest.raises(ModelError, match="vocabulary"):
        WordTokenizer.load(tmp_path, WordOptions())


def test_new_words_follow_the_old_ones():
    """By descending count, without unk_word and rare words; what ids leave out costs what it did."""
    options = WordOptions(min_count=2, unk_word="<unk>")
    old = WordTokenizer.fit(["the cat", "the cat", "a dog"], options)
    new = old.extended(["the owl", "a owl a", "<unk> <unk> owl", "once"], options, 5)
    assert new.ids("the cat owl a once <unk>").tolist() == [3, 2, 4, 5, 1, 1]
    assert old.extended(["owl owl a a a"], options, 1).ids("a owl").tolist() == [4, 1]
    line = " once  more"
    assert new.residual_bits(line, new.ids(line)) == old.residual_bits(line, old.ids(line))
    assert new.novelty == old.novelty
