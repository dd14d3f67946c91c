"""Words of jieba: its cuts, a vocabulary learned from the text, and surprisal by word on Chinese."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from lmkit_tokenizers.jieba_words import JiebaTokenizer
from lmkit_tokenizers.options import JiebaOptions

import lmkit
from lmkit.errors import DataError, ModelError
from lmkit.testing import checks

pytestmark = pytest.mark.pipelines
jieba = pytest.importorskip("jieba")

SENTENCE = "今天天气很好，我去打球，不小心把手机摔坏了，所以我下午要去"
LINES = [SENTENCE, "我今天下午要去修手机。", "明天天气不好 ，我们不去打球了", "用 iPhone 15 打 电话"] * 3


@pytest.fixture(scope="module")
def fitted() -> JiebaTokenizer:
    return JiebaTokenizer.fit(LINES, JiebaOptions())


@pytest.mark.parametrize("check", checks("lmkit:jieba"), ids=str)
def test_conformance(check: Callable[[], None]) -> None:
    """It follows every rule for tokenizers."""
    check()


@pytest.mark.parametrize("hmm", [True, False])
def test_words_are_those_of_jieba(hmm: bool) -> None:
    """Without white space; each with its characters in the line."""
    tokenizer = JiebaTokenizer.fit(LINES, JiebaOptions(hmm=hmm))
    for line in LINES[:4]:
        spans = tokenizer.encode(line).spans.tolist()
        wanted = [word for word in jieba.Tokenizer().lcut(line, HMM=hmm) if word != " "]
        assert [line[start:end] for start, end in spans] == wanted


def test_the_vocabulary_is_that_of_the_text() -> None:
    """The most frequent words come first, and rare ones are unknown."""
    lines = ["我去北京，我去上海", "我去北京", "你去天津"]
    words = [symbol.decode() for symbol in JiebaTokenizer.fit(lines, JiebaOptions()).symbols()]
    assert words == ["</s>", "<unk>", "去", "我", "北京"]
    small = JiebaTokenizer.fit(lines, JiebaOptions(min_count=1, vocab_size=4))
    assert small.vocabulary.size == 4
    assert (small.ids("大象") == 1).all()


def test_text_of_ids(fitted: JiebaTokenizer) -> None:
    """Chinese words stand together; Latin words and numbers are separated by a space."""
    assert fitted.decode(fitted.ids(SENTENCE).tolist()) == SENTENCE
    assert fitted.decode(fitted.ids("用iPhone 15打 电话").tolist()) == "用iPhone 15打电话"


def test_a_line_that_is_not_text(fitted: JiebaTokenizer) -> None:
    with pytest.raises(DataError, match="half a surrogate pair"):
        fitted.ids("好\ud800")


def test_new_words(fitted: JiebaTokenizer) -> None:
    """`extended` adds the most frequent new words after the old ones, whose ids stay."""
    more = fitted.extended(["大象 大象 老虎 老虎 老虎 狮子"], JiebaOptions(), 5)
    assert [symbol.decode() for symbol in more.symbols()[fitted.vocabulary.size :]] == ["老虎", "大象"]
    assert more.ids(SENTENCE).tolist() == fitted.ids(SENTENCE).tolist()


def test_another_dictionary_is_noticed(fitted: JiebaTokenizer, tmp_path: Path) -> None:
    """With it, the same text would have other words: the run must not be used."""
    fitted.save(tmp_path)
    assert JiebaTokenizer.load(tmp_path, JiebaOptions()).vocabulary == fitted.vocabulary
    header = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(header | {"segmentation": "0", "jieba": "0.39"}))
    with pytest.raises(
        ModelError, match=r"cut by jieba 0\.39 with another dictionary .* install that version"
    ):
        JiebaTokenizer.load(tmp_path, JiebaOptions())


def test_damaged_files(fitted: JiebaTokenizer, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    words = (tmp_path / "words.txt").read_bytes()
    for damaged in (words + words, words[:-1], b"\xff\n", words + "新\n".encode()):
        (tmp_path / "words.txt").write_bytes(damaged)
        with pytest.raises(ModelError, match="restore it from a backup or train again"):
            JiebaTokenizer.load(tmp_path, JiebaOptions())


def test_surprisal_by_word_and_filling_in(tmp_path: Path) -> None:
    """A record for each word of unspaced Chinese, and a blank that any of the learned words may fill."""
    text = tmp_path / "text.txt"
    text.write_text("\n".join(LINES), encoding="utf-8")
    model = lmkit.train(text, valid=text, model="ngram", tokenizer="jieba", order=3, out=tmp_path / "run")
    records = model.surprisal([SENTENCE], by="word")
    words = [SENTENCE[start:end] for start, end in model.tokenize(SENTENCE)]
    assert [record.text for record in records] == [*words, ""]  # the last is the end of the line
    assert {"今天天气", "手机", "下午"} <= set(words)
    answers = lmkit.fill(model, f"{SENTENCE}____手机。", ["修", "打球"])
    assert next(iter(answers.values())).filled.candidates[0] == "修"
