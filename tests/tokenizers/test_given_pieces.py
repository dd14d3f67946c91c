"""Sentencepiece models from elsewhere: ids, normalization and symbols as in the library itself."""

import io
from pathlib import Path

import numpy as np
import pytest
from lmkit_tokenizers.options import SentencePieceOptions
from lmkit_tokenizers.pieces import SentencePieceTokenizer
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from lmkit.errors import DataError, ModelError

TALE = "the king and the queen went to see a great old house where nobody had been for years"
WORDS = TALE.split(" ")
LINES = [" ".join(WORDS[i % 17 : i % 17 + 3 + i % 7] + WORDS[i % 5 :]) for i in range(60)]
TEXT = [
    "",
    " ",
    "the king",
    "  the  old\tking ",
    "Queens ½ 天 <sep>x",
    "a \ufffd b",
    "the king went <s> </s>",
    "zebra",
]

KINDS = {
    "unigram": {"vocab_size": 60},
    "bpe": {"vocab_size": 60, "model_type": "bpe"},
    "word": {"vocab_size": 20, "model_type": "word"},
    "char": {"vocab_size": 24, "model_type": "char"},
    "bytes": {"vocab_size": 330, "model_type": "bpe", "byte_fallback": True},
    "symbols": {"vocab_size": 60, "user_defined_symbols": ["<sep>"], "control_symbols": ["<mask>"]},
    "other ids": {"vocab_size": 60, "pad_id": 0, "unk_id": 3, "bos_id": 1, "eos_id": 2},
    "no end": {"vocab_size": 60, "bos_id": -1, "eos_id": -1},
    "identity": {
        "vocab_size": 330, "byte_fallback": True, "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
    },
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> bytes:
    data = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=data, minloglevel=2, hard_vocab_limit=False,
        **KINDS[request.param],
    )  # fmt: skip
    return data.getvalue()


def given(folder: Path, data: bytes) -> SentencePieceTokenizer:
    path = folder / "own.model"
    path.write_bytes(data)
    return SentencePieceTokenizer.fit([], SentencePieceOptions(file=str(path)))


def test_ids_are_those_of_the_library(model: bytes, tmp_path: Path) -> None:
    """For every type of model, with its normalization, its symbols and its bytes for rare characters."""
    reference = SentencePieceProcessor(model_proto=model)
    tokenizer = given(tmp_path, model)
    for line in TEXT + LINES:
        assert tokenizer.ids(line).tolist() == reference.encode(line)
        assert tokenizer.encode(line).ids.tolist() == reference.encode(line)


def test_text_is_that_of_the_library(model: bytes, tmp_path: Path) -> None:
    """Except for the unknown piece, which is U+FFFD here."""
    reference = SentencePieceProcessor(model_proto=model)
    tokenizer = given(tmp_path, model)
    for line in TEXT + LINES:
        ids = tokenizer.ids(line).tolist()
        expected = reference.decode(ids).replace(" \u2047 ", "\ufffd")
        assert tokenizer.decode([*ids, tokenizer.vocabulary.eos_id]) == expected
    assert tokenizer.decode([tokenizer.vocabulary.unk_id]) == "\ufffd"


def test_spans_are_in_order_and_inside_the_line(model: bytes, tmp_path: Path) -> None:
    """Also where normalization makes several pieces of one character, or adds a space."""
    tokenizer = given(tmp_path, model)
    for line in TEXT:
        spans = tokenizer.encode(line).spans
        assert spans.shape == (len(tokenizer.ids(line)), 2)
        assert (np.diff(spans, axis=0) >= 0).all()
        assert (spans[:, 0] <= spans[:, 1]).all()
        assert spans.max(initial=0) <= len(line)


def test_the_end_of_a_line_has_an_id_of_the_model_or_the_next(model: bytes, tmp_path: Path) -> None:
    """No text has it; `symbols` and `word_starts` have an entry for each id."""
    reference = SentencePieceProcessor(model_proto=model)
    vocabulary = given(tmp_path, model).vocabulary
    pieces, eos = reference.get_piece_size(), reference.eos_id()
    assert (vocabulary.eos_id, vocabulary.size) == ((eos, pieces) if eos >= 0 else (pieces, pieces + 1))
    assert vocabulary.unk_id == reference.unk_id()
    symbols = given(tmp_path, model).symbols()
    assert (symbols[vocabulary.eos_id], symbols[vocabulary.unk_id]) == (b"</s>", b"<unk>")
    assert len(symbols) == len(given(tmp_path, model).word_starts()) == vocabulary.size


def test_a_saved_model_is_the_file_itself(model: bytes, tmp_path: Path) -> None:
    """So the run depends on no other file, and other programs can use its tokenizer."""
    tokenizer = given(tmp_path, model)
    saved = tmp_path / "saved"
    saved.mkdir()
    tokenizer.save(saved)
    (tmp_path / "own.model").unlink()
    again = SentencePieceTokenizer.load(saved, SentencePieceOptions(file="own.model"))
    assert (saved / "sentencepiece.model").read_bytes() == model
    assert again.vocabulary == tokenizer.vocabulary
    assert again.ids("the king went").tolist() == tokenizer.ids("the king went").tolist()


def test_a_model_of_lmkit_gives_the_same_tokenizer(tmp_path: Path) -> None:
    """The file in a run's folder: the same vocabulary, which text with a literal U+2581 shows too."""
    fitted = SentencePieceTokenizer.fit(LINES, SentencePieceOptions(vocab_size=330, threads=1))
    (tmp_path / "run").mkdir()
    fitted.save(tmp_path / "run")
    again = given(tmp_path, (tmp_path / "run" / "sentencepiece.model").read_bytes())
    assert again.vocabulary == fitted.vocabulary
    assert again.ids("a \u2581 b").tolist() == fitted.ids("a \u2581 b").tolist()


def test_other_files_are_refused(tmp_path: Path) -> None:
    """A missing file is an error in the data, one that is no model an error of the model."""
    with pytest.raises(DataError, match=r"none\.model cannot be read"):
        SentencePieceTokenizer.fit([], SentencePieceOptions(file=str(tmp_path / "none.model")))
    with pytest.raises(ModelError, match=r"own\.model: lmkit cannot use this sentencepiece model"):
        given(tmp_path, b"words of a text")
