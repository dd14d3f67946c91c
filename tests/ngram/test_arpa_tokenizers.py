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
from lmkit_ngram.arpa_read import read_arpa
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


def without_note(file: Path, to: Path) -> None:
    """Write what another program would have written."""
    text = file.read_text()
    to.write_text(text[text.index("\\data\\") :])


@pytest.mark.parametrize("tokenizer", ["word", "char", "byte", "sentencepiece"])
@pytest.mark.parametrize("suffix", ["", ".bz2"])
def test_round_trips(tmp_path: Path, tokenizer: str, suffix: str) -> None:
    """Export and import give every text the ids and scores that the run gives it."""
    options = {"vocab_size": 300} if tokenizer == "sentencepiece" else {}
    model = trained(tmp_path, tokenizer, **options)
    file = tmp_path / f"a.arpa{suffix}"
    write_arpa(model.run, file)
    again = imported(file, tmp_path / "again")
    assert again.tokenizer.vocabulary == model.tokenizer.vocabulary
    for line in HEARD:
        (ids, wanted), (found_ids, found) = scores(model.run, line), scores(again, line)
        assert found_ids == ids
        np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("tokenizer", "options"),
    [
        ("word", {"min_count": 1}),
        ("word", {"min_count": 4}),
        ("char", {"min_count": 1}),
        ("char", {"min_count": 4}),
        ("byte", {}),
        ("sentencepiece", {"vocab_size": 300}),
    ],
)
def test_bits_per_byte_survive(tmp_path: Path, tokenizer: str, options: dict[str, int]) -> None:
    """The rate of new words and the codes of spellings and white space are in the file."""
    model = trained(tmp_path, tokenizer, **options)
    write_arpa(model.run, tmp_path / "a.arpa")
    imported(tmp_path / "a.arpa", tmp_path / "again")
    first, second = (lmkit.load(tmp_path / run).score("\n".join(HEARD)) for run in ("run", "again"))
    assert second.bits_per_byte == pytest.approx(first.bits_per_byte, abs=1e-9)
    assert second.signature == first.signature
    assert "|code:2|" in second.signature


def test_a_file_without_a_note_is_not_comparable(tmp_path: Path) -> None:
    """Nothing in it says how often new words occur: the signature, import, info and eval say so."""
    trained(tmp_path, "word")
    write_arpa(runs.load_run(tmp_path / "run"), tmp_path / "a.arpa")
    without_note(tmp_path / "a.arpa", tmp_path / "bare.arpa")
    line = ["import", "arpa", str(tmp_path / "bare.arpa"), "--out", str(tmp_path / "again")]
    said = "bits per byte of this run are not comparable on a text with unknown tokens"
    assert said in CliRunner().invoke(cli, line).stderr
    assert said in CliRunner().invoke(cli, ["info", str(tmp_path / "again")]).stdout
    score = lmkit.load(tmp_path / "again").score("the zebra")
    assert "|code:2u|" in score.signature
    assert "bits per byte are not comparable" in score.notices[0]
    assert not lmkit.load(tmp_path / "again").score("the cat").notices
    # Exported again it is still such a file, with nothing in it that another program did not write.
    write_arpa(runs.load_run(tmp_path / "again"), tmp_path / "b.arpa")
    assert (tmp_path / "b.arpa").read_bytes() == (tmp_path / "bare.arpa").read_bytes()


def test_words_that_another_program_changed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The tokenizer of a note that lacks words of the file is left out, with a warning."""
    write_arpa(trained(tmp_path, "word").run, tmp_path / "a.arpa")
    text = (tmp_path / "a.arpa").read_text().replace("cat", "dog")
    (tmp_path / "b.arpa").write_text(text)
    run = imported(tmp_path / "b.arpa", tmp_path / "again")
    assert "words that its tokenizer lacks" in caplog.text
    assert run.tokenizer.novelty is None
    assert run.tokenizer.ids("dog").tolist() != run.tokenizer.ids("cat").tolist() == [1]


def test_tokenizers_too_large_to_be_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The note then has no files, and the file is imported by its words."""
    monkeypatch.setattr(arpa_note, "LARGEST", 10)
    write_arpa(trained(tmp_path, "char").run, tmp_path / "a.arpa")
    assert (tmp_path / "a.arpa").read_text().count("# lmkit") == 1
    run = imported(tmp_path / "a.arpa", tmp_path / "again")
    assert (run.tokenizer_choice.name, run.tokenizer.novelty) == ("lmkit:char", None)


def test_kenlm_reads_a_file_with_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Note and files are comments for it, however many lines they take, and its scores of the tokens are ours."""
    kenlm = pytest.importorskip("kenlm")
    monkeypatch.setattr(arpa_note, "LINE", 1)
    model = trained(tmp_path, "char")
    write_arpa(model.run, tmp_path / "a.arpa")
    assert (tmp_path / "a.arpa").read_text().count("\n# lmkit+ ") > 100
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
    without_note(tmp_path / "a.arpa", tmp_path / "bare.arpa")
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
    without_note(tmp_path / "a.arpa", tmp_path / "bare.arpa")
    imported(tmp_path / "bare.arpa", tmp_path / "words")
    assert "--tokenizer char" in caplog.text


def test_wrong_tokenizers(tmp_path: Path) -> None:
    """A tokenizer that the words do not belong to is refused with the remedy; nothing is written."""
    model = trained(tmp_path, "word")
    write_arpa(model.run, tmp_path / "a.arpa")
    with pytest.raises(ModelError, match=r"a\.arpa: its word .* is not one character; give --tokenizer word"):
        imported(tmp_path / "a.arpa", tmp_path / "b", tokenizer="char")
    with pytest.raises(ModelError, match=r"is not a byte"):
        imported(tmp_path / "a.arpa", tmp_path / "b", tokenizer="byte")
    with pytest.raises(UsageError, match="sentencepiece:FILE"):
        imported(tmp_path / "a.arpa", tmp_path / "b", tokenizer="sentencepiece")
    with pytest.raises(ModelError, match="cannot use this sentencepiece model"):
        imported(tmp_path / "a.arpa", tmp_path / "b", tokenizer=f"sentencepiece:{tmp_path / 'a.arpa'}")
    with pytest.raises(UsageError, match="cannot be read from a file"):
        imported(tmp_path / "a.arpa", tmp_path / "b", tokenizer="word:x")
    assert not (tmp_path / "b").exists()


def test_notes() -> None:
    """A note is read as it was written, and a damaged one is an error with the reason."""
    note = Note("lmkit:char", "abc", 0.4, True, {"min_count": 2}, {"tokenizer.json": 7})
    assert arpa_note.parse(next(note.lines()).strip()) == note
    assert arpa_note.parse(b'# lmkit: {"tokenizer": "a:b", "fingerprint": "c"}') == Note("a:b", "c")
    for facts, reason in (
        ("nonsense", "Expecting value"),
        ("[]", "not an object"),
        ('{"tokenizer": 1, "fingerprint": "c"}', "it has no tokenizer"),
        ('{"tokenizer": "a;b:c", "fingerprint": "c"}', "it has no tokenizer"),
        ('{"tokenizer": "a:b"}', "no fingerprint"),
        ('{"tokenizer": "a:b", "fingerprint": "c", "alpha": 7.5}', "alpha"),
        ('{"tokenizer": "a:b", "fingerprint": "c", "options": {"x y": 1}}', "options"),
        ('{"tokenizer": "a:b", "fingerprint": "c", "files": {"../x": 1}}', "files"),
        ('{"tokenizer": "a:b", "fingerprint": "c", "files": {"x": -1}}', "files"),
        ('{"tokenizer": "a:b", "fingerprint": "c", "files": {"x": 1e99}}', "files"),
        ('{"tokenizer": "a:b", "fingerprint": "c", "files": {"x": 999999999999}}', "files"),
    ):
        with pytest.raises(ValueError, match=reason):
            arpa_note.parse(arpa_note.PREFIX + facts.encode())


LATIN = "\\data\\\nngram 1=4\n\n\\1-grams:\n-0.60206 <unk>\n-99 <s>\n-0.30103 </s>\n-0.60206 caf\u00e9\n\n\\end\\\n"


def test_encodings(tmp_path: Path) -> None:
    """--encoding reads a file that is not UTF-8; without it, the error names the option."""
    (tmp_path / "a.arpa").write_bytes(LATIN.encode("latin-1"))
    with pytest.raises(ModelError, match=r"line 8: the word 'caf\\xe9' is not UTF-8; .* --encoding"):
        imported(tmp_path / "a.arpa", tmp_path / "run")
    run = imported(tmp_path / "a.arpa", tmp_path / "run", encoding="latin-1")
    assert scores(run, "caf\u00e9")[1][0] == pytest.approx(-0.60206 * math.log(10))
    (tmp_path / "b.arpa").write_bytes(LATIN.encode("utf-16"))
    assert scores(imported(tmp_path / "b.arpa", tmp_path / "b", encoding="utf-16"), "caf\u00e9")[0] == [2, 0]
    with pytest.raises(ModelError, match="it is not ascii"):
        imported(tmp_path / "a.arpa", tmp_path / "c", encoding="ascii")
    with pytest.raises(UsageError, match="unknown text encoding"):
        imported(tmp_path / "a.arpa", tmp_path / "c", encoding="klingon")


def test_backoffs_of_the_highest_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Unigram models of the CMU-Cambridge toolkit have them: zeros are passed over, others are said."""
    rows = [f"{line} -0.0000" if line.startswith("-0") else line for line in LATIN.splitlines()]
    (tmp_path / "a.arpa").write_text("\n".join(rows))
    run = imported(tmp_path / "a.arpa", tmp_path / "a")
    assert "backoffs" not in caplog.text
    (tmp_path / "b.arpa").write_text("\n".join(rows).replace("-0.0000", "-0.25"))
    other = imported(tmp_path / "b.arpa", tmp_path / "b")
    assert "unused backoffs of n-grams of the highest order are ignored: 3" in caplog.text
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
        assert "the model was trained on other text" in done.stderr


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
    assert (done.exit_code, "does not end in .bz2" in done.stderr) == (4, True)


@pytest.fixture(autouse=True)
def warnings_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
