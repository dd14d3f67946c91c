"""What goes wrong, at the prompt: the exit code, one line that names the file, and nothing left behind."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from lmkit.cli import cli

TEXT = "the cat sat on the mat\nand the dog lay by the door\n" * 40
LIMITS = "--hidden-size 8 --max-steps 6 --batch-size 2 --bptt 8 --save-every 2 --keep 2 --threads 1"
SMALL = [*LIMITS.split(), "--tokenizer", "word", "--min-count", "1"]
TRAIN = ["train", "{data}", "--out", "new", *SMALL]
pytestmark = pytest.mark.usefixtures("quiet_messages")

READERS = {
    "train": TRAIN,
    "eval": ["eval", "run", "{data}"],
    "surprisal": ["surprisal", "run", "{data}", "--out", "new"],
}
"""Each command that reads text, with the place of its name."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and a run."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    done = command("train", str(folder / "text.txt"), "--out", str(folder / "run"), *SMALL)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, which is the working directory."""
    shutil.copytree(trained, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def command(*line: str) -> Result:
    return CliRunner().invoke(cli, line)


def refused(code: int, *line: str, names: str = "", warnings: int = 0) -> str:
    """The one line of an error with this exit code; the folder is left as it was, and stdout empty."""
    before = sorted(map(str, Path().rglob("*")))
    result = command(*line)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    lines = result.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines if line.startswith(("error:", "warning:"))] == [
        *["warning"] * warnings,
        "error",
    ]
    assert lines[-1].startswith("error: ")
    assert names in lines[-1]
    assert sorted(map(str, Path().rglob("*"))) == before
    return lines[-1]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.txt.gz", gzip.compress(TEXT.encode())[:-20]),
        ("plain.txt.gz", TEXT.encode()),
        ("plain.txt.xz", TEXT.encode()),
        ("plain.txt.zst", TEXT.encode()),
        ("latin.txt", b"plain\ncaf\xe9 noir\n" * 9),
        ("nul.txt", b"one\ntw\0o\nthree\n"),
        ("empty.txt", b""),
        ("blank.txt", b" \n\n"),
        ("rows.jsonl", b'{"text": "fine"}\n{"text": 3}\n'),
        ("broken.jsonl", b'{"text": "fi'),
        ("table.parquet", b"PAR1"),
        ("absent.txt", None),
        ("nothing-*.txt", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_text(here: Path, reader: str, name: str, content: bytes | None) -> None:
    """Text that cannot be read is exit code 3 in every command that reads some."""
    if content is not None:
        (here / name).write_bytes(content)
    refused(3, *(word.format(data=name) for word in READERS[reader]), names=name)


def test_encoding_that_the_error_names(here: Path) -> None:
    """The encoding in the message is a flag that works."""
    (here / "latin.txt").write_bytes(b"plain\ncaf\xe9 noir\n" * 9)
    message = refused(3, *(word.format(data="latin.txt") for word in TRAIN), names="line 2 (byte 9)")
    assert "--encoding latin-1" in message
    assert command("eval", "run", "latin.txt", "--encoding", "latin-1").exit_code == 0


def test_bad_lines_can_be_skipped(here: Path) -> None:
    """--on-bad-line skip reads the rest, and a warning counts what was left out."""
    (here / "nul.txt").write_bytes(b"the cat\nth\0e\nthe dog\n" * 3)
    result = command("eval", "run", "nul.txt", "--on-bad-line", "skip", "--json")
    assert (result.exit_code, json.loads(result.stdout)["lines"]) == (0, 6)
    assert "note: nul.txt: 3 bad lines skipped; the first: nul.txt: line 2" in result.stderr


def test_escapes_in_a_text_stay_off_the_terminal(here: Path) -> None:
    """Neither the name of a file nor its contents can control the terminal."""
    (here / "a\x1b[31m.jsonl").write_bytes(b'{"\\u001b[2J": "x"}\n')
    assert refused(3, "eval", "run", "a\x1b[31m.jsonl", names=r"a\x1b[31m.jsonl").isprintable()


@pytest.mark.parametrize(
    ("other", "content"),
    [("crlf.txt", TEXT.replace("\n", "\r\n").encode()), ("mark.txt", b"\xef\xbb\xbf" + TEXT.encode())],
)
def test_line_ends_and_marks_change_no_model(here: Path, other: str, content: bytes) -> None:
    """CRLF and a byte-order mark give the very weights of plain text."""
    (here / other).write_bytes(content)
    assert command("train", other, "--out", "new", *SMALL).exit_code == 0
    for name in ("model.safetensors", "tokenizer/tokenizer.json"):
        assert (here / "new" / name).read_bytes() == (here / "run" / name).read_bytes()


def test_a_short_text(here: Path) -> None:
    """Too few tokens for a batch of windows are read in fewer, with a warning; too few for one are refused."""
    (here / "short.txt").write_text("the cat sat")
    result = command(*(word.format(data="short.txt") for word in TRAIN))
    assert result.exit_code == 0
    assert "it is read in 1" in result.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--hidden-size", "-3"], "--hidden-size"),
        (["--tokenizer", "sentencepiece", "--vocab-size", "5"], "at least"),
        (["--tokenizer", "sentencepiece", "--character-coverage", "2.0"], "--character-coverage"),
        (["--tokenizer", "sentencepiece", "--tokenizer.threads", "0"], "--tokenizer.threads"),
        (["--tokenizer", "wrod"], "did you mean 'word'?"),
        (["--model", "gruu"], "did you mean 'gru'?"),
        (["--out", "run"], "--overwrite"),
    ],
)
def test_what_cannot_be_asked_for(here: Path, flags: list[str], words: str) -> None:
    """A value out of its bounds or an unknown name is exit code 2, and nothing is begun."""
    line = ["train", "text.txt", "--out", "new", "--threads", "1", *flags]
    refused(2, *line, names=words)


def test_a_vocabulary_larger_than_the_text(here: Path) -> None:
    """It is made smaller, and a warning says so."""
    line = ["train", "text.txt", "--out", "new", *LIMITS.split(), "--tokenizer", "sentencepiece"]
    result = command(*line, "--vocab-size", "5000")
    assert result.exit_code == 0, result.output
    assert "note: vocab_size 5000 is more than the text allows: reduced to" in result.stderr


def test_a_comma_in_a_path(here: Path) -> None:
    """Sentencepiece splits paths at commas; lmkit does not."""
    (here / "a,b").mkdir()
    shutil.copy("text.txt", "a,b/text.txt")
    line = ["train", "a,b/text.txt", "--out", "a,b/run", *LIMITS.split(), "--tokenizer", "sentencepiece"]
    assert command(*line).exit_code == 0
    assert command("eval", "a,b/run", "a,b/text.txt").exit_code == 0


def pickle_instead(here: Path) -> str:
    torch.save({}, here / "model.pt")
    return "model.pt"


def flipped_byte(here: Path) -> str:
    flip(here / "run" / "model.safetensors")
    return "run"


def too_large(here: Path) -> str:
    return changed(here, lambda m: m["model"].update(hidden_size=10**12))


def deep(here: Path) -> str:
    (here / "run" / "lmkit.json").write_text("[" * 100_000)
    return "run"


def other_tokenizer(here: Path) -> str:
    return changed(here, lambda m: m["vocabulary"].update(fingerprint="0" * 64))


def no_run(here: Path) -> str:
    return "nowhere"


def changed(here: Path, change: Callable[[dict], None]) -> str:
    manifest = json.loads((here / "run" / "lmkit.json").read_text())
    change(manifest)
    (here / "run" / "lmkit.json").write_text(json.dumps(manifest))
    return "run"


@pytest.mark.parametrize("rest", [("eval", "text.txt"), ("generate",), ("surprisal", "text.txt")])
@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (pickle_instead, "model.pt"),
        (flipped_byte, "run/model.safetensors"),
        (too_large, "run/lmkit.json: model: hidden_size"),
        (deep, "run/lmkit.json"),
        (other_tokenizer, "run/tokenizer"),
        (no_run, "nowhere"),
    ],
)
def test_bad_models(here: Path, damage: Callable[[Path], str], names: str, rest: tuple[str, ...]) -> None:
    """A model that is damaged, or none, is exit code 4 in every command that loads one."""
    refused(4, rest[0], damage(here), *rest[1:], names=names)


def test_a_missing_plugin(here: Path) -> None:
    """A model of a plugin that is not installed is exit code 6, with the line that installs it."""

    def change(manifest: dict) -> None:
        manifest["model"]["cell"] = {"name": "some-cells:foo"}
        manifest["distributions"]["some-cells:foo"] = {"distribution": "some-cells", "version": "1.2"}

    refused(6, "eval", changed(here, change), "text.txt", names="pip install 'some-cells==1.2'")


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_nothing_to_resume(here: Path, name: str) -> None:
    """--resume of what is no run is exit code 5."""
    (here / "empty").mkdir()
    refused(5, "train", "--resume", name, names=name)


def test_resuming_something_else(here: Path) -> None:
    """Another architecture or another text is exit code 5, and each difference is listed."""
    message = refused(
        5, "train", "--resume", "run", "--hidden-size", "9", names="model.hidden_size was 8, now 9"
    )
    assert "Traceback" not in message


def test_damaged_checkpoints(here: Path) -> None:
    """The newest damaged: a warning, and the one before is taken. All damaged: exit code 5, no fresh start."""
    newest, older = sorted((here / "run" / "checkpoints").iterdir(), reverse=True)
    whole = (newest / "model.safetensors").read_bytes()
    flip(newest / "model.safetensors")
    result = command("train", "--resume", "run")
    assert result.exit_code == 0, result.output
    assert f"warning: run/checkpoints/{newest.name} is damaged" in result.stderr
    assert (newest / "model.safetensors").read_bytes() == whole
    for folder in (newest, older):
        flip(folder / "optimiser.safetensors")
    refused(5, "train", "--resume", "run", names="every checkpoint is damaged", warnings=2)


def test_a_damaged_checkpoint_does_not_crowd_out_a_whole_one(here: Path) -> None:
    """What is kept is the newest that are whole: a damaged one of a later step goes."""
    newest = max((here / "run" / "checkpoints").iterdir())
    flip(newest / "model.safetensors")
    line = ("train", "--resume", "run", "--keep", "1", "--save-every", "1", "--stop-after", "5")
    assert command(*line).exit_code == 0
    assert [folder.name for folder in (here / "run" / "checkpoints").iterdir()] == ["step-000000005"]
    assert command("train", "--resume", "run").exit_code == 0
