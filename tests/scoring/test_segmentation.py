"""Segmentation of ordinary text into words, units and clauses."""

import itertools

import numpy as np
import pytest

from lmkit.contracts import Tokenizer
from lmkit.options import choose
from lmkit.scoring import segmentation
from lmkit.scoring.segmentation import (
    clauses,
    ids_of,
    is_known,
    is_letter,
    pieces,
    units,
    unknown_words,
    unspaced,
)
from lmkit.scoring.split_words import SplitWords

LINES = ["the cat sat on the mat .", "a cat and a dog , too .", "今天 天气 很 好 ， 我 修 手机 。"]


def fitted(name: str, lines: list[str], **options: object) -> Tokenizer:
    chosen = choose("tokenizer", {"name": name, **options}, "tokenizer")
    return chosen.load().fit(lines, chosen.options)


def word() -> Tokenizer:
    """A word tokenizer that splits unknown words, as a loaded model has it."""
    return SplitWords(fitted("word", LINES, min_count=1))


def char() -> Tokenizer:
    return fitted("char", LINES)


def test_unknown_words() -> None:
    """Words that the vocabulary lacks are named, without the mark that is typed onto them."""
    tokenizer = word()
    assert unknown_words(tokenizer, "a catdog") == ["catdog"]
    assert unknown_words(tokenizer, "a cat, too.") == []


def test_units_and_clauses() -> None:
    """Words, characters of Chinese where no spaces are read, clauses with their comma."""
    text = "the cat , 好的 ."
    assert [text[a:b] for a, b in units(word(), text)] == text.split()
    typed = "今天天气，the cat."
    assert [typed[a:b] for a, b in units(word(), typed)] == [
        "今天", "天气", "，", "the", "cat", ".",
    ]  # fmt: skip
    assert [text[a:b] for a, b in units(char(), text)] == [
        "the",
        "cat",
        ",",
        "好",
        "的",
        ".",
    ]
    assert ["天气 好 ， 我 去"[a:b] for a, b in clauses("天气 好 ， 我 去")] == ["天气 好 ，", "我 去"]


@pytest.mark.parametrize(
    "text", ["ab", "今天天气", "今天很好", "a,b", "cat.", "天天天气气", "手机,cat", "x手y", "..,"]
)
def test_the_best_segmentation_has_the_fewest_unknown_characters_then_pieces(text: str) -> None:
    """Brute force over all cuts that do not part letters: first the unknown characters count, then the pieces."""
    tokenizer = fitted("word", LINES, min_count=1)
    places = [i for i in range(1, len(text)) if not (is_letter(text[i - 1]) and is_letter(text[i]))]
    costs = []
    for number in range(len(places) + 1):
        for chosen in itertools.combinations(places, number):
            ends = [0, *chosen, len(text)]
            parts = [text[a:b] for a, b in itertools.pairwise(ends)]
            costs.append((sum(len(part) for part in parts if not is_known(tokenizer, part)), len(parts)))
    found = pieces(tokenizer, text)
    assert "".join(found) == text
    assert (sum(len(part) for part in found if not is_known(tokenizer, part)), len(found)) == min(costs)


def test_white_space_between_chinese_characters_is_removed() -> None:
    """Only there: a space next to a Latin letter stays."""
    assert unspaced("今天 天气  很 好") == "今天天气很好"
    assert unspaced("the 手机 is 好") == "the 手机 is 好"
    assert unspaced("a b") == "a b"


@pytest.mark.parametrize(
    ("character", "letter"),
    [
        ("a", True),
        ("7", True),
        ("_", True),
        ("é", True),
        ("\u0301", True),
        ("手", False),
        (",", False),
        (" ", False),
    ],
)
def test_letters_join_into_words(character: str, letter: bool) -> None:
    """Letters, digits, underscores and marks join; Chinese characters and punctuation do not."""
    assert is_letter(character) == letter


def test_ids_of_words_are_those_of_each_word() -> None:
    """Looked up at once or one by one, the ids are the same; a word with white space is unknown."""
    tokenizer = fitted("word", LINES, min_count=1)
    vocabulary = tokenizer.vocabulary
    cat, dog = (int(tokenizer.ids(name)[0]) for name in ("cat", "dog"))
    np.testing.assert_array_equal(ids_of(tokenizer, ["cat", "zebra", "dog"]), [cat, vocabulary.unk_id, dog])
    np.testing.assert_array_equal(ids_of(tokenizer, ["cat", "cat dog", "dog"]), [cat, vocabulary.unk_id, dog])


@pytest.mark.parametrize("mark", [",", ".", "，", "a,", ", "])
def test_clauses_of_long_runs(mark: str) -> None:
    """The time is linear: half a million marks in a row would else take hours."""
    text = mark * 500_000 + "x"
    found = clauses(text)
    assert found[0][0] == 0
    assert found[-1][1] == len(text)


@pytest.mark.parametrize("unit", ["'", "cat'", "天", "the.", "\u0301'", "("])
def test_a_very_long_word_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch, unit: str) -> None:
    """Its possible pieces are looked up some at a time, with the same result; their number grows with its length."""
    tokenizer = fitted("word", LINES, min_count=1)
    whole = pieces(tokenizer, unit * 200)
    assert "".join(whole) == unit * 200
    looked_up: list[int] = []

    def counted(one: Tokenizer, words: list[str]) -> np.ndarray:
        looked_up.append(sum(map(len, words)))
        return ids_of(one, words)

    monkeypatch.setattr(segmentation, "ids_of", counted)
    monkeypatch.setattr(segmentation, "MOST_HELD", 1000)
    assert pieces(tokenizer, unit * 200) == whole
    assert max(looked_up, default=0) < 1000 + 2 * segmentation.LONGEST**2 * len(unit)
    short = sum(looked_up)
    looked_up.clear()
    pieces(tokenizer, unit * 1600)
    assert sum(looked_up) < 10 * short or not looked_up
