"""Characters and bytes: any script, exact spans, and residuals as the table of scores has them."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lmkit_tokenizers import char
from lmkit_tokenizers.byte import ByteTokenizer
from lmkit_tokenizers.char import CharTokenizer
from lmkit_tokenizers.options import CharOptions

from lmkit.errors import DataError, ModelError
from lmkit.specs import NoOptions

LINES = ["abba", "天地玄黄 天", "😀 a\0b\tc"]
anything = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("ab天😀\0 ")), max_size=20
)


@pytest.fixture(scope="module")
def chars() -> CharTokenizer:
    return CharTokenizer.fit(LINES, CharOptions())


@given(anything)
def test_characters_are_restored_but_for_unknown_ones(chars, line):
    """Each known character comes back; an unknown one is U+FFFD and costs its share of Unicode."""
    encoding = chars.encode(line)
    known = set("".join(LINES))
    assert chars.decode(encoding.ids.tolist()) == "".join(c if c in known else "\ufffd" for c in line)
    assert [line[start:end] for start, end in encoding.spans] == list(line)
    unknown = sum(c not in known for c in line)
    expected = unknown * math.log2(1_112_064 - len(known))
    assert chars.residual_bits(line, encoding.ids) == pytest.approx(expected)


def test_characters_are_ranked_by_count_then_code_point():
    """0 is `</s>`, 1 the unknown."""
    tokenizer = CharTokenizer.fit(["ccab", "b天"], CharOptions())
    assert tokenizer.ids("bca天?").tolist() == [2, 3, 4, 5, 1]
    assert tokenizer.decode([2, 0]) == "b"


def test_characters_can_be_capped():
    """By count and by number."""
    assert CharTokenizer.fit(["aaabbc"], CharOptions(min_count=2)).vocabulary.size == 4
    assert CharTokenizer.fit(["aaabbc"], CharOptions(vocab_size=3)).vocabulary.size == 3


def test_chunks_change_nothing(chars, monkeypatch):
    """Long lines are counted and looked up in parts."""
    line = "".join(LINES) * 5
    whole = chars.ids(line).tolist()
    monkeypatch.setattr(char, "CHUNK", 7)
    assert chars.ids(line).tolist() == whole
    assert CharTokenizer.fit(LINES, CharOptions()).vocabulary == chars.vocabulary


@given(anything)
def test_bytes_are_restored_exactly(line):
    """The byte tokenizer is lossless, and its residual is zero."""
    tokenizer = ByteTokenizer()
    encoding = tokenizer.encode(line)
    assert bytes(encoding.ids.tolist()) == line.encode()
    assert tokenizer.decode([*encoding.ids.tolist(), 256]) == line
    assert tokenizer.residual_bits(line, encoding.ids) == 0


@given(anything)
def test_bytes_of_a_character_share_its_span(line):
    """Tokens with one span spell the character that it covers."""
    encoding = ByteTokenizer().encode(line)
    spelled: dict[tuple[int, int], bytes] = {}
    for i, (start, end) in zip(encoding.ids.tolist(), encoding.spans.tolist(), strict=True):
        spelled[start, end] = spelled.get((start, end), b"") + bytes([i])
    assert {line[start:end].encode(): s for (start, end), s in spelled.items()} == {
        c.encode(): c.encode() for c in line
    }
    assert len(spelled) == len(line)


def test_broken_bytes_are_replaced():
    """Ids that a model drew need not be UTF-8."""
    assert ByteTokenizer().decode([0xE5, 0xA4, 65]) == "\ufffdA"


def test_the_byte_vocabulary_has_no_unknown():
    """257 ids, and fitting reads nothing."""
    vocabulary = ByteTokenizer.fit(iter(()), NoOptions()).vocabulary
    assert (vocabulary.size, vocabulary.eos_id, vocabulary.unk_id) == (257, 256, None)


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), CharTokenizer.fit(LINES, CharOptions())])
def test_save_and_load_agree_on_plain_tokenizers(tokenizer, tmp_path):
    """Vocabulary, ids and text survive; half a surrogate pair is refused; ids are int32."""
    tokenizer.save(tmp_path)
    again = type(tokenizer).load(tmp_path, CharOptions())
    assert again.vocabulary == tokenizer.vocabulary
    assert again.ids("a天?").tolist() == tokenizer.ids("a天?").tolist()
    assert again.ids("a天?").dtype == np.int32
    assert again.word_starts() is None
    with pytest.raises(DataError, match="surrogate"):
        tokenizer.ids("\udc80")


@pytest.mark.parametrize("content", [b"\xff", b"aa", b"", "ab天".encode()])
def test_damaged_characters_are_refused(chars, tmp_path, content):
    """Not UTF-8, a character twice, or not the characters of the header."""
    chars.save(tmp_path)
    (tmp_path / "characters.txt").write_bytes(content)
    with pytest.raises(ModelError, match=str(tmp_path)):
        CharTokenizer.load(tmp_path, CharOptions())


def test_fingerprints_tell_vocabularies_apart(chars):
    """The same characters in another order are another vocabulary, and kinds differ."""
    other = CharTokenizer.fit([*LINES, "天" * 9], CharOptions())
    assert (
        len(
            {
                chars.vocabulary.fingerprint,
                other.vocabulary.fingerprint,
                ByteTokenizer().vocabulary.fingerprint,
            }
        )
        == 3
    )


def test_the_plugin_is_light():
    """Reading the specs imports neither numpy nor torch nor sentencepiece."""
    probe = "import lmkit_tokenizers, sys; print(*{'numpy', 'torch', 'sentencepiece'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
