"""The distance task's sentences: what they hold, that they repeat, and that train and test share no distractor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit import api
from lmkit.corpus.distance_words import LANGUAGES
from lmkit.corpus.distances import CONTROLS, DistanceText, answers, items, part_of
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text
from lmkit.errors import DataError

SENTENCE = "今天 天气 很 好 ， 我 去 打球 ， 不小心 把 手机 摔坏 了 ， 所以 我 下午 要 去 修 手机 。"


def clauses(language: str, sentence: str) -> list[str]:
    words = LANGUAGES[language]
    return sentence.removesuffix(f" {words.stop}").split(f" {words.comma} ")


@given(
    st.sampled_from(["zh", "en"]), st.integers(0, 5), st.sampled_from(["left", "right"]), st.integers(0, 99)
)
def test_items_hold_what_they_say(language, number, cause, seed):
    """As many distractors as asked for between cause and conclusion, and the words from the object to the blank."""
    (item,) = items(language, number, 1, seed=seed, cause=cause)
    (bare,) = items(language, number, 1, seed=seed, cause=cause, control="left-out")
    triple = LANGUAGES[language].triples[item.answer]
    side = item.before if cause == "left" else item.after
    kept = bare.before if cause == "left" else bare.after
    comma = LANGUAGES[language].comma
    assert side.count(comma) == kept.count(comma) + 1 >= number + 1
    before, after = item.before.split(), item.after.split()
    if cause == "left":
        assert before[-item.words] == triple.object
    else:
        assert after[item.words - 1] == triple.object
    assert item.answer == item.original


def test_controls():
    """A swapped cause changes the cause alone, and the answer with it; left out, the sentence has none."""
    for item, swapped in zip(items("en", 3, 50), items("en", 3, 50, control="swapped"), strict=True):
        assert swapped.original == item.answer != swapped.answer
        changed = [
            a != b for a, b in zip(clauses("en", item.before), clauses("en", swapped.before), strict=True)
        ]
        assert sum(changed) == 1
    assert set(CONTROLS) == {"left-out", "swapped"}


@pytest.mark.parametrize("language", list(LANGUAGES))
def test_train_and_test_share_no_distractor(language):
    """What lies between cause and blank in the test part is in no training sentence."""
    words = LANGUAGES[language]
    train = " ".join(sentence for sentence, *_ in DistanceText(language, count=3000))
    for number in (1, 4):
        for item in items(language, number, 100):
            for clause in clauses(language, item.before)[-1 - number : -1]:
                assert part_of(clause, words) == "test"
                assert f" {words.comma} {clause} {words.comma} " not in train


def test_the_sentence_is_in_no_training_text():
    """The example of the documentation is made of clauses that only the test part has."""
    assert part_of("我 去 打球", LANGUAGES["zh"]) == "test"
    assert part_of("今天 天气 很 好", LANGUAGES["zh"]) == "test"
    assert all(sentence != SENTENCE for sentence, *_ in DistanceText("zh", count=5000))


@pytest.mark.parametrize("language", list(LANGUAGES))
def test_words_of_a_language(language):
    """At least 24 triples whose objects and consequences differ; some consequences share their first word."""
    words = LANGUAGES[language]
    assert len(words.triples) >= 24
    assert len({triple.object for triple in words.triples}) == len(words.triples)
    assert len(set(answers(language))) == len(words.triples)
    assert len({answer.split()[0] for answer in answers(language)}) < len(words.triples)


def test_text_repeats_and_seeds_differ():
    """A name always gives the same sentences, each a document; another seed gives others."""
    text = Text(["distances:en,count=20,seed=3"], DataOptions())
    lines = list(text)
    assert [line.text for line in lines] == [line.text for line in text]
    assert all(line.starts_document for line in lines)
    assert len(lines) == 20
    other = Text(["distances:en,count=20,seed=4"], DataOptions())
    assert [line.text for line in lines] != [line.text for line in other]
    assert text.fingerprint() != other.fingerprint()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("distances:de", "distances:zh"),
        ("distances:zh,far=3", "farthest"),
        ("distances:zh,farthest=-1", "whole number"),
        ("distances:zh,count=0", "whole number"),
        ("distances:zh,cause=up", "left, right"),
        ("distances:zh,seed", "whole number"),
    ],
)
def test_bad_names_are_refused_with_the_remedy(name, hint):
    """One line says what is wrong in a name and what it may say."""
    with pytest.raises(DataError, match=hint) as error:
        Text([name], DataOptions())
    assert "\n" not in str(error.value)


def test_training_on_a_name(tmp_path):
    """The name is a data set as any other is, for training too."""
    settings = {"max_steps": 2, "hidden_size": 4, "tokenizer": "word", "device": "cpu"}
    model = api.train("distances:zh,count=200", model="gru", out=tmp_path / "run", **settings)
    assert model.vocabulary.size > 50
