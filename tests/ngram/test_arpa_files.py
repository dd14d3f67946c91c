"""ARPA files read and written: the same n-grams, and KenLM's scores of them."""

import gzip
import itertools
import logging
import lzma
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from lmkit_ngram.arpa_options import ArpaOptions
from lmkit_ngram.arpa_read import read_arpa
from lmkit_ngram.arpa_write import write_arpa
from lmkit_ngram.table import ARRAYS

from lmkit import runs
from lmkit.cli import cli
from lmkit.errors import ModelError, UsageError

Grams = dict[tuple[str, ...], tuple[float, float]]
"""log10 p and backoff of each n-gram."""


def imported(file: Path, out: Path, **options: bool) -> runs.LoadedRun:
    read_arpa(file, out, max_expansion=200, options=ArpaOptions(**options))
    return runs.load_run(out)


def spelt(grams: Grams, order: int) -> str:
    """An ARPA file of some n-grams."""
    by_order = [[words for words in grams if len(words) == k] for k in range(1, order + 1)]
    text = "\\data\\\n" + "".join(f"ngram {k}={len(rows)}\n" for k, rows in enumerate(by_order, 1))
    for k, rows in enumerate(by_order, 1):
        text += f"\n\\{k}-grams:\n"
        for words in rows:
            log_prob, backoff = grams[words]
            text += f"{log_prob}\t{' '.join(words)}" + (f"\t{backoff}\n" if k < order else "\n")
    return text + "\n\\end\\\n"


def small_model(order: int, seed: int) -> Grams:
    """N-grams of a few words with made-up numbers; every context is one, not every suffix."""
    chance = random.Random(seed)

    def numbers() -> tuple[float, float]:
        return -chance.randint(1, 3000) / 1000, chance.randint(-800, 200) / 1000

    words = ["a", "b", "c", "</s>"]
    grams = {(word,): numbers() for word in ["<unk>", "<s>", *words]}
    for k in range(2, order + 1):
        contexts = [words for words in list(grams) if len(words) == k - 1 and words[-1] != "</s>"]
        for context, word in itertools.product(contexts, words):
            if chance.random() < 0.4:
                grams[(*context, word)] = numbers()
    return grams


def score(grams: Grams, context: tuple[str, ...], word: str) -> float:
    """log10 p by the definition of backing off."""
    if (*context, word) in grams:
        return grams[*context, word][0]
    return grams.get(context, (0, 0))[1] + score(grams, context[1:], word)


def scores(run: runs.LoadedRun, line: str) -> np.ndarray:
    """log10 p of each word of a line, and of </s>."""
    model, vocabulary = run.model, run.tokenizer.vocabulary
    ids = torch.tensor([*run.tokenizer.ids(line).tolist(), vocabulary.eos_id])
    found, _ = model.log_probs(ids[None], model.initial_state(1))
    return found[0].double().numpy() / np.log(10)


def assert_same_table(a: runs.LoadedRun, b: runs.LoadedRun) -> None:
    assert a.model.table.offsets.tolist() == b.model.table.offsets.tolist()
    for name in ARRAYS:
        one, other = (np.asarray(getattr(run.model.table, name)) for run in (a, b))
        assert one.tobytes() == other.tobytes(), name


LINES = [" ".join(words) for n in range(4) for words in itertools.product("abcx", repeat=n)]
"""Every line of up to three words, an unknown one among them."""


@pytest.mark.parametrize(("order", "seed"), [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4)])
def test_scores_are_those_of_the_definition(tmp_path: Path, order: int, seed: int) -> None:
    """Whatever suffixes an n-gram lacks, the imported model backs off as the file says."""
    grams = small_model(order, seed)
    (tmp_path / "a.arpa").write_text(spelt(grams, order))
    run = imported(tmp_path / "a.arpa", tmp_path / "run")
    for line in LINES:
        words = ["<s>", *(word if (word,) in grams else "<unk>" for word in line.split()), "</s>"]
        # No n-gram is longer than the order.
        wanted = [
            score(grams, tuple(words[max(0, i - order + 1) : i]), words[i]) for i in range(1, len(words))
        ]
        assert np.abs(scores(run, line) - wanted).max() < 2e-6


@pytest.mark.parametrize("seed", range(4))
def test_missing_contexts_change_no_score(
    tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A context that pruning took away is put back with the probability that backing off gives it."""
    grams = small_model(4, seed)
    chance = random.Random(seed)
    kept = {
        words: numbers for words, numbers in grams.items() if len(words) in (1, 4) or chance.random() < 0.5
    }
    (tmp_path / "a.arpa").write_text(spelt(kept, 4))
    run = imported(tmp_path / "a.arpa", tmp_path / "run")
    assert "are added" in caplog.text
    for line in LINES:
        words = ["<s>", *(word if (word,) in kept else "<unk>" for word in line.split()), "</s>"]
        wanted = [score(kept, tuple(words[max(0, i - 3) : i]), words[i]) for i in range(1, len(words))]
        assert np.abs(scores(run, line) - wanted).max() < 2e-6


@pytest.mark.parametrize("name", ["a.arpa", "a.arpa.gz", "a.arpa.xz"])
def test_written_and_read_it_is_the_same_table(tmp_path: Path, name: str) -> None:
    """Bit by bit, at any order, compressed or not; equal models make equal files."""
    for order in (1, 2, 5):
        (tmp_path / "first.arpa").write_text(spelt(small_model(order, 7), order))
        first = imported(tmp_path / "first.arpa", tmp_path / f"first-{order}")
        write_arpa(first, tmp_path / name, overwrite=True)
        again = imported(tmp_path / name, tmp_path / f"again-{order}")
        assert_same_table(first, again)
        write_arpa(again, tmp_path / f"b-{name}", overwrite=True)
        assert (tmp_path / name).read_bytes() == (tmp_path / f"b-{name}").read_bytes()


def test_what_is_written_is_what_lmplz_prints(tmp_path: Path) -> None:
    """Sections, tabs, <unk>, <s> and </s> first, backoffs everywhere but at the highest order."""
    grams: Grams = {
        ("</s>",): (-1.5, 0), ("<unk>",): (-2, 0), ("a",): (-0.5, -0.25), ("<s>",): (0, -1),
        ("<s>", "a"): (-0.125, 0), ("a", "</s>"): (-99, 0),
    }  # fmt: skip
    (tmp_path / "a.arpa").write_text(spelt(grams, 2))
    write_arpa(imported(tmp_path / "a.arpa", tmp_path / "run"), tmp_path / "b.arpa")
    assert (tmp_path / "b.arpa").read_text() == (
        "\\data\\\nngram 1=4\nngram 2=2\n\n\\1-grams:\n-2\t<unk>\t0\n0\t<s>\t-1\n-1.5\t</s>\t0\n-0.5\ta\t-0.25\n"
        "\n\\2-grams:\n-99\ta </s>\n-0.125\t<s> a\n\n\\end\\\n"
    )


def test_long_words_and_small_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines longer than a chunk of text are written whole, and blocks may end anywhere in a line."""
    word = "long" * 5000
    grams: Grams = {
        (name,): (-1, -0.5) for name in ["<unk>", "<s>", "</s>", word, *(f"w{i}" for i in range(300))]
    }
    grams |= {(word, f"w{i}"): (-i / 1000, 0) for i in range(300)}
    (tmp_path / "a.arpa").write_text(spelt(grams, 2))
    first = imported(tmp_path / "a.arpa", tmp_path / "run")
    monkeypatch.setattr("lmkit_ngram.arpa_write.CHUNK", 100)
    monkeypatch.setattr("lmkit.corpus.compression.BLOCK", 997)
    write_arpa(first, tmp_path / "b.arpa")
    assert_same_table(first, imported(tmp_path / "b.arpa", tmp_path / "again"))


def test_other_ways_to_write_a_file(tmp_path: Path) -> None:
    """A preface, a byte-order mark, CRLF, spaces for tabs, blank lines, missing backoffs and what follows the end."""
    plain = (
        "\\data\\\nngram 1=4\nngram 2=2\n\n\\1-grams:\n-2\t<unk>\n0\t<s>\t-1\n-1\t</s>\n-1\ta\t-0.5\n"
        "\n\\2-grams:\n-0.5\t<s> a\n-0.1\ta </s>\n\n\\end\\\n"
    )
    (tmp_path / "a.arpa").write_text(plain)
    other = "# made by hand\n\ufeff" + plain.replace("\t", "  \t").replace("\n", "\n\n") + "more\n\\data\\"
    (tmp_path / "b.arpa").write_text(other, newline="\r\n", encoding="utf-8")
    (tmp_path / "c.arpa").write_text(plain.rstrip("\n"))
    first = imported(tmp_path / "a.arpa", tmp_path / "run-a")
    for name in "bc":
        assert_same_table(first, imported(tmp_path / f"{name}.arpa", tmp_path / f"run-{name}"))


def test_words_that_have_taken_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """<s>, </s> and <unk> in a text are words; they are renamed in the file, and are themselves after import."""
    text = tmp_path / "text.txt"
    text.write_text("<s> @s@ </s>\n<unk> <unk> @@unk@@\n<s> <unk>\n" * 3, encoding="utf-8")
    run, file = tmp_path / "run", tmp_path / "a.arpa"
    line = ["train", str(text), "--model", "ngram", "--order", "3", "--out", str(run)]
    done = CliRunner().invoke(cli, line)
    assert done.exit_code == 0, done.stderr
    first = runs.load_run(run)
    write_arpa(first, file)
    assert "</s> as @/s@" in caplog.text
    assert {"\t@/s@\t", "\t@@s@@\t"} <= set(re.findall("\t@.*@\t", file.read_text()))
    again = imported(file, tmp_path / "again")
    for sample in ("<s> @s@ </s>", "<unk> <unk>", "@@unk@@ what <s>", ""):
        assert np.abs(scores(first, sample) - scores(again, sample)).max() < 1e-6
    kept = imported(file, tmp_path / "kept", keep_names=True)
    assert np.abs(scores(first, "<s> @s@ </s>") - scores(kept, "@s@ @@s@@ @/s@")).max() < 1e-6


def test_without_unknown_and_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No <unk> is KenLM's -100, no <s> is no context; both are told."""
    grams: Grams = {("</s>",): (-1, 0), ("a",): (-0.5, -0.25), ("a", "a"): (-0.125, 0)}
    (tmp_path / "a.arpa").write_text(spelt(grams, 2))
    run = imported(tmp_path / "a.arpa", tmp_path / "run")
    assert len(re.findall("no <(unk|s)>", caplog.text)) == 2
    assert scores(run, "a x a").tolist() == pytest.approx([-0.5, -100.25, -0.5, -1.25])


def test_words_after_the_start_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """<s> follows nothing: n-grams that say otherwise are left out."""
    grams = small_model(3, 1) | {("a", "<s>"): (-1, 0), ("a", "<s>", "b"): (-1, 0)}
    (tmp_path / "a.arpa").write_text(spelt(grams, 3))
    (tmp_path / "b.arpa").write_text(spelt(small_model(3, 1), 3))
    run = imported(tmp_path / "a.arpa", tmp_path / "run")
    assert "are ignored" in caplog.text
    assert_same_table(run, imported(tmp_path / "b.arpa", tmp_path / "run-b"))


def test_the_capital_unknown(tmp_path: Path) -> None:
    """KenLM takes <UNK> for the unknown word too."""
    grams: Grams = {("</s>",): (-1, 0), ("<s>",): (0, 0), ("<UNK>",): (-3, 0), ("a",): (-0.5, 0)}
    (tmp_path / "a.arpa").write_text(spelt(grams, 1))
    assert scores(imported(tmp_path / "a.arpa", tmp_path / "run"), "x a").tolist() == pytest.approx(
        [-3, -0.5, -1]
    )


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    """Neither a file nor a run; a failed import leaves the run that was there."""
    (tmp_path / "a.arpa").write_text(spelt(small_model(2, 1), 2))
    run = imported(tmp_path / "a.arpa", tmp_path / "run")
    with pytest.raises(UsageError, match="--overwrite"):
        write_arpa(run, tmp_path / "a.arpa")
    with pytest.raises(UsageError, match="--overwrite"):
        imported(tmp_path / "a.arpa", tmp_path / "run")
    (tmp_path / "bad.arpa").write_text("\\data\\\n")
    with pytest.raises(ModelError):
        read_arpa(
            tmp_path / "bad.arpa", tmp_path / "run", overwrite=True, max_expansion=0, options=ArpaOptions()
        )
    assert_same_table(run, runs.load_run(tmp_path / "run"))
    assert {path.name for path in tmp_path.iterdir()} == {"a.arpa", "bad.arpa", "run"}


def test_damaged_tables_are_not_written(tmp_path: Path) -> None:
    """A link out of the table, an unknown word or NaN is an error, and leaves no file."""
    (tmp_path / "a.arpa").write_text(spelt(small_model(3, 1), 3))
    imported(tmp_path / "a.arpa", tmp_path / "run")
    for name, place, value in (
        ("words", -1, 99),
        ("words", 7, -1),
        ("children", slice(None), 0),
        ("backoffs", 3, np.nan),
        ("log_probs", 8, np.nan),
    ):
        run = runs.load_run(tmp_path / "run")
        array = np.array(getattr(run.model.table, name))
        array[place] = value
        setattr(run.model.table, name, array)
        with pytest.raises(ModelError):
            write_arpa(run, tmp_path / "b.arpa")
        assert {path.name for path in tmp_path.iterdir()} == {"a.arpa", "run"}


@pytest.mark.parametrize("order", [3, 5])
def test_reference_scores(shared: Path, tmp_path: Path, order: int) -> None:
    """KenLM's log-probability of every token of a text, from the ARPA file that lmplz made."""
    folder = shared / "reference" / "kenlm"
    run = imported(folder / f"ts.o{order}.arpa.xz", tmp_path / "run")
    with lzma.open(folder / f"ts.o{order}.scores.txt.xz", "rt", encoding="utf-8") as file:
        fields = [field.split(" ") for line in file for field in line.rstrip("\n").split("\t")]
    wanted = [float(field[2]) for field in fields if len(field) == 3 and "=" in field[0]]
    lines = (folder / "ts.test.txt").read_text(encoding="utf-8").splitlines()
    found = np.concatenate([scores(run, line) for line in lines])
    assert len(found) == len(wanted) == 21_893
    assert np.abs(found - wanted).max() < 2e-6


@pytest.mark.parametrize("name", ["test", "test_nounk", "toy0", "toy1"])
def test_kenlm_reads_what_is_written(shared: Path, tmp_path: Path, name: str) -> None:
    """KenLM's own test files, through us and back: its scores of the original and of our copy are equal."""
    kenlm = pytest.importorskip("kenlm")
    source, copy = shared / "data" / "kenlm_arpa" / f"{name}.arpa", tmp_path / "copy.arpa"
    run = imported(source, tmp_path / "run")
    write_arpa(run, copy)
    theirs, ours = (kenlm.Model(str(path)) for path in (source, copy))
    chance = random.Random(1)
    words = [
        "looking",
        "on",
        "a",
        "little",
        "more",
        "loin",
        "also",
        "would",
        "consider",
        "higher",
        ".",
        "b",
        "foo",
    ]
    for _ in range(200):
        line = " ".join(chance.choices(words, k=chance.randint(0, 7)))
        wanted = [score for score, _, _ in theirs.full_scores(line)]
        assert [score for score, _, _ in ours.full_scores(line)] == pytest.approx(wanted, abs=1e-6)
        assert scores(run, line).tolist() == pytest.approx(wanted, rel=1e-6, abs=2e-6)


@pytest.mark.parametrize("order", [2, 6])
def test_kenlm_scores_a_trained_model(tmp_path: Path, order: int) -> None:
    """An exported model has the same scores in KenLM, unknown words and blank lines included."""
    kenlm = pytest.importorskip("kenlm")
    chance = random.Random(order)
    lines = [
        " ".join(chance.choices("abcdefgh", weights=range(1, 9), k=chance.randint(0, 9))) for _ in range(300)
    ]
    (tmp_path / "text.txt").write_text("\n".join(lines) + "\n")
    line = [
        "train",
        str(tmp_path / "text.txt"),
        "--model",
        "ngram",
        "--order",
        str(order),
        "--out",
        str(tmp_path / "run"),
    ]
    assert CliRunner().invoke(cli, line).exit_code == 0
    done = CliRunner().invoke(
        cli, ["export", str(tmp_path / "run"), str(tmp_path / "a.arpa.gz"), "--to", "arpa"]
    )
    assert done.exit_code == 0, done.stderr
    (tmp_path / "a.arpa").write_bytes(gzip.decompress((tmp_path / "a.arpa.gz").read_bytes()))
    theirs, run = kenlm.Model(str(tmp_path / "a.arpa")), runs.load_run(tmp_path / "run")
    for sample in [*lines[:100], "a b x c", ""]:
        wanted = [score for score, _, _ in theirs.full_scores(sample)]
        assert np.abs(scores(run, sample) - wanted).max() < 2e-6


@pytest.fixture(autouse=True)
def hear(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
