"""Lists of words through encoders: their vectors are those of the text that they make, at their characters."""

import pytest
import torch

import lmkit
from lmkit.api import Model
from lmkit.corpus.word_lists import Words
from lmkit.embedding.alignment import align, as_text
from lmkit.embedding.module import EncoderModule
from lmkit.errors import UsageError

LINES = ["中国的首都是北京。", "我们去北京吧", "the cat sat on the mat", "don't stop", "ผมกินข้าว"] * 8
KINDS = [("gru", "char"), ("gru", "byte"), ("gru", "sentencepiece"), ("gru", "word"), ("elmo", "char")]
SENTENCES = [
    (["中国", "的", "首都", "是", "北京", "。"], "中国的首都是北京。"),
    (["ผม", "กิน", "ข้าว"], "ผมกินข้าว"),
    (["the", "cat", "sat"], "the cat sat"),
    (["我们", "去", "Peking", "hotel", "吧"], "我们去Peking hotel吧"),
    ([], ""),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """run(model, tokenizer): a small model of several scripts, each trained once."""
    folder = tmp_path_factory.mktemp("lists")
    (folder / "text.txt").write_text("\n".join(LINES), encoding="utf-8")
    made: dict[tuple[str, str], Model] = {}

    def get(model: str, tokenizer: str) -> Model:
        if (model, tokenizer) not in made:
            table = {"name": tokenizer, **({"vocab_size": 320} if tokenizer == "sentencepiece" else {})}
            extra = {"inputs": "tokens"} if model == "elmo" else {}
            made[model, tokenizer] = lmkit.train(
                folder / "text.txt", model={"name": model, **extra}, tokenizer=table, hidden_size=8,
                max_steps=2, batch_size=2, bptt=8, device="cpu", out=folder / f"{model}-{tokenizer}",
            )  # fmt: skip
        return made[model, tokenizer]

    return get


def by_offsets(model: Model, text: str, spans: list[tuple[int, int]]) -> torch.Tensor:
    """What a word's vector must be: that of its last token, and of its first for what was read backwards."""
    (vectors,) = model.embed([text])
    tokens = model.tokenize(text)
    last = align(vectors, tokens, spans, "last")
    if "backward" not in model.directions:
        return last
    half = vectors.shape[-1] // 2
    return torch.cat([last[..., :half], align(vectors, tokens, spans, "first")[..., half:]], -1)


def places(words: list[str], text: str) -> list[tuple[int, int]]:
    spans, at = [], 0
    for word in words:
        at = text.index(word, at)
        spans.append((at, at + len(word)))
        at += len(word)
    return spans


@pytest.mark.parametrize(("model", "tokenizer"), [kind for kind in KINDS if kind[1] != "word"])
@pytest.mark.parametrize(("words", "text"), SENTENCES)
def test_a_list_is_read_as_the_text_of_its_script(run, model, tokenizer, words, text):
    """A model of raw text reads 中国的首都 of the list 中国, 的, 首都, and not spaces that no text has."""
    loaded = run(model, tokenizer)
    (found,) = loaded.embed([words])
    torch.testing.assert_close(found, by_offsets(loaded, text, places(words, text)), atol=1e-6, rtol=0)


def test_a_model_of_words_reads_the_words(run):
    """A word tokenizer, whose words were set apart by spaces in training, gets the words of a list as they are."""
    loaded = run("gru", "word")
    words = ["我们", "去", "北京", "。"]
    text, spans = as_text(loaded.tokenizer, words)
    assert text == "我们 去 北京 。"
    torch.testing.assert_close(loaded.embed([words])[0], by_offsets(loaded, text, list(spans)))


@pytest.mark.parametrize(("model", "tokenizer"), KINDS)
@pytest.mark.parametrize("separator", ["", " ", "-"])
def test_a_separator_that_is_given_wins(run, model, tokenizer, separator):
    """`separator` is put between the words of a list, whatever their script and the tokenizer are."""
    loaded, words = run(model, tokenizer), ["the", "cat", "北京", "吧"]
    text = separator.join(words)
    (found,) = loaded.embed([words], separator=separator)
    wanted = by_offsets(loaded, text, places(words, text))
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
    (module,), _ = EncoderModule(loaded, mix=False, separator=separator)([words])
    torch.testing.assert_close(module, wanted.transpose(0, 1).flatten(1), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("model", "tokenizer"), KINDS)
def test_words_of_a_text_are_read_in_it(run, model, tokenizer):
    """`Words.of(text, spans)` has the vectors of the text, double spaces, contractions and all."""
    loaded, text = run(model, tokenizer), " don't  stop 北京 "
    spans = [(1, 3), (3, 6), (6, 8), (8, 12), (13, 15)]
    (found,) = loaded.embed([Words.of(text, spans)])
    wanted = by_offsets(loaded, text, spans)
    wanted[:, 2] = 0  # white space is no word
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


def test_top_k_and_count_read_the_text_of_a_list(run, tmp_path):
    """A context of words is the text that they make: of Chinese, without spaces."""
    loaded = run("gru", "char")
    assert loaded.top_k(["中国", "的"]) == loaded.top_k("中国的")
    assert loaded.top_k(["the", "cat"]) == loaded.top_k("the cat")
    assert loaded.top_k(["the", "cat"], separator="") == loaded.top_k("thecat")
    (tmp_path / "text.txt").write_text("\n".join(LINES), encoding="utf-8")
    ngram = lmkit.train(
        tmp_path / "text.txt", model="ngram", tokenizer="char", store_text=True, out=tmp_path / "ngram"
    )
    assert ngram.count(["首都", "是"]) == ngram.count("首都是") == 8
    assert ngram.count(["the", "cat"]) == 8


def test_strings_have_no_separator(run):
    """A separator between the words of a string is a mistake."""
    with pytest.raises(UsageError, match="lists of words"):
        run("gru", "char").embed(["a b"], separator="")


def test_one_string_is_no_list_of_sentences(run):
    """Functions that take sentences refuse a string, of which they would make a sentence a character."""
    loaded = run("gru", "char")
    elmo = run("elmo", "char")
    module = EncoderModule(loaded)
    calls = (
        loaded.embed, loaded.encoder.embed, elmo.encoder.embed, module, loaded.sentence_scores, elmo.sentence_scores
    )  # fmt: skip
    for call in calls:
        with pytest.raises(UsageError, match="one string is not a list"):
            call("a string")
    with pytest.raises(UsageError, match="sentence 1 is a list"):
        loaded.sentence_scores([["a", "b"]])
