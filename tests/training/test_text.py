"""The text of a run: each file is opened as few times as its use allows."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import lmkit
from lmkit.corpus import store

LINES = "the cat sat on the mat\nthe dog sat on the log\n"
SMALL: dict[str, Any] = {"hidden_size": 4, "max_steps": 2, "batch_size": 2, "bptt": 8}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Counter[str]:
    """How often each file of the folder `texts` is opened."""
    count: Counter[str] = Counter()
    plain = Path.open

    def counting(path: Path, *arguments: Any, **named: Any) -> Any:
        if path.parent.name == "texts":
            count[path.name] += 1
        return plain(path, *arguments, **named)

    (tmp_path / "cache").mkdir()
    monkeypatch.setattr(store, "_writable", lambda _: (tmp_path / "cache", None))
    monkeypatch.setattr(Path, "open", counting)
    return count


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "train.txt").write_text(LINES * 40, encoding="utf-8")
    (folder / "valid.txt").write_text(LINES, encoding="utf-8")
    return folder


CASES = [
    # What divides a text counts its lines first: then one reading to choose and fit the tokenizer, one to encode. The
    # validation text, or the text that it is a part of, is read once more for the bits of its spellings.
    ("gru", None, False, {"train.txt": 4}),
    ("gru", "word", False, {"train.txt": 4}),
    ("gru", None, True, {"train.txt": 2, "valid.txt": 3}),
    ("gru", "word", True, {"train.txt": 2, "valid.txt": 3}),
    ("ngram", None, False, {"train.txt": 2}),
    ("ngram", "char", False, {"train.txt": 2}),
]


@pytest.mark.parametrize(("model", "tokenizer", "validates", "wanted"), CASES)
def test_training_opens_a_text_as_often_as_it_must(
    model: str, tokenizer: str | None, validates: bool, wanted: dict[str, int], texts: Path, opened: Any
) -> None:
    """Fitting needs all of a text before any of it is encoded, so two readings; a validation text is hashed, to
    find it in the cache, encoded, and read for its spellings."""
    settings = dict(SMALL) if model == "gru" else {}
    if tokenizer is not None:
        settings["tokenizer"] = tokenizer
    if validates:
        settings["valid"] = texts / "valid.txt"
    lmkit.train(texts / "train.txt", model=model, out=texts.parent / "run", **settings)
    assert opened == wanted


def test_tokens_in_the_cache_are_not_read_again(texts: Path, opened: Counter[str]) -> None:
    """A second run counts lines and fits its tokenizer, knows the tokens by their hash, and reads the spellings."""
    for name in ("a", "b"):
        opened.clear()
        lmkit.train(texts / "train.txt", out=texts.parent / name, **SMALL)
    assert opened == {"train.txt": 3}


def test_a_resumed_run_reads_its_text_twice(texts: Path, opened: Counter[str]) -> None:
    """The reading that divides the text also hashes it, which finds its tokens in the cache; then the spellings."""
    out = texts.parent / "run"
    lmkit.train(texts / "train.txt", out=out, stop_after=1, **SMALL)
    opened.clear()
    lmkit.resume(out)
    assert opened == {"train.txt": 2}
