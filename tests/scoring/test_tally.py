"""Scores by blocks of lines: every figure is that of the lines one by one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmkit
from lmkit.contracts import Tokenizer
from lmkit.corpus.lines import Line
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text
from lmkit.model import Model
from lmkit.scoring.line_code import LineCoder
from lmkit.scoring.tally import Tally, add_blocks

TRAIN = ["the cat sat on the mat .", " the dog sat . ", "a cat and a dog .", "我 去 打球 。"] * 3
LINES = [
    "the cat sat .", "", " ", "  ", " the cat ", "the  cat", "the\tcat", "\tthe cat\r", "a bird sat .", "a cat\u00a0.",
    "the cat is good.", "我去打球。", "我 打球 。", "the cat\x0bsat", "</s> <unk> <s>", "e\u0301t\u00e9",
    "one\ntwo",
]  # fmt: skip


def one_by_one(text: Text) -> Iterator[Line]:
    """The lines of a text, which is not a Text, so that they are scored one by one."""
    yield from text


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A trigram model of words whose rare words are unknown."""
    folder = tmp_path_factory.mktemp("tally")
    (folder / "train.txt").write_text("\n".join(TRAIN), encoding="utf-8")
    lmkit.train(
        folder / "train.txt", model={"name": "ngram", "order": 3}, tokenizer={"name": "word", "min_count": 3},
        out=folder / "run",
    )  # fmt: skip
    return lmkit.load(folder / "run")


@given(st.lists(st.one_of(st.sampled_from(LINES), st.text("the cat.我\t\n", max_size=12)), min_size=1))
def test_blocks_are_lines(model: Model, lines: list[str]) -> None:
    """All figures of a text by blocks are those of its lines, unknown and split words and white space included."""
    text = Text.from_lines(lines)
    by_blocks, by_lines = (model.score_text(t).to_json() for t in (text, one_by_one(text)))
    for name, figure in by_lines.items():
        assert by_blocks[name] == (pytest.approx(figure, rel=1e-9) if isinstance(figure, float) else figure)


@pytest.mark.parametrize("split_unknown", ["auto", "never"])
def test_tokenizers_code_blocks(model: Model, split_unknown: str) -> None:
    """Residual and spelling bits of a block are those of its lines, split words included."""
    tokenizer = lmkit.load(model.run.directory, split_unknown=split_unknown).tokenizer
    lines = [line for line in LINES if "\n" not in line]
    raw = "\n".join(lines).encode()
    found = tokenizer.block_residual(raw, *tokenizer.block_ids(raw))
    for line, bits in zip(lines, found, strict=True):
        ids = tokenizer.ids(line)
        wanted = [tokenizer.residual_bits(line, ids), tokenizer.spelling_bits(line, ids).sum()]
        np.testing.assert_allclose(bits, wanted, rtol=1e-12, err_msg=repr(line))


def test_files_come_in_blocks(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is scored by blocks: no line is coded by itself."""
    file = tmp_path / "text.txt"
    file.write_text("\n".join(TRAIN), encoding="utf-8")
    text = Text([str(file)], DataOptions())
    wanted = model.score_text(one_by_one(text))
    monkeypatch.setattr(LineCoder, "code", lambda *_: pytest.fail("a line was coded by itself"))
    assert model.score_text(text).bits == pytest.approx(wanted.bits, rel=1e-12)


def test_a_line_that_cannot_be_restored(model: Model) -> None:
    """A block with a line whose code is impossible is returned line by line, and nothing of it is counted."""

    class Forgetful(type(model.run.tokenizer)):
        def block_residual(self, raw: bytes, ids: np.ndarray, ends: np.ndarray) -> np.ndarray:
            return np.full((len(ends), 2), np.inf)

    tokenizer: Tokenizer = Forgetful.load(model.run.directory / "tokenizer", None)
    text, tally = Text.from_lines(["the cat", "a dog"]), Tally()
    rest = list(add_blocks(tally, text.blocks(), model.causal, LineCoder(tokenizer)))
    assert [line.text for line in rest] == ["the cat", "a dog"]
    assert tally.tokens == 0
