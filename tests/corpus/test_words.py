"""Words: KenLM's five characters separate them, for whoever counts, cuts or numbers them."""

import re

from hypothesis import given
from hypothesis import strategies as st
from lmkit_tokenizers.options import WordOptions
from lmkit_tokenizers.word import WordTokenizer

from lmkit.corpus.readers import Text
from lmkit.corpus.words import count_words, hidden, shown
from lmkit.evaluation.units import WordCut

KENLM = re.compile(rb"[^\0\t\n\r ]+")
TOKENIZER = WordTokenizer.fit(["a b"], WordOptions())

tricky = st.text(st.sampled_from(" \0\t\n\r\x0b\x0c\x1c\x85\xa0\u2003\u3000ab一😀\ufeff"), max_size=30)
lines = st.one_of(tricky, st.text(max_size=30)).map(str.encode)


@given(lines)
def test_five_characters_separate_words(raw: bytes) -> None:
    """The count is that of runs without NUL, tab, line feed, carriage return and space, nothing else."""
    assert count_words(raw) == len(KENLM.findall(raw))


@given(lines)
def test_hidden_words_are_those_of_kenlm(raw: bytes) -> None:
    """Split in the hidden form and shown again, words are KenLM's; their places are the same."""
    assert [shown(word) for word in hidden(raw).split()] == KENLM.findall(raw)
    assert len(hidden(raw)) == len(raw)


@given(tricky.filter(lambda line: not set(line) & set("\0\n\r")))
def test_all_count_the_same_words(line: str) -> None:
    """The reader, the word tokenizer and surprisal find one number of words in a line."""
    (read,) = [found for found in Text.from_lines([line, "x"]) if found.text == line][:1]
    encoding = TOKENIZER.encode(line)
    assert read.num_words == len(encoding.ids)
    assert len(WordCut(TOKENIZER)(1, line, encoding).first) == read.num_words + 1
