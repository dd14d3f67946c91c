"""The residual codes are codes: their probabilities sum to at most one, and a decoder can follow."""

import itertools
import json
import math
import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lmkit_tokenizers.options import WordOptions
from lmkit_tokenizers.word import WordTokenizer

from lmkit import residual, spelling
from lmkit.corpus.words import WHITE_SPACE
from lmkit.residual import GapCounter, ResidualCounter, SpaceCode, WordResidual, gaps, new_word_rate
from lmkit.spelling import BOUNDARY, SYMBOLS, SpellingCode, spread

ESCAPED = math.log2(6)


def strings(alphabet: str, longest: int):
    for length in range(longest + 1):
        for letters in itertools.product(alphabet, repeat=length):
            yield "".join(letters)


def by_hand(words: list[bytes], order: int, word: bytes) -> float:
    """Bits of a word under an interpolated n-gram of bytes, smoothed after Witten and Bell, with dictionaries."""
    counts = [defaultdict(Counter) for _ in range(order)]
    for one in words:
        symbols = [BOUNDARY] * (order - 1) + [*one, BOUNDARY]
        for i in range(order - 1, len(symbols)):
            for k in range(order):
                counts[k][tuple(symbols[i - k : i])][symbols[i]] += 1
    singles = counts[0][()]
    symbols = [BOUNDARY] * (order - 1) + [*word, BOUNDARY]
    bits = 0.0
    for i in range(order - 1, len(symbols)):
        kinds = max(len(singles), 1)
        p = (singles[symbols[i]] + kinds / SYMBOLS) / (singles.total() + kinds)
        for k in range(1, order):
            seen = counts[k][tuple(symbols[i - k : i])]
            if seen:
                p = (seen[symbols[i]] + len(seen) * p) / (seen.total() + len(seen))
        bits -= math.log2(p)
    return bits


WORDS = [b"walking", b"talking", b"balking", b"stalking", b"a", "天气".encode(), b"\x0b"]


@pytest.mark.parametrize("order", [2, 3, 5])
@pytest.mark.parametrize("words", [[], [b"a"], WORDS])
def test_spellings_cost_what_an_n_gram_of_bytes_gives_them(words, order):
    """Brute force over dictionaries: each word by itself, empty and unseen ones too."""
    code = SpellingCode.fit(words, order)
    tried = [b"chalking", b"", b"a", "天".encode(), b"walking", b"\x0b\x0c"]
    assert code.bits(tried) == pytest.approx([by_hand(words, order, word) for word in tried])
    assert code.bits([]).shape == (0,)


@pytest.mark.parametrize("words", [[], [b"a"], WORDS])
def test_the_spelling_code_is_a_distribution_after_every_context(words):
    """The 257 outcomes sum to one in contexts that were seen and in others, and none is impossible."""
    code = SpellingCode.fit(words)
    for context in ([BOUNDARY] * 4, [BOUNDARY, *b"wal"], [*b"alki"], [*b"zzzz"]):
        number = 0
        for symbol in context:
            number = number * SYMBOLS + symbol
        found = code.probabilities(number * SYMBOLS + np.arange(SYMBOLS))
        assert found.sum() == pytest.approx(1)
        assert found.min() > 0


def test_the_spelling_code_is_uniform_when_it_was_fitted_on_nothing():
    """257 equal outcomes, the end among them."""
    assert SpellingCode.fit([]).bits([b"abc"]) == pytest.approx([4 * math.log2(257)])


def test_the_bigrams_of_older_tokenizers_are_read_as_before():
    """A table of [symbol, next symbol, count] is a code of order 2, and is written as it was read."""
    table = []
    pairs = Counter(pair for word in WORDS for pair in itertools.pairwise([BOUNDARY, *word, BOUNDARY]))
    table = [[a, b, count] for (a, b), count in sorted(pairs.items())]
    code = SpellingCode.from_table(table)
    assert code.bits([b"chalk"]) == pytest.approx([by_hand(WORDS, 2, b"chalk")])
    assert code.to_table() == table


@pytest.mark.parametrize(
    ("once", "unknown", "tokens", "rate"),
    [(10, 0, 90, 0.1), (10, 10, 90, 0), (10, 25, 90, 0), (10, 5, 95, 0.05), (0, 0, 99, 0.01), (0, 0, 0, 0)],
)
def test_the_rate_of_new_words_is_that_of_words_seen_once(once, unknown, tokens, rate):
    """n / (tokens + n), less what a model learns from the words that the vocabulary leaves out."""
    assert new_word_rate(once, unknown, tokens) == pytest.approx(rate)


def test_of_many_words_some_are_taken_evenly(monkeypatch):
    """What is stored is bounded."""
    monkeypatch.setattr(spelling, "MOST_WORDS", 3)
    assert spread(3).tolist() == [0, 1, 2]
    assert spread(101).tolist() == [0, 50, 100]


def spans_of(line: str) -> np.ndarray:
    """Words and single marks: what is between is no white space alone."""
    return np.array([m.span() for m in re.finditer(r"[a-z]+|[.!]", line)], np.int64).reshape(-1, 2)


@given(st.text(st.sampled_from("ab.!, \té\n"), max_size=12))
def test_a_word_residual_pays_for_all_that_is_not_in_ids(line):
    """What is between tokens, of any characters, and unknown words have finite codes; ids and codes give the line."""
    counter = ResidualCounter()
    for text in ("ab, ab!", "b. é"):
        counter.add(text, spans_of(text))
    code = counter.code(["ab", "!", "."])
    spans = spans_of(line)
    words = [line[a:b] for a, b in spans.tolist()]
    unknown = np.array([word not in ("ab", "!", ".") for word in words], bool)
    bits = code.bits(line, spans, unknown)
    assert 0 < bits < math.inf
    again = WordResidual.from_table(json.loads(json.dumps(code.to_table())))
    assert again.bits(line, spans, unknown) == bits
    assert code.spelling_bits(line, spans, unknown).shape == (unknown.sum(),)


def test_lines_of_the_same_ids_share_one_code():
    """Brute force over the text around and in one unknown word: 2^-bits sums to at most one."""
    counter = ResidualCounter()
    for text in ("ab, ab!", "b."):
        counter.add(text, spans_of(text))
    code = counter.code(["ab"])
    mass = 0.0
    for before, word, after in itertools.product(["", " ", ",", "é"], strings("abc", 3), ["", " ", ","]):
        if word:
            span = np.array([[len(before), len(before + word)]])
            mass += 2 ** -code.bits(before + word + after, span, np.array([True]))
    assert 0 < mass <= 1


def test_spelling_is_cheaper_than_uniform_for_words_like_those_cut():
    """What the n-grams are for."""
    cut = [b"walking", b"talking", b"balking", b"stalking"]
    assert SpellingCode.fit(cut).bits([b"chalking"]).sum() < SpellingCode.fit([]).bits([b"chalking"]).sum()


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
    code = SpellingCode.fit([b"abc", b"b"])
    again = SpellingCode.from_table(json.loads(json.dumps(code.to_table())))
    assert again.bits([b"abd"]) == code.bits([b"abd"])
    spaces = SpaceCode({" ": 3}, 4)
    assert SpaceCode.from_table(spaces.to_table()).bits("\t") == spaces.bits("\t")
