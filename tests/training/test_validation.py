"""Validation in training gives the figures of `lmkit eval`."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import lmkit
from lmkit.cli import cli
from lmkit.training.report import Silent

# The training text has its commas and full stops apart, so that eval splits "mat," and "ran.".
WORDS = [
    "the cat sat on the mat, ran.",
    "the cat sat",
    "a dog ran  fast",
    "",
    "une vache, déjà vue",
    "zebra zebu zebra",
    "the  end\t.",
]


@pytest.fixture
def texts(tmp_path: Path) -> tuple[Path, Path]:
    """Training text, and validation text with unknown words, blank lines and several spaces."""
    train, valid = tmp_path / "train.txt", tmp_path / "valid.txt"
    train.write_text(
        "\n".join([*WORDS[1:4], "the cow sat on the mat , and", "a cat ran ."] * 30) + "\n", encoding="utf-8"
    )
    valid.write_text("\n".join(WORDS * 3) + "\n", encoding="utf-8")
    return train, valid


def figures(*line: str) -> dict[str, Any]:
    """The result of a command with --json."""
    result = CliRunner().invoke(cli, [*line, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


TOKENIZERS = {
    "word": ["--tokenizer", "word", "--min-count", "2"],
    "char": ["--tokenizer", "char"],
    "sentencepiece": ["--tokenizer", "sentencepiece", "--vocab-size", "300"],
}
MODELS = {
    "gru": [
        "--model",
        "gru",
        "--hidden-size",
        "8",
        "--max-steps",
        "6",
        "--valid-every",
        "3",
        "--batch-size",
        "2",
    ],
    "average": [
        "--model",
        "gru",
        "--hidden-size",
        "8",
        "--max-steps",
        "6",
        "--average",
        "0.9",
        "--reset",
        "never",
    ],
    "ngram": ["--model", "ngram", "--order", "3"],
}


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_training_reports_what_eval_prints(tmp_path, texts, tokenizer, model):
    """Perplexity and bits per byte of the validation text, spelling of unknown words included, for the kept weights."""
    train, valid = map(str, texts)
    run = str(tmp_path / "run")
    line = ["train", train, "--valid", valid, *MODELS[model], *TOKENIZERS[tokenizer], "--out", run]
    summary = figures(*line)
    score = figures("eval", run, valid)
    assert isinstance(score["bits_per_byte"], float)
    assert summary["valid_bits_per_byte"] == pytest.approx(score["bits_per_byte"], rel=1e-9)
    assert summary["valid_perplexity"] == pytest.approx(score["perplexity"], rel=1e-9)
    if tokenizer == "word":
        assert score["spelling_bits"] > 0
        assert score["tokens"] > summary["valid_tokens"]  # of words that eval splits
    if model != "ngram":
        records = [json.loads(one) for one in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
        found = [r["valid_bits_per_byte"] for r in records if r.get("best")]
        assert found[-1] == summary["valid_bits_per_byte"]


class Listener(Silent):
    """Keeps the messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


def train(texts: tuple[Path, Path], out: Path, **options: object) -> list[str]:
    reporter = Listener()
    found = lmkit.train(
        texts[0],
        valid=texts[1],
        out=out,
        max_steps=2,
        batch_size=2,
        reporter=reporter,
        hidden_size=8,
        **options,
    )
    del found
    return reporter.messages


def test_bits_that_cannot_be_known_are_withheld_with_the_reason(tmp_path, texts):
    """Of an encoder, and of a tokenizer that cannot restore most lines."""
    messages = train(texts, tmp_path / "a", model="elmo", tokenizer="word", inputs="tokens")
    assert any("an encoder predicts a token from both sides" in text for text in messages)
    messages = train(
        texts, tmp_path / "b", model="gru", tokenizer="sentencepiece", vocab_size=300, normalization="nmt_nfkc_cf",
        remove_extra_whitespaces=True,
    )  # fmt: skip
    assert any(
        "lines that the tokenizer cannot restore: train with one that restores all text" in text
        for text in messages
    )


def test_a_held_out_part_has_bits_per_byte_too(tmp_path, texts, caplog):
    """Without --valid, the part that is held out is measured."""
    with caplog.at_level(logging.INFO):
        lmkit.train(
            texts[0], out=tmp_path / "run", tokenizer="char", hidden_size=8, max_steps=2, batch_size=2
        )
    records = [json.loads(one) for one in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["valid_bits_per_byte"] > 0
