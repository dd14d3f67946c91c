"""Encoding is a large part of embedding short lines, so each is encoded once, however its vectors are asked for."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from lmkit_tokenizers.word import WordTokenizer

from lmkit.cli import cli

TEXTS = ["the cat sat", "a dog lay by the door", "", "in the tree, a bird sang"]


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often the tokenizer reads each string, by `ids` or `encode`; one of them inside the other counts once."""
    reads: Counter[str] = Counter()
    inside = False

    def counting(method: Any) -> Any:
        @wraps(method)
        def read(self: WordTokenizer, line: str) -> Any:
            nonlocal inside
            if inside:
                return method(self, line)
            inside = True
            reads[line] += 1
            try:
                return method(self, line)
            finally:
                inside = False

        return read

    with monkeypatch.context() as patch:
        for name in ("encode", "ids"):
            patch.setattr(WordTokenizer, name, counting(getattr(WordTokenizer, name)))
        yield reads


@pytest.mark.parametrize("kind", ["gru", "elmo"])
def test_in_python(kind: str, trained_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Model.embed` encodes each string once, of causal models and of encoders."""
    model = trained_model(kind)
    wanted = model.embed(TEXTS)
    with counted(monkeypatch) as reads:
        found = model.embed(TEXTS)
    assert {text: reads[text] for text in TEXTS} == dict.fromkeys(TEXTS, 1)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("out", ["a.safetensors", "a.parquet", "a.hdf5"])
@pytest.mark.parametrize("flags", [(), ("--words",)], ids=["tokens", "words"])
@pytest.mark.parametrize("kind", ["gru", "elmo"])
def test_on_the_command_line(
    kind: str, flags: tuple[str, ...], out: str, trained_model: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """`lmkit embed` encodes each line once in every format, with the texts of the tokens that some of them hold."""
    if out == "a.hdf5":
        pytest.importorskip("h5py")
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{line}\n" for line in TEXTS), encoding="utf-8")
    run = trained_model(kind).run.directory
    with counted(monkeypatch) as reads:
        result = CliRunner().invoke(cli, ["embed", str(run), str(text), "-o", str(tmp_path / out), *flags])
    assert result.exit_code == 0, result.output
    assert {line: reads[line] for line in TEXTS} == dict.fromkeys(TEXTS, 1)
