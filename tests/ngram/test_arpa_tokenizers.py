"""What cuts text into the words of an ARPA file comes back with it, by the file's note or by --tokenizer."""

import bz2
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from lmkit_ngram import arpa_note
from lmkit_ngram.arpa_note import Note
from lmkit_ngram.arpa_options import ArpaOptions
from lmkit_ngram.arpa_read import read_arpa, split_name
from lmkit_ngram.arpa_write import write_arpa

import lmkit
from lmkit import runs
from lmkit.api import Model
from lmkit.cli import cli
from lmkit.errors import ModelError, UsageError

TEXT = (
    "the cat sat\n\nA caf\u00e9, the \u2581 mark!\n\u72ac\u72ac <s> @s@\nthe cat ran\tfar  away\u00a0now\n"
    * 3
)
HEARD = ["the cat", "", "A \u2581mark\t\u72ac", "  two  spaces\u00a0", "<s> @s@ <unk>", "zebra \u732b"]


def trained(tmp_path: Path, tokenizer: str, **options: Any) -> Model:
    (tmp_path / "text.txt").write_text(TEXT)
    return lmkit.train(
        str(tmp_path / "text.txt"),
        model="ngram",
        order=3,
        tokenizer=tokenizer,
        out=tmp_path / "run",
        **options,
    )


def imported(file: Path, out: Path, **options: Any) -> runs.LoadedRun:
    read_arpa(file, out, max_expansion=0, options=ArpaOptions(**options))
    return runs.load_run(out)


def scores(run: runs.LoadedRun, line: str) -> tuple[list[int], np.ndarray]:
    """The ids of a line and the log-probability of each, and of `</s>`."""
    model: Any = run.model
    ids = [*run.tokenizer.ids(line).tolist(), run.tokenizer.vocabulary.eos_id]
    return ids, model.log_probs(torch.tensor([ids]), model.initial_state(1))[0][0].numpy()


@pytest.mark.parametrize("tokenizer", ["word", "char", "byte", "sentencepiece"])
@pytest.mark.parametrize("suffix", ["", ".bz2"])
def test_round_trips(tmp_path: Path, tokenizer: str, suffix: str) -> None:
    """Export and import give every text the ids and scores that the run gives it."""
    options = {"vocab_size": 300} if tokenizer == "sentencepiece" else {}
    model = trained(tmp_path, tokenizer, **options)
    file = tmp_path / f"a.arpa{suffix}"
    write_arpa(model.run, file)
    given = f"sentencepiece:{tmp_path}/run/tokenizer/sentencepiece.model" if options else None
    again = imported(file, tmp_path / "again", tokenizer=given)
    assert again.tokenizer.vocabulary == model.tokenizer.vocabulary
    for line in HEARD:
        (ids, wanted), (found_ids, found) = scores(model.run, line), scores(again, line)
        assert found_ids == ids
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_kenlm_reads_a_file_with_a_note(tmp_path: Path) -> None:
    """The note is a comment for it, and its scores of the tokens are ours."""
    kenlm = pytest.importorskip("kenlm")
    model = trained(tmp_path, "char")
    write_arpa(model.run, tmp_path / "a.arpa")
    assert (tmp_path / "a.arpa").read_text().startswith('# lmkit: {"tokenizer": "lmkit:char"')
    other = kenlm.Model(str(tmp_path / "a.arpa"))
    # The text has U+2581 itself, so that a space is spelled with an underscore behind.
    tokens = " ".join("the") + " \u2581_ " + " ".join("cat")
    wanted = [log_prob for log_prob, _, _ in other.full_scores(tokens)]
    np.testing.assert_allclose(scores(model.run, "the cat")[1] / math.log(10), wanted, atol=1e-6)


def test_files_without_a_note(tmp_path: Path) -> None:
    """--tokenizer says it where the file does not; else its words are words."""
    model = trained(tmp_path, "char")
    write_arpa(model.run, tmp_path / "a.arpa")
    text = (tmp_path / "a.arpa").read_text()
    (tmp_path / "bare.arpa").write_text(text[text.index("\\data\\") :])
    again = imported(tmp_path / "bare.arpa", tmp_path / "chars", tokenizer="char")
    np.testing.assert_allclose(scores(again, "the cat")[1], scores(model.run, "the cat")[1], atol=1e-6)
    words = imported(tmp_path / "bare.arpa", tmp_path / "words")
    assert words.tokenizer_choice.name == "lmkit:word"
    words = imported(tmp_path / "a.arpa", tmp_path / "words2", tokenizer="word")
    assert scores(words, "t h e")[0] == scores(model.run, "the")[0]


def test_characters_taken_for_words_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file whose words are all characters, without a note, may be one of a model of characters."""
    model = trained(tmp_path, "char")
    write_arpa(model.run, tmp_path / "a.arpa")
    text = (tmp_path / "a.arpa").read_text()
    (tmp_path / "bare.arpa").write_text(text[text.index("\\data\\") :])
    imported(tmp_path / "bare.arpa", tmp_path / "words")
    assert "--tokenizer char" in caplog.text


def test_wrong_tokenizers(tmp_path: Path) -> None:
    """A tokenizer that the words do not belong to is refused with the remedy; nothing is written."""
    model = trained(tmp_path, "word")
    write_arpa(model.run, tmp_path / "a.arpa")
    with pytest.raises(ModelError, match=r"a\.arpa: its word .* is not one character; give --tokenizer word"):
        imported(tmp_path / "a.arpa", tmp_path / "b", tokenizer="char")
    with pytest.raises(ModelError, match=r"spells no byte"):
        imported(tmp_path / "a.arpa", tmp_path / "b", tokenizer="byte")
    with pytest.raises(UsageError, match="sentencepiece:FILE"):
        imported(tmp_path / "a.arpa", tmp_path / "b", tokenizer="sentencepiece")
    with pytest.raises(ModelError, match="cannot take this sentencepiece model"):
        imported(tmp_path / "a.arpa", tmp_path / "b", tokenizer=f"sentencepiece:{tmp_path / 'a.arpa'}")
    with pytest.raises(UsageError, match="is read from no file"):
        imported(tmp_path / "a.arpa", tmp_path / "b", tokenizer="word:x")
    assert not (tmp_path / "b").exists()


def test_names() -> None:
    """A short or a long name, and a file behind it, whatever colons are in it."""
    assert split_name("char") == ("char", None)
    assert split_name("lmkit:char") == ("lmkit:char", None)
    assert split_name("sentencepiece:C:\\m.model") == ("sentencepiece", Path("C:\\m.model"))
    assert split_name("lmkit:sentencepiece:a/b") == ("lmkit:sentencepiece", Path("a/b"))


def test_notes() -> None:
    """A note is read as it was written; what is no note, or one of another version, is passed over."""
    note = Note("lmkit:char", "abc", 0.4)
    assert arpa_note.parse(note.line().strip()) == note
    for line in (b"", b"\\data\\", b"# lmkit: nonsense", b"# lmkit: []", b'# lmkit: {"tokenizer": 1}'):
        assert arpa_note.parse(line) is None
    assert arpa_note.parse(b'# lmkit: {"tokenizer": "a", "fingerprint": "b", "alpha": 7.5}') is None


LATIN = "\\data\\\nngram 1=4\n\n\\1-grams:\n-0.60206 <unk>\n-99 <s>\n-0.30103 </s>\n-0.60206 caf\u00e9\n\n\\end\\\n"


def test_encodings(tmp_path: Path) -> None:
    """--encoding reads a file that is not UTF-8; without it, the error names the option."""
    (tmp_path / "a.arpa").write_bytes(LATIN.encode("latin-1"))
    with pytest.raises(ModelError, match="line 8: a word is not UTF-8; give --encoding"):
        imported(tmp_path / "a.arpa", tmp_path / "run")
    run = imported(tmp_path / "a.arpa", tmp_path / "run", encoding="latin-1")
    assert scores(run, "caf\u00e9")[1][0] == pytest.approx(-0.60206 * math.log(10))
    (tmp_path / "b.arpa").write_bytes(LATIN.encode("utf-16"))
    assert scores(imported(tmp_path / "b.arpa", tmp_path / "b", encoding="utf-16"), "caf\u00e9")[0] == [2, 0]
    with pytest.raises(ModelError, match="it is not ascii"):
        imported(tmp_path / "a.arpa", tmp_path / "c", encoding="ascii")
    with pytest.raises(UsageError, match="no text encoding"):
        imported(tmp_path / "a.arpa", tmp_path / "c", encoding="klingon")


def test_backoffs_of_the_highest_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Unigram models of the CMU-Cambridge toolkit have them: zeros are passed over, others are said."""
    rows = [f"{line} -0.0000" if line.startswith("-0") else line for line in LATIN.splitlines()]
    (tmp_path / "a.arpa").write_text("\n".join(rows))
    run = imported(tmp_path / "a.arpa", tmp_path / "a")
    assert "backoffs" not in caplog.text
    (tmp_path / "b.arpa").write_text("\n".join(rows).replace("-0.0000", "-0.25"))
    other = imported(tmp_path / "b.arpa", tmp_path / "b")
    assert "backoffs of n-grams of the highest order, which nothing uses, are left out: 3" in caplog.text
    assert scores(run, "caf\u00e9 x")[1].tolist() == scores(other, "caf\u00e9 x")[1].tolist()


def test_a_text_of_other_tokens_is_said(tmp_path: Path) -> None:
    """A model of characters that is taken for one of words finds hardly a word of a text; eval and surprisal say so."""
    trained(tmp_path, "char")
    calls = [
        ["export", str(tmp_path / "run"), str(tmp_path / "a.arpa"), "--to", "arpa"],
        ["import", "arpa", str(tmp_path / "a.arpa"), "--out", str(tmp_path / "words"), "--tokenizer", "word"],
    ]
    for line in calls:
        assert CliRunner().invoke(cli, line).exit_code == 0
    for command in ("eval", "surprisal"):
        done = CliRunner().invoke(cli, [command, str(tmp_path / "words"), str(tmp_path / "text.txt")])
        assert done.exit_code == 0, done.stderr
        assert "tokens are unknown to the model: it was trained on other text" in done.stderr


def test_the_commands(tmp_path: Path) -> None:
    """As a user types it, with compressed files by any suffix."""
    trained(tmp_path, "char")
    for suffix in ("gz", "bz2", "xz"):
        file = str(tmp_path / f"a.arpa.{suffix}")
        done = CliRunner().invoke(cli, ["export", str(tmp_path / "run"), file, "--to", "arpa"])
        assert done.exit_code == 0, done.stderr
        out = str(tmp_path / suffix)
        done = CliRunner().invoke(cli, ["import", "arpa", file, "--out", out, "--tokenizer", "char"])
        assert done.exit_code == 0, done.stderr
        assert "probabilities sum to 1.0000" in done.stderr
    assert bz2.decompress((tmp_path / "a.arpa.bz2").read_bytes()).startswith(b"# lmkit")
    (tmp_path / "b.arpa").write_bytes((tmp_path / "a.arpa.bz2").read_bytes())
    done = CliRunner().invoke(cli, ["import", "arpa", str(tmp_path / "b.arpa"), "--out", str(tmp_path / "b")])
    assert (done.exit_code, "must end in .bz2" in done.stderr) == (4, True)


@pytest.fixture(autouse=True)
def warnings_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
