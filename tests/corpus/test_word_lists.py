"""Words given as a list: the separators between them, by their script."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.corpus.word_lists import Words, joined, refuse_one_string, separators
from lmkit.errors import UsageError


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("the cat sat , then", "the cat sat , then"),
        ("中国 的 首都 是 北京 。", "中国的首都是北京。"),
        ("私 は 学生 です 。", "私は学生です。"),
        ("人々 の 〇 ｶﾅ", "人々の〇ｶﾅ"),
        ("ผม กิน ข้าว", "ผมกินข้าว"),
        ("ຂ້ອຍ ກິນ", "ຂ້ອຍກິນ"),
        ("나는 학교에 간다 .", "나는 학교에 간다 ."),
        ("हिन्दी भाषा", "हिन्दी भाषा"),
        ("naïve cafe\u0301 ne\u0301", "naïve cafe\u0301 ne\u0301"),
        # Mixed: nothing at Chinese, a space between two words of a script with spaces.
        ("我 用 iPhone 12 手机", "我用iPhone 12手机"),
        ("He said 你好 to me", "He said你好to me"),
        ("神\U000e0100 社", "神\U000e0100社"),
        # Marks and digits go with the letters before them, or after where there are none.
        ("价格 3 . 5 元", "价格3.5元"),
        ("他 说 ： “ 你好 …… ”", "他说：“你好……”"),
        ("… … 好", "……好"),
        ("in 2008 … …", "in 2008 … …"),
        ("2008 - 05", "2008 - 05"),
        ("一", "一"),
        ("", ""),
    ],
)
def test_the_separator_follows_the_script(words, text):
    """None between words of scripts without spaces and their punctuation; a space between those of others."""
    parts = words.split()
    found, spans = joined(parts, separators(parts))
    assert found == text
    assert [found[start:end] for start, end in spans] == parts


@given(st.lists(st.text(min_size=1, max_size=3), max_size=8))
def test_every_list_has_its_separators(words):
    """Whatever the characters are, words keep their text, and between two of them is a space or nothing."""
    between = separators(words)
    assert len(between) == max(0, len(words) - 1)
    assert set(between) <= {"", " "}
    text, spans = joined(words, between)
    assert [text[start:end] for start, end in spans] == words


def test_words_of_a_text():
    """Words know the text that they are of, and are a sequence of strings like any other."""
    words = Words.of("Don't!", [(0, 2), (2, 5), (5, 6)])
    assert list(words) == ["Do", "n't", "!"]
    assert (len(words), words[1], words[1:]) == (3, "n't", ("n't", "!"))
    assert words.text == "Don't!"
    assert Words(["a", "b"], "").separator == ""


@pytest.mark.parametrize("one", ["a sentence", b"bytes"])
def test_one_string_is_no_list(one):
    """A string would be read as a list of its characters."""
    with pytest.raises(UsageError, match="not a list of sentences"):
        refuse_one_string(one, "sentences")
