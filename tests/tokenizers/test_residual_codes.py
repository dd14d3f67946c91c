"""The residual codes are codes: their probabilities sum to at most one, and a decoder can follow."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lmkit_tokenizers import residual
from lmkit_tokenizers.options import WordOptions
from lmkit_tokenizers.residual import BOUNDARY, SYMBOLS, GapCounter, SpaceCode, SpellingCode
from lmkit_tokenizers.text import gaps
from lmkit_tokenizers.word import WordTokenizer

from lmkit.corpus.words import WHITE_SPACE

ESCAPED = math.log2(6)


def strings(alphabet: str, longest: int):
    for length in range(longest + 1):
        for letters in itertools.product(alphabet, repeat=length):
            yield "".join(letters)


@pytest.mark.parametrize("words", [[], [b"a"], [b"ab", b"abc", b"\xfe\xff"]])
def test_the_spelling_code_is_a_distribution_after_every_symbol(words):
    """Each of the 257 rows sums to one, and no outcome is impossible."""
    code = SpellingCode.fit(words)
    assert np.allclose(np.exp2(-code._bits).sum(1), 1)
    assert np.isfinite(code._bits).all()


def test_the_spelling_code_is_uniform_when_nothing_was_cut():
    """257 equal outcomes, the end among them."""
    assert SpellingCode.fit([]).bits([b"abc"]) == pytest.approx(4 * math.log2(257))


def test_spelling_bits_are_those_of_a_walk_through_the_bigram():
    """Brute force: start, each byte, end; several words add up."""
    code = SpellingCode.fit([b"abc", b"abd", b"xyz"])

    def walk(word):
        symbols = [BOUNDARY, *word, BOUNDARY]
        return sum(code._bits[a, b] for a, b in itertools.pairwise(symbols))

    assert code.bits([b"ab", b"q", b"xyz"]) == pytest.approx(walk(b"ab") + walk(b"q") + walk(b"xyz"))
    assert code.bits([]) == 0


def test_spelling_counts_are_those_of_the_types():
    """Counts do not depend on how many words are counted at once."""
    words = [bytes([97 + i % 5, 98 + i % 3]) for i in range(40)]
    whole = SpellingCode.fit(words).counts
    brute = np.zeros((SYMBOLS, SYMBOLS), int)
    for word in words:
        for a, b in itertools.pairwise([BOUNDARY, *word, BOUNDARY]):
            brute[a, b] += 1
    assert (whole == brute).all()


def test_spelling_is_cheaper_than_uniform_for_words_like_those_cut():
    """What the bigram is for."""
    cut = [b"walking", b"talking", b"balking", b"stalking"]
    assert SpellingCode.fit(cut).bits([b"chalking"]) < SpellingCode.fit([]).bits([b"chalking"])


@pytest.mark.parametrize("counts", [{}, {" ": 9}, {"": 5, " ": 2, "\t ": 1}])
def test_white_space_strings_sum_to_at_most_one(counts):
    """Brute force over all strings up to five characters; the rest of the escape's mass is longer strings."""
    code = SpaceCode(counts, uncounted=2)
    short = sum(2 ** -code.bits(s) for s in strings(WHITE_SPACE, 5))
    longer = 2**-code._escape * (5 / 6) ** 6
    again = sum(2 ** -(code._escape + (len(s) + 1) * ESCAPED) for s in counts)
    assert short + longer + again == pytest.approx(1)


def test_a_frequent_single_space_is_nearly_free():
    """White space of ordinary text costs next to nothing."""
    assert SpaceCode({" ": 1_000_000}).bits(" ") < 1e-5


def test_memory_for_white_space_is_bounded(monkeypatch):
    """Long strings, and strings past the limit, go to the escape."""
    monkeypatch.setattr(residual, "MOST_STRINGS", 2)
    counter = GapCounter()
    for string in (" ", "\t", "\r", " ", " " * 100):
        counter.add(gaps(string))
    code = counter.code().before
    assert code.counts == {" ": 2, "\t": 1}
    assert code.uncounted == 2


@given(st.text(st.sampled_from(" \t\n\0\rab\x0b\u3000"), max_size=12))
def test_gaps_are_the_white_space_of_the_line(line):
    """Before, between and after together hold every white-space character; plain lines take a shorter way."""
    found = gaps(line)
    count = sum(line.count(c) for c in WHITE_SPACE)
    between = sum(len(s) * n for s, n in found.between.items())
    assert len(found.before) + between + len(found.after or "") == count
    assert line.startswith(found.before)
    assert line.endswith(found.after or "")
    assert (found.after is None) == (not line.strip(WHITE_SPACE))


class Decoder:
    """Lists what a decoder of the code can be led to, since the ids say how many words there are."""

    def __init__(self, tokenizer: WordTokenizer, longest: int) -> None:
        self.tokenizer = tokenizer
        self.spaces = list(strings(" \t", longest))
        self.words = list(strings("ab", longest))[1:]

    def lines(self, ids: list[int]):
        """All lines of these ids within the alphabet."""
        if not ids:
            yield from self.spaces
            return
        options = [self.words if i == 1 else [self.tokenizer.decode([i])] for i in ids]
        for before, after in itertools.product(self.spaces, repeat=2):
            for between in itertools.product(self.spaces[1:], repeat=len(ids) - 1):
                for words in itertools.product(*options):
                    middle = "".join(s + w for s, w in zip(between, words[1:], strict=True))
                    yield before + words[0] + middle + after


@pytest.mark.parametrize("ids", [[], [1], [2], [1, 2], [2, 2, 2]])
def test_the_residual_of_given_ids_sums_to_at_most_one(ids):
    """Over all lines with the same ids, 2^-bits is a sub-probability: ids and code restore a line."""
    tokenizer = WordTokenizer.fit(["zz  zz ab", "\tzz", "", "zz b "], WordOptions())
    lines = [line for line in Decoder(tokenizer, 2).lines(ids) if tokenizer.ids(line).tolist() == ids]
    assert len(lines) == len(set(lines)) > 0
    mass = sum(2 ** -tokenizer.residual_bits(line, np.array(ids, np.int32)) for line in lines)
    assert 0 < mass <= 1


def test_tables_survive_being_written():
    """What `to_table` gives is read back equal."""
    spelling = SpellingCode.fit([b"abc", b"b"])
    assert (SpellingCode.from_table(spelling.to_table()).counts == spelling.counts).all()
    spaces = SpaceCode({" ": 3}, 4)
    assert SpaceCode.from_table(spaces.to_table()).bits("\t") == spaces.bits("\t")
