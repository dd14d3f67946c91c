"""What can be wrong with an ARPA file: a line that names the place, exit code 4, and nothing left behind."""

import base64
import contextlib
import gzip
import json
import random
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from lmkit_ngram.arpa_options import ArpaOptions
from lmkit_ngram.arpa_read import read_arpa
from lmkit_ngram.arpa_write import write_arpa

import lmkit
from lmkit.cli import cli
from lmkit.errors import LmkitError, ModelError, PluginError

SOUND = r"""\data\
ngram 1=5
ngram 2=3
ngram 3=1

\1-grams:
-2	<unk>	0
0	<s>	-1
-1	</s>	0
-1	a	-0.5
-1.5	b	-0.25

\2-grams:
-0.5	<s> a	-0.125
-0.25	a b	-0.5
-0.75	b </s>	0

\3-grams:
-0.5	<s> a b

\end\
"""
CASES = {
    # what is wrong: (what to replace, by what, what the message says)
    "too few unigrams": ("-1.5\tb\t-0.25\n", "", "line 12: the header promises 5 n-grams of order 1, but there are"),
    "too many bigrams": ("ngram 2=3", "ngram 2=2", "line 16: the header promises 2 n-grams of order 2, but there"),
    "a count of 10^18": ("ngram 2=3", "ngram 2=1000000000000000000", "line 3: a file of"),
    "a count of many digits": ("ngram 2=3", "ngram 2=" + "9" * 5000, "line 3: "),
    "a count past int32": ("ngram 3=1", "ngram 3=2147483640", "line 4: a file of"),
    "orders out of order": ("ngram 2=3", "ngram 4=3", "line 3: orders must be 1, 2, 3"),
    "no counts": ("ngram 1=5\nngram 2=3\nngram 3=1\n", "", "line 3: expected 'ngram 1=...'"),
    "NaN": ("-0.25\ta b", "nan\ta b", "line 15: a log-probability or a backoff is not a finite number: 'nan"),
    "a backoff of NaN": ("a b\t-0.5", "a b\tNaN", "line 15: a log-probability or a backoff is not a finite number"),
    "an endless backoff": ("a b\t-0.5", "a b\tinf", "line 15: a log-probability or a backoff is not a finite number"),
    "a probability above 1": ("-0.25\ta b", "0.25\ta b", "line 15: a log-probability is above 0"),
    "a unigram above 1": ("-1\ta", "1e-3\ta", "line 10: a log-probability is above 0"),
    "a missing word": ("<s> a b\n", "<s> a\n", "line 19: it has too few words"),
    "a missing unigram": ("-1\ta\t-0.5", "-1", "line 10: it has too few words"),
    "a word with a space": ("-0.25\ta b", "-0.25\ta b b", "line 15: it has too many fields"),
    "a word too many": ("<s> a b\n", "<s> a b c\n", "line 19: it has too many fields"),
    "two backoffs": ("<s> a b\n", "<s> a b\t-1\t-1\n", "line 19: it has too many fields"),
    "a binary file of KenLM": ("\\data\\", "mmap lm http://kheafield.com/code format version 5\n", "of KenLM"),
    "a binary file of SRILM": ("\\data\\", "SRILM_BINARY_NGRAM_002\n\0", "binary file of SRILM"),
    "interpolated ARPA of IRSTLM": ("\\data\\", "iARPA\n\\data\\", "an intermediate file of IRSTLM"),
    "an unknown word": ("-0.25\ta b", "-0.25\ta c", "line 15: a word is not among the unigrams: 'c'"),
    "a word twice": ("-1.5\tb", "-1.5\ta", "line 11: a word occurs twice in the unigrams: 'a'"),
    "an n-gram twice": ("-0.75\tb </s>", "-0.75\ta b", "the n-gram 'a b' occurs twice"),
    "no end": ("\n\\end\\\n", "", "line 20: the file ends, before '\\end\\'"),
    "another end": ("\\end\\", "\\ende\\", "line 21: expected '\\end\\'"),
    "a section missing": ("\\2-grams:\n", "", "line 13: the header promises 5 n-grams of order 1"),
    "a section too many": ("\\end\\", "\\4-grams:\n\\end\\", "line 21: expected '\\end\\'"),
    "a section of another name": ("\\2-grams:", "\\two-grams:", "line 13: expected '\\2-grams:'"),
    "no first section": ("\\1-grams:", "", "line 7: expected"),
    "no data": ("\\data\\", "data", "no line \\data\\"),
    "no sentence end": ("</s>", "c", "it has no </s>"),
    "two unknown words": ("-1.5\tb", "-1.5\t<UNK>", "line 15: a word is not among the unigrams: 'b'"),
    "names that fall together": ("-2\t<unk>", "-2\t@@s@@@\t0\n-2\t@s@@", "give --keep-names"),
}  # fmt: skip


def refusal(file: Path) -> str:
    """The one line with which an import of a file fails; it leaves nothing."""
    before = set(file.parent.iterdir())
    with pytest.raises(ModelError) as caught:
        read_arpa(file, file.parent / "run", max_expansion=200, options=ArpaOptions())
    assert set(file.parent.iterdir()) == before
    text = str(caught.value)
    assert str(file) in text
    assert text.isprintable()
    return text


@pytest.mark.parametrize("case", CASES)
def test_faults_are_named_with_their_line(tmp_path: Path, case: str) -> None:
    """What is wrong, and in which line."""
    old, new, said = CASES[case]
    assert old in SOUND
    text = SOUND.replace(old, new)
    if case == "names that fall together":
        text = text.replace("ngram 1=5", "ngram 1=6")
    (tmp_path / "a.arpa").write_text(text)
    assert said in refusal(tmp_path / "a.arpa")


def test_the_command_exits_with_4(tmp_path: Path) -> None:
    """One line on stderr, no traceback, no run."""
    (tmp_path / "a.arpa").write_text(SOUND.replace("-0.25\ta b", "nan\ta b"))
    line = ["import", "arpa", str(tmp_path / "a.arpa"), "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(cli, line)
    assert (done.exit_code, done.stderr.count("\n")) == (4, 1), done.stderr
    assert not (tmp_path / "run").exists()


def test_what_is_no_arpa_file(tmp_path: Path) -> None:
    """Nothing, a text, random bytes, a folder, a line without an end."""
    for number, data in enumerate((b"", b"the cat\n" * 20_000, random.Random(1).randbytes(100_000))):
        (tmp_path / f"{number}").write_bytes(data)
        assert "not an ARPA file" in refusal(tmp_path / f"{number}")
    (tmp_path / "folder").mkdir()
    assert "cannot be read" in refusal(tmp_path / "folder")
    assert "cannot be read" in refusal(tmp_path / "nothing")
    (tmp_path / "long").write_bytes(SOUND.encode().replace(b"-0.5\t<s> a b", b"-" * (20 << 20)))
    assert "line 19: longer than 16 MiB" in refusal(tmp_path / "long")


def test_words_are_utf8(tmp_path: Path) -> None:
    """lmkit's text is UTF-8; other bytes are reported with their line and with two remedies."""
    (tmp_path / "a.arpa").write_bytes(SOUND.encode().replace(b"-1.5\tb", b"-1.5\t\xe7a"))
    said = refusal(tmp_path / "a.arpa")
    assert said.endswith(
        "line 11: the word '\\xe7a' is not UTF-8; give the file's encoding, such as --encoding latin-1, or convert "
        "it: iconv -f LATIN1 -t UTF-8"
    )


def noted(content: bytes, note: dict[str, Any], packed: bytes | None = None) -> str:
    """A sound file of a model of words, with a note of one file as it should be but for some facts."""
    facts: dict[str, Any] = {
        "tokenizer": "lmkit:word",
        "fingerprint": "0",
        "files": {"words.txt": len(content)},
    }
    text = base64.b64encode(zlib.compress(content)) if packed is None else packed
    return f"# lmkit: {json.dumps(facts | note)}\n# lmkit+ {text.decode()}\n{SOUND}"


NOTES = {
    "no JSON": (f"# lmkit: {{'a'\n{SOUND}", "line 1: lmkit's note is damaged (Expecting property name"),
    "deep JSON": (f"# lmkit: {'[' * 60_000}\n{SOUND}", "line 1: lmkit's note is damaged (nested too deeply)"),
    "a long number": (f"# lmkit: {'9' * 60_000}\n{SOUND}", "line 1: lmkit's note is damaged"),
    "a path": (noted(b"", {"files": {"../a": 0}}), "line 1: lmkit's note is damaged (its files are not"),
    "no base64": (noted(b"", {}, b"*"), "is damaged ("),
    "no zlib": (noted(b"", {}, b"AAAA"), "is damaged (Error -3 while decompressing"),
    "cut off": (noted(b"", {}, base64.b64encode(zlib.compress(b"a" * 999)[:-4])), "is damaged (it does not unpack"),
    "a larger file": (noted(b"a" * 999, {"files": {"a": 99}}), "is damaged (it does not unpack to 99 bytes)"),
    "a smaller file": (noted(b"a" * 999, {"files": {"a": 9999}}), "is damaged (it does not unpack to 9,999 bytes)"),
    "a bomb": (noted(bytes(1 << 20), {"files": {"a": 200 << 20}}), "(it is larger than the packed data allows)"),
    "a file missing": (noted(b"a\n", {}), "is damaged (tokenizer.json: "),
    "an option": (noted(b"a\n", {"options": {"nothing": 1}}), "is damaged (options: unknown option 'nothing'"),
    "too much": (noted(b"a", {}, b"A" * 70_000), "no line \\data\\"),
}  # fmt: skip


@pytest.mark.parametrize("case", NOTES)
def test_damaged_notes(tmp_path: Path, case: str) -> None:
    """What lmkit wrote before the n-grams is checked like anything else in a file."""
    text, said = NOTES[case]
    (tmp_path / "a.arpa").write_text(text)
    assert said in refusal(tmp_path / "a.arpa")
    assert len(refusal(tmp_path / "a.arpa")) < 500


def test_a_note_of_another_tokenizer(tmp_path: Path) -> None:
    """Files that are sound, but not of the vocabulary that the note names, are damage too."""
    (tmp_path / "text.txt").write_text("a b\n")
    run = lmkit.train(str(tmp_path / "text.txt"), model="ngram", tokenizer="word", out=tmp_path / "own").run
    write_arpa(run, tmp_path / "a.arpa")
    text = (tmp_path / "a.arpa").read_text()
    (tmp_path / "a.arpa").write_text(text.replace(run.tokenizer.vocabulary.fingerprint, "0"))
    assert "is damaged (its fingerprint differs)" in refusal(tmp_path / "a.arpa")
    (tmp_path / "a.arpa").write_text(text.replace('"lmkit:word"', '"nobody:word"'))
    with pytest.raises(PluginError, match="of the distribution 'nobody'"):
        read_arpa(tmp_path / "a.arpa", tmp_path / "b", max_expansion=200, options=ArpaOptions())


def test_a_run_is_no_file(tmp_path: Path) -> None:
    """A run that is given in place of a file is one already."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/lmkit.json").write_text("{}")
    done = CliRunner().invoke(cli, ["import", "arpa", str(tmp_path / "run"), "--out", str(tmp_path / "b")])
    assert (done.exit_code, "is an lmkit run already" in done.stderr) == (2, True)


def test_compressed_files_that_are_cut_off_or_grow_too_much(tmp_path: Path) -> None:
    """The checksum at a file's end is looked at, and a bomb goes no farther than the limit."""
    data = gzip.compress(SOUND.encode())
    for number, cut in enumerate((10, len(data) // 2, len(data) - 4)):
        (tmp_path / f"{number}.gz").write_bytes(data[:cut])
        assert "cut off" in refusal(tmp_path / f"{number}.gz")
    (tmp_path / "a.xz").write_text(SOUND)
    assert "not a xz file" in refusal(tmp_path / "a.xz")
    bomb = gzip.compress(SOUND.replace("\\end\\", "\n" * (80 << 20)).encode())
    (tmp_path / "b.gz").write_bytes(bomb)
    assert "--max-expansion" in refusal(tmp_path / "b.gz")


LIMITED = """
import resource, sys
from pathlib import Path
from lmkit_ngram.arpa_options import ArpaOptions
from lmkit_ngram.arpa_read import read_arpa
from lmkit.errors import LmkitError
def read(file):
    read_arpa(file, Path(sys.argv[2]), overwrite=True, max_expansion=200, options=ArpaOptions())
read(Path(sys.argv[1]) / "sound.arpa")
limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + (200 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    read(Path(sys.argv[1]) / "large.arpa")
except LmkitError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as Linux has them")
def test_memory_is_that_of_what_is_there(tmp_path: Path) -> None:
    """A header that promises as much as a large file could hold costs nothing before it comes."""
    (tmp_path / "sound.arpa").write_text(SOUND)
    promised = SOUND.replace("ngram 3=1", "ngram 3=300000000")
    with (tmp_path / "large.arpa").open("wb") as file:
        file.write(promised.encode())
        file.truncate(3 << 30)  # a hole: the size makes the number plausible
    line = [sys.executable, "-c", LIMITED, str(tmp_path), str(tmp_path / "run")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert "line 21: the header promises 300,000,000 n-grams of order 3" in done.stdout, done.stderr


def test_damaged_copies_are_errors_of_ours(tmp_path: Path) -> None:
    """Some hundred damaged files; tests/fuzz goes on for longer."""
    chance = random.Random(3)
    pieces = [
        b"-",
        b"\\",
        b"\0",
        b"\n",
        b"1e999",
        b"9" * 30,
        b"\xff",
        b" ",
        b"nan",
        b"<s>",
        b"\\end\\",
        b"\t\t",
    ]
    file = tmp_path / "a.arpa"
    for _ in range(400):
        data = bytearray(SOUND.encode())
        for _ in range(chance.choice((1, 1, 3))):
            place = chance.randrange(len(data))
            data[place : place + chance.choice((0, 1, 9))] = chance.choice(
                [*pieces, bytes([data[place] ^ 1])]
            )
        file.write_bytes(data)
        with contextlib.suppress(LmkitError):
            read_arpa(file, tmp_path / "run", overwrite=True, max_expansion=200, options=ArpaOptions())
