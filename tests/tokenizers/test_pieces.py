"""Sentencepiece: lines restored, spans, word beginnings, and faults that end in one clear error."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_tokenizers import piece_trainer, pieces
from lmkit_tokenizers.options import SentencePieceOptions
from lmkit_tokenizers.piece_trainer import LONGEST_LINE, CheckedLines
from lmkit_tokenizers.pieces import SentencePieceTokenizer

from lmkit.errors import DataError, ModelError, UsageError
from lmkit.options import resolve

TALE = "the king and the queen went to see a great old house where nobody had been for years"
WORDS = TALE.split()
LINES = [" ".join(WORDS[i % 17 : i % 17 + 3 + i % 7] + WORDS[i % 5 :]) for i in range(120)] + [
    "天地玄黄 宇宙洪荒"
]

messy = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(" \t\0▁▅天😀theking<>")), max_size=30
)


def fit(lines=LINES, **options) -> SentencePieceTokenizer:
    return SentencePieceTokenizer.fit(
        lines, SentencePieceOptions(**{"vocab_size": 330, "threads": 1, **options})
    )


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def tokenizer(request) -> SentencePieceTokenizer:
    return fit(model_type=request.param)


@pytest.fixture(scope="module")
def unigram() -> SentencePieceTokenizer:
    return fit()


@settings(max_examples=200, deadline=None)
@given(messy)
def test_every_line_is_restored(tokenizer, line):
    """With the defaults ids restore any line: control characters, runs of spaces, and a literal U+2581."""
    encoding = tokenizer.encode(line)
    assert tokenizer.decode(encoding.ids.tolist()) == line
    assert tokenizer.ids(line).tolist() == encoding.ids.tolist()
    assert tokenizer.vocabulary.eos_id not in encoding.ids
    assert tokenizer.vocabulary.unk_id not in encoding.ids
    assert tokenizer.residual_bits(line, encoding.ids) == 0


@settings(max_examples=100, deadline=None)
@given(messy)
def test_spans_cover_the_line_in_order(tokenizer, line):
    """Each span is the text of its piece; the bytes of a character share its span; nothing is left out."""
    encoding = tokenizer.encode(line)
    at = 0
    for i, (start, end) in zip(encoding.ids.tolist(), encoding.spans.tolist(), strict=True):
        piece = tokenizer._model.pieces[i]
        assert start <= at <= end
        at = end
        if not piece.startswith("<0x"):
            assert piece.replace("▁", " ") == line[start:end]
    assert at == len(line)
    characters = {tuple(s) for s in encoding.spans.tolist()}
    assert sum(end - start for start, end in characters) == len(line)


def test_text_of_ids_is_the_text_of_their_parts(tokenizer):
    """No space is put before a line, so ids can be continued."""
    assert (
        tokenizer.decode([*tokenizer.ids("the king").tolist(), *tokenizer.ids(" went").tolist()])
        == "the king went"
    )
    assert tokenizer.ids("").tolist() == []


def test_a_space_has_a_piece_where_training_had_none():
    """Spelled in bytes, a space would come back as U+2581."""
    tokenizer = fit([line.replace(" ", "") for line in LINES])
    assert tokenizer.decode(tokenizer.ids("a  b").tolist()) == "a  b"


def test_word_starts_are_pieces_that_begin_with_white_space(tokenizer):
    """Cutting before each marked piece gives the words, white space first; a tab separates too."""
    starts = tokenizer.word_starts()
    line = "the great\thouse  was"
    encoding = tokenizer.encode(line)
    groups: list[str] = []
    for i, (start, end) in zip(encoding.ids.tolist(), encoding.spans.tolist(), strict=True):
        if starts[i] or not groups:
            groups.append("")
        groups[-1] += line[start:end]
    assert [g.strip() for g in groups if g.strip()] == line.split()
    assert starts.shape == (tokenizer.vocabulary.size,)
    assert not starts[tokenizer.vocabulary.eos_id]


def test_long_lines_are_segmented_in_parts_to_the_same_ids(unigram, monkeypatch):
    """A cut before a space changes no segmentation; without spaces the line is still restored."""
    line = " ".join(LINES[:8])
    whole = unigram.encode(line)
    monkeypatch.setattr(pieces, "LONGEST_PART", 50)
    parts = unigram.encode(line)
    assert parts.ids.tolist() == whole.ids.tolist()
    assert parts.spans.tolist() == whole.spans.tolist()
    unbroken = line.replace(" ", "")
    assert unigram.decode(unigram.ids(unbroken).tolist()) == unbroken


def test_without_byte_fallback_rare_characters_are_unknown():
    """They come back as U+FFFD."""
    tokenizer = fit(byte_fallback=False, vocab_size=80)
    ids = tokenizer.ids("the 😀 king")
    assert tokenizer.vocabulary.unk_id in ids
    assert tokenizer.decode(ids.tolist()) == "the \ufffd king"


def test_options_that_lose_text_are_honoured():
    """Normalisation and trimming do what they say, which is why the tokenizer is not called exact."""
    tokenizer = fit(normalization="nfkc", remove_extra_whitespaces=True)
    assert tokenizer.decode(tokenizer.ids("  ｔｈｅ  king ").tolist()) == "the king"
    assert not SentencePieceTokenizer.exact


def test_fit_is_repeatable(unigram):
    """The same text and options give the same vocabulary; ids are int32 and writable."""
    assert fit().vocabulary == unigram.vocabulary
    assert fit(model_type="bpe").vocabulary.fingerprint != unigram.vocabulary.fingerprint
    ids = unigram.ids("the king")
    assert ids.dtype == np.int32
    assert ids.flags.writeable


def test_a_sample_of_lines_is_announced_and_repeatable(caplog):
    """max_lines draws the same lines each time, and says so."""
    lines = LINES * 10
    assert fit(lines, max_lines=1000).vocabulary == fit(lines, max_lines=1000).vocabulary
    assert f"sample of 1000 of {len(lines)} lines" in caplog.text


def test_save_and_load_agree_on_pieces(tokenizer, tmp_path):
    """The saved model gives the same ids; a comma in its path is only a comma."""
    folder = tmp_path / "a,b"
    folder.mkdir()
    tokenizer.save(folder)
    again = SentencePieceTokenizer.load(folder, SentencePieceOptions())
    assert again.vocabulary == tokenizer.vocabulary
    assert again.ids("the ▁ 天 king").tolist() == tokenizer.ids("the ▁ 天 king").tolist()


def test_training_works_beside_a_comma(tmp_path, monkeypatch):
    """Sentencepiece splits paths at commas; here it is never given one to split."""
    folder = tmp_path / "tmp,dir"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    assert fit(LINES[:40]).vocabulary.size > 256
    assert list(folder.iterdir()) == []


def test_a_vocabulary_larger_than_the_text_allows_is_reduced(caplog):
    """With a notice that gives the real size, for both kinds of model."""
    for model_type in ("unigram", "bpe"):
        tokenizer = fit(LINES[:20], vocab_size=50_000, model_type=model_type)
        assert tokenizer.vocabulary.size < 50_000
        assert f"reduced to {tokenizer.vocabulary.size}" in caplog.text


@pytest.mark.parametrize("byte_fallback", [True, False])
def test_a_vocabulary_too_small_is_refused_with_the_minimum(byte_fallback):
    """The minimum that the message gives is one that works."""
    with pytest.raises(UsageError, match="at least") as caught:
        fit(vocab_size=5, byte_fallback=byte_fallback)
    minimum = int(str(caught.value).split("at least ")[1].split(",")[0])
    assert fit(vocab_size=minimum, byte_fallback=byte_fallback).vocabulary.size == minimum


@pytest.mark.parametrize("wrong", [{"character_coverage": 2.0}, {"threads": 0}, {"vocab_size": 0}])
def test_options_out_of_bounds_are_refused_before_training(wrong):
    """Coverage 2.0 and no threads are errors of use."""
    with pytest.raises(UsageError, match=next(iter(wrong))):
        resolve(SentencePieceOptions, wrong, "[tokenizer]")


@pytest.mark.parametrize("lines", [[], [""], ["\0", "▅"]])
def test_a_text_without_characters_is_refused(lines):
    """There is nothing to learn pieces from."""
    with pytest.raises(DataError, match="no characters"):
        fit(lines)


def test_lines_that_the_trainer_would_drop_are_cut_and_reported(caplog):
    """No part is longer than the trainer's limit, only the forbidden is lost, and the user is told."""
    long = "天地 " * 3000
    unbroken = "天" * 3000
    feed = CheckedLines([long, unbroken, "a\0b▅c", "plain"])
    parts = list(feed)
    assert max(map(len, parts)) <= LONGEST_LINE
    assert b"".join(parts).decode() == long + unbroken + "abc" + "plain"
    feed.report(1_000_000)
    assert "2 lines longer than 4192 bytes" in caplog.text
    assert "1 lines were cut at NUL" in caplog.text


def test_a_killed_trainer_leaves_the_parent_alive(monkeypatch):
    """A trainer that the system kills for memory is an error in the data; it is not ours to die of."""
    suicide = [sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})"]
    monkeypatch.setattr(piece_trainer, "_command", lambda *_: suicide)
    with pytest.raises(DataError, match="signal 9"):
        fit(LINES * 2000)


@pytest.mark.skipif(sys.platform != "linux", reason="address-space limits")
def test_a_trainer_out_of_memory_is_reported(monkeypatch):
    """The real trainer under a limit of memory that its lines exceed."""
    command = piece_trainer._command

    def limited(*given):
        return ["/bin/sh", "-c", 'ulimit -v 200000; exec "$@"', "sh", *command(*given)]

    monkeypatch.setattr(piece_trainer, "_command", limited)
    with pytest.raises(DataError, match="memory"):
        fit(["the king " * 400] * 60_000)


def test_an_error_in_the_lines_ends_the_trainer(monkeypatch):
    """The reader's own error passes through, and no child is left."""
    children = []
    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: children.append(real(*a, **k)) or children[-1])

    def broken():
        yield "the king"
        raise DataError("corpus.txt: line 2 is not UTF-8")

    with pytest.raises(DataError, match="line 2"):
        fit(broken())
    assert children[0].poll() is not None


def test_a_damaged_model_is_refused(unigram, tmp_path):
    """Empty, random, cut off at any place, a directory, missing: each a ModelError that names the file."""
    unigram.save(tmp_path)
    path = tmp_path / "sentencepiece.model"
    data = path.read_bytes()
    cuts = [data[: len(data) * i // 20] for i in range(20)]
    for content in [b"", os.urandom(5000), bytes(5000), *cuts, data + b"\0", data[:-9] + b"\1" + data[-8:]]:
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"sentencepiece\.model"):
            SentencePieceTokenizer.load(tmp_path, SentencePieceOptions())
    path.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        SentencePieceTokenizer.load(tmp_path, SentencePieceOptions())
    path.mkdir()
    with pytest.raises(ModelError, match="directory"):
        SentencePieceTokenizer.load(tmp_path, SentencePieceOptions())
    shutil.rmtree(path)
    (tmp_path / "tokenizer.json").write_text('{"size": 3}')
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        SentencePieceTokenizer.load(tmp_path, SentencePieceOptions())
