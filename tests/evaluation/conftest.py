"""Small models shared by the tests of blanks."""

import pytest

from lmkit import api

LINES = [
    "the cat sat on the mat .",
    "the dog sat .",
    "a cat and a dog , too .",
    "今天 天气 很 好 ， 我 修 手机 。",
]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, api.Model]:
    """By name: gru, char, ngram, attached, elmo; trained once."""
    folder = tmp_path_factory.mktemp("blanks")
    (folder / "train.txt").write_text("\n".join(LINES * 20), encoding="utf-8")
    sizes = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "max_steps": 5, "device": "cpu"}
    text = folder / "train.txt"
    word = {"name": "word", "min_count": 1}
    attached = folder / "attached.txt"
    attached.write_text("\n".join(["the cat sat on the mat.", "the dog, too."] * 20), encoding="utf-8")
    return {
        "gru": api.train(text, model="gru", tokenizer=word, out=folder / "gru", **sizes),
        "char": api.train(text, model="gru", tokenizer="char", out=folder / "char", **sizes),
        "ngram": api.train(text, model="ngram", order=3, out=folder / "ngram", tokenizer=word),
        "attached": api.train(attached, model="ngram", order=3, out=folder / "attached", tokenizer=word),
        "elmo": api.train(text, model="elmo", inputs="tokens", tokenizer=word, out=folder / "elmo", **sizes),
    }
