"""What the system refuses, at the prompt: space, memory, permission, a home; one line, a code, nothing left behind."""

import errno
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import lmkit
from lmkit.cli import cli
from lmkit.cli.stop import Stop

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="limits as Unix has them"),
    pytest.mark.usefixtures("quiet_messages"),
]

TEXT = "".join(f"the cat {i} sat on the mat {i * 7 % 90}\n" for i in range(400))
TRAIN = ["train", "text.txt", "--tokenizer", "word", "--min-count", "1", "--threads", "1", "--out", "new"]
NGRAM = [*TRAIN, "--model", "ngram", "--order", "3"]
SMALL = "--hidden-size 8 --max-steps 4 --batch-size 2 --bptt 8 --save-every 2"
GRU = [*TRAIN, "--model", "gru", *SMALL.split()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and two runs of it, a GRU and an n-gram model; the tokens of the text are cached."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(TEXT)
    small = {"tokenizer": "word", "min_count": 1, "threads": 1}
    lmkit.train(folder / "text.txt", out=folder / "ngram", model="ngram", order=3, **small)
    limits = {"max_steps": 2, "batch_size": 2, "bptt": 8}
    lmkit.train(folder / "text.txt", out=folder / "gru", model="gru", hidden_size=8, **small, **limits)
    return folder


@pytest.fixture
def here(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with the text and links to the runs."""
    (tmp_path / "text.txt").write_text(TEXT)
    for name in ("gru", "ngram"):
        (tmp_path / name).symlink_to(runs / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*line: str) -> Result:
    return CliRunner().invoke(cli, line)


def refused(code: int, result: Result, *words: str) -> None:
    """One error line with these words and this code, and nothing in the working directory that was not there."""
    last = result.stderr.splitlines()[-1]
    assert result.exit_code == code, result.output
    assert last.startswith("error: ")
    assert "Traceback" not in result.stderr
    assert "internal" not in last
    for word in words:
        assert word in last
    assert sorted(path.name for path in Path().iterdir()) == ["gru", "ngram", "text.txt"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Inside the block, a file cannot grow past `size` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("size", "code", "line"),
    [
        (100, 3, NGRAM),  # the recipe
        (8000, 5, NGRAM),  # an array
        (100, 3, GRU),
        (8000, 5, GRU),  # the weights and every checkpoint
        (1000, 3, ["surprisal", "gru", "text.txt", "--out", "new.tsv"]),
        (1000, 3, ["embed", "gru", "text.txt", "--out", "new.safetensors"]),
        (1000, 3, ["export", "ngram", "new.arpa", "--to", "arpa"]),
        (1000, 3, ["export", "ngram", "new.zip", "--to", "archive"]),
        (1000, 3, ["average", "gru", "gru", "--out", "new"]),
        (1000, 3, ["interpolate", "gru", "text.txt", "--cache", "10", "--out", "new"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else str(value),
)
def test_a_full_disk(here: Path, size: int, code: int, line: list[str]) -> None:
    """Where a file cannot grow, the command says which place has no space, and leaves no part of it."""
    with largest_file(size):
        result = command(*line)
    refused(code, result, "new", "cannot be written (File too large); free some space")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "not enough memory: close other programs"),
        (lambda: np.empty(1 << 45), "(256 TiB asked for at once)"),
        (lambda: torch.empty(1 << 45), "(131,072 GiB asked for at once)"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "not enough memory"),
        (RuntimeError("could not create a primitive"), "not enough memory"),
        (RuntimeError("can't start new thread"), "not enough memory"),
    ],
    ids=["python", "numpy", "torch", "system", "onednn", "thread"],
)
def test_memory_that_the_system_refuses(
    here: Path, monkeypatch: pytest.MonkeyPatch, error: object, words: str
) -> None:
    """The size, if it is known, and what to lower; exit code 3, as for a text that is too large."""

    def refuse(*_: object, **__: object) -> None:
        if isinstance(error, BaseException):
            raise error
        assert callable(error)
        error()

    monkeypatch.setattr("lmkit.training.run.store_corpus", refuse)
    refused(3, command(*GRU), words, "a smaller --batch-size, --bptt or model; for n-grams --memory")


@pytest.mark.parametrize(
    "line",
    [
        NGRAM,
        ["surprisal", "gru", "text.txt", "--out", "new.tsv"],
        ["embed", "gru", "text.txt", "--out", "new.safetensors"],
        ["embed", "gru", "text.txt", "--out", "new.hdf5"],
        ["count", "text.txt", "--order", "2", "--out", "new.tsv"],
        ["export", "ngram", "new.arpa", "--to", "arpa"],
        ["average", "gru", "gru", "--out", "new"],
        ["interpolate", "gru", "text.txt", "--cache", "10", "--out", "new"],
    ],
    ids=lambda line: f"{line[0]}-{line[-1]}",
)
@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_something_is_written(
    here: Path, monkeypatch: pytest.MonkeyPatch, line: list[str], signal_: signal.Signals, code: int
) -> None:
    """At the last moment, before the file or the run has its name: the exit code, and nothing is left."""
    before = sorted(here.iterdir())
    monkeypatch.setattr(os, "fsync", lambda _: signal.raise_signal(signal_))
    old = signal.signal(signal.SIGTERM, Stop())
    try:
        result = command(*line)
    finally:
        signal.signal(signal.SIGTERM, old)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.stderr
    assert code == 143 or result.stderr.splitlines()[-1] == "error: interrupted"
    assert sorted(here.iterdir()) == before


def test_a_signal_while_text_is_scored(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends a command that only prints: one line, no figures."""
    monkeypatch.setattr("lmkit.scoring.score.LineCoder", lambda _: signal.raise_signal(signal.SIGINT))
    result = command("eval", "gru", "text.txt")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr.split() == ["error:", "interrupted"]


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, ["error:", "interrupted"]), (signal.SIGTERM, 143, [])]
)
def test_a_signal_that_code_in_c_makes_an_error(
    here: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int, said: list[str]
) -> None:
    """torch makes what a handler raises within its constructors a ValueError; it is the end by the signal."""

    def score(_: object) -> None:
        try:
            signal.raise_signal(number)
        except BaseException:
            raise ValueError("could not determine the shape") from None

    monkeypatch.setattr("lmkit.scoring.score.LineCoder", score)
    stop = Stop()
    before = {one: signal.signal(one, stop) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        result = command("eval", "gru", "text.txt")
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert (result.exit_code, result.stdout, result.stderr.split()) == (code, "", said)


@pytest.mark.parametrize(
    "line",
    [
        [*NGRAM[:-4], "--out", "text.txt/new"],
        ["average", "gru", "gru", "--out", "text.txt/new"],
        ["surprisal", "gru", "text.txt", "--out", "text.txt/new.tsv"],
    ],
    ids=lambda line: line[0],
)
def test_places_where_nothing_can_be_written(here: Path, line: list[str]) -> None:
    """A folder that refuses files is exit code 2, before the work if it can be known."""
    refused(2, command(*line), "text.txt/new", "cannot be written")


@pytest.mark.parametrize("answer", [RuntimeError("no home"), Path("~/.cache/lmkit")], ids=["newer", "older"])
def test_a_user_without_a_home(
    here: Path, monkeypatch: pytest.MonkeyPatch, answer: RuntimeError | Path
) -> None:
    """As in a container with an unknown user: a warning that tokens are not cached, and no folder called ~."""

    def cache(_: str) -> Path:
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    monkeypatch.setattr("platformdirs.user_cache_path", cache)
    result = command(*GRU)
    assert result.exit_code == 0, result.output
    assert "the system knows no home of this user (set XDG_CACHE_HOME)" in result.stderr
    assert sorted(path.name for path in here.iterdir()) == ["gru", "new", "ngram", "text.txt"]


def test_line_ends_in_a_path(here: Path) -> None:
    """A path stays in its line of the message."""
    (here / "a\nerror: b.txt").write_bytes(b"\xff")
    result = command("eval", "gru", "a\nerror: b.txt")
    assert (result.exit_code, len(result.stderr.splitlines())) == (3, 1)
    assert "a\\nerror: b.txt: line 1" in result.stderr
