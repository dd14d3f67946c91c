"""One string, one score: the rule by which unknown words are split, and what it must leave alone."""

import math
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from lmkit_tokenizers.options import WordOptions
from lmkit_tokenizers.word import WordTokenizer

import lmkit
from lmkit.api import Model
from lmkit.contracts import Tokenizer
from lmkit.errors import UsageError
from lmkit.scoring.segmentation import is_known, pieces
from lmkit.scoring.split_words import SplitWords, read_as_typed

APART = ["the cat sat on the mat .", "a dog , a good dog , ran .", "is it good ? yes , it is good ."] * 5
ATTACHED = ["the cat sat on the mat.", "a dog, a good dog, ran.", "is it good? yes, it is good."] * 5
CHINESE = ["今天 天气 很 好 ， 我 去 打球 。", "我 下午 要 去 修 手机 。", "天气 不 好 。"] * 5


def tokenizer(lines: list[str]) -> WordTokenizer:
    return WordTokenizer.fit(lines, WordOptions(min_count=1))


def words(reader: SplitWords, line: str) -> list[str]:
    return [line[start:end] for start, end in reader.encode(line).spans.tolist()]


@pytest.mark.parametrize(
    ("lines", "line", "read"),
    [
        (APART, "the cat is good.", "the cat is good ."),
        (APART, "zebras ran, yes.", "zebras ran , yes ."),
        (APART, 'it "is good."', 'it "is good ."'),
        (APART, "the cat is good .", "the cat is good ."),
        (APART, "good-dog cat-dog .", "good-dog cat-dog ."),
        (APART, "the well-known cat", "the well-known cat"),
        (ATTACHED, "the cat is good.", "the cat is good."),
        (ATTACHED, "zebras ran, yes.", "zebras ran, yes."),
        (CHINESE, "今天天气很好，我去修手机。", "今天 天气 很 好 ， 我 去 修 手机 。"),
        (CHINESE, "天气很好 我要去打球", "天气 很 好 我 要 去 打球"),
        (CHINESE, "今天 手机壳 很 好 。", "今天 手机壳 很 好 。"),
    ],
)
def test_auto(lines: list[str], line: str, read: str) -> None:
    """Ordinary text is split where the training text was; text with separated words is unchanged."""
    reader = SplitWords(tokenizer(lines))
    found = words(reader, line)
    if '"' not in line:
        assert found == read.split()
    assert "".join(found) == "".join(line.split()), "spans cover the raw line"
    assert reader.ids(line).tolist() == reader.encode(line).ids.tolist()


@pytest.mark.parametrize(
    ("lines", "line", "read"),
    [
        (
            ["il a dit : bon .", "tu viens ? oui , je viens .", "là !"],
            "il a dit : je viens.",
            "il a dit : je viens .",
        ),
        (
            ["il a dit : bon .", "tu viens ? oui , je viens ."],
            "tu viens ? oui, bon.",
            "tu viens ? oui , bon .",
        ),
        (["वह घर गया ।", "वह फिर आया ।"], "वह घर आया।", "वह घर आया ।"),
        (["ذهب الى البيت ؟", "نعم ، ذهب"], "نعم، ذهب الى البيت؟", "نعم ، ذهب الى البيت ؟"),
    ],
)
def test_typed_text_of_other_languages(lines: list[str], line: str, read: str) -> None:
    """French has spaces before its high marks; other scripts have marks of other shapes."""
    assert words(SplitWords(tokenizer(lines)), line) == read.split()


def test_no_cut_before_a_mark_on_a_letter() -> None:
    """Vowel signs and accents stay on their letters, even where all of them are words of the vocabulary."""
    reader = SplitWords(tokenizer(["य ग ा ि e \u0301 x ."]), "always")
    assert words(reader, "यगा।") == ["यगा।"]
    assert words(reader, "xe\u0301.") == ["xe\u0301", "."]


def test_pieces_are_the_cheapest_of_all_cuts() -> None:
    """By brute force: as few unknown characters as possible, then as few pieces as possible."""
    whole = tokenizer(["甲 乙丙 丙丁 甲乙丙丁 丁戊 a b , a,b"])
    random = np.random.default_rng(0)
    for _ in range(300):
        word = "".join(random.choice(list("甲乙丙丁戊己a,"), random.integers(1, 9)))
        inner = [i for i in range(1, len(word)) if word[i - 1 : i + 1] != "aa"]
        costs = []
        for number in range(len(inner) + 1):
            for chosen in combinations(inner, number):
                ends = [0, *chosen, len(word)]
                parts = [word[a:b] for a, b in pairwise(ends)]
                costs.append((sum(len(p) for p in parts if not is_known(whole, p)), len(parts)))
        found = pieces(whole, word)
        assert "".join(found) == word
        assert (sum(len(p) for p in found if not is_known(whole, p)), len(found)) == min(costs), word


def test_the_unknown_word_itself_is_not_split() -> None:
    """A text may spell it; its letters mean nothing."""
    whole = WordTokenizer.fit([*APART, "< unk >"], WordOptions(min_count=1, unk_word="<unk>"))
    assert words(SplitWords(whole), "the <unk> is good.") == ["the", "<unk>", "is", "good", "."]


def test_a_tokenizer_without_a_list_of_words() -> None:
    """Where nobody can look how the training text has its marks, those that are words count as set apart."""

    class Silent(WordTokenizer):
        def symbols(self) -> list[bytes]:
            return Tokenizer.symbols(self)

    reader = SplitWords(Silent.fit(APART, WordOptions(min_count=1)))
    assert words(reader, "the cat is good.") == ["the", "cat", "is", "good", "."]


def test_known_words_are_never_touched() -> None:
    """A line without unknown words has the very ids, spans and residual bits of the tokenizer, plus the flag."""
    whole = tokenizer(APART)
    reader = SplitWords(whole)
    for line in APART[:3]:
        assert np.array_equal(reader.ids(line), whole.ids(line))
        flag = -math.log2(1 - 2**-16)
        assert (
            reader.residual_bits(line, reader.ids(line)) == whole.residual_bits(line, whole.ids(line)) + flag
        )


def test_rules() -> None:
    """ "always" also splits text with separated words, "never" splits nothing; others than words are read as ever."""
    whole = tokenizer(APART)
    assert words(SplitWords(whole, "always"), "good. cat .") == ["good", ".", "cat", "."]
    assert read_as_typed(whole, "never") is whole


@pytest.mark.parametrize("line", ["the cat is good.", "zebras  ran, yes.", " a dog.cat? ", "nothing unknown"])
def test_residual_bits_are_a_code(line: str) -> None:
    """A split line pays for its own gaps by brute force over the places that may have had none."""
    whole = tokenizer(APART)
    reader = SplitWords(whole)
    ids = reader.ids(line)
    joined = len(ids) - len(whole.ids(line))
    if not joined:
        return
    choices = sum(1 for _ in combinations(range(len(ids) - 1), joined))
    spans = reader.encode(line).spans
    read = line
    for start, before in reversed(list(zip(spans[1:, 0].tolist(), spans[:-1, 1].tolist(), strict=True))):
        if start == before:
            read = read[:start] + " " + read[start:]
    expected = 16 + math.log2(len(ids) - 1) + math.log2(choices) + whole.residual_bits(read, ids)
    assert reader.residual_bits(line, ids) == pytest.approx(expected, abs=1e-9)


def test_blocks_are_lines() -> None:
    """Many lines at once have the ids that they have one by one."""
    reader = SplitWords(tokenizer(APART))
    lines = ["the cat is good.", "", "the dog .", "zebras, dogs.", "zebra cat ."]
    ids, ends = reader.block_ids("\n".join(lines).encode())
    rows = np.split(ids, ends[:-1])
    assert [row[:-1].tolist() for row in rows] == [reader.ids(line).tolist() for line in lines]
    assert all(row[-1] == reader.vocabulary.eos_id for row in rows)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("split")
    text = folder / "text.txt"
    text.write_text("\n".join(APART), encoding="utf-8")
    return lmkit.train(
        text, model="ngram", order=3, tokenizer={"name": "word", "min_count": 1}, out=folder / "run"
    )


@pytest.mark.parametrize("line", ["the dog is good.", "zebras ran, yes.", "the dog is good ."])
def test_one_string_one_score(model: Model, line: str) -> None:
    """eval, surprisal by any unit, sentence_scores and line_scores give a line one log-probability."""
    bits = -model.score(line).log_prob / math.log(2)
    for by in ("line", "word", "token"):
        assert sum(r.surprisal for r in model.surprisal(line, by)) == pytest.approx(bits, rel=1e-6)
    assert model.sentence_scores([line])[0] == pytest.approx(-bits * math.log(2), rel=1e-6)
    assert model.line_scores([line])[0] == pytest.approx(-bits * math.log(2), rel=1e-6)


def test_a_split_word_is_one_word(model: Model) -> None:
    """By word, the pieces of "good." are one record; by token two."""
    assert [r.text for r in model.surprisal("the dog is good.", "word")] == ["the", "dog", "is", "good.", ""]
    assert [r.text for r in model.surprisal("the dog is good.", "token")] == [
        "the",
        "dog",
        "is",
        "good",
        ".",
        "",
    ]


def test_signature_says_the_rule(model: Model, tmp_path: Path) -> None:
    """Scores under different rules do not pass for alike."""
    assert "|split:auto" in model.score("the cat .").signature
    never = lmkit.load(model.run.directory, split_unknown="never")
    assert "split" not in never.score("the cat .").signature
    assert never.score("the dog is good.").oov_tokens == 1
    assert model.score("the dog is good.").oov_tokens == 0
    with pytest.raises(UsageError, match="did you mean 'never'"):
        lmkit.load(model.run.directory, split_unknown="nevr")
