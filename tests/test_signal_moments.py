"""SIGINT and SIGTERM at moments spread over a whole command: the exit code, and nothing of an unfinished file."""

import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

import lmkit

pytestmark = pytest.mark.slow
COMMAND = [sys.executable, "-c", "from lmkit.cli import main; print(flush=True); main()"]
MOMENTS = 15
LINES = {
    "count": "count text.txt --order 3 --out new.tsv",
    "train-ngram": "train text.txt --model ngram --order 4 --out new",
    "compare": "compare kn gru text.txt",
    "eval": "eval gru text.txt --cache 50",
    "surprisal": "surprisal gru text.txt --out new.tsv",
    "fill": "fill kn 'the cat saw the ____ number' --html new.html",
    "embed-safetensors": "embed gru text.txt --out new.safetensors",
    "embed-parquet": "embed gru text.txt --out new.parquet",
    "embed-hdf5": "embed gru text.txt --out new.hdf5",
    "classify": "classify table.csv --hidden-size 8 --threads 1 --out new",
    "interpolate": "interpolate gru text.txt --cache 10 --out new",
    "average": "average gru gru --out new",
    "export-arpa": "export kn new.arpa --to arpa",
    "export-archive": "export gru new.tar.gz --to archive",
    "import": "import arpa kn.arpa --out new",
    "generate": "generate gru --max-tokens 2000 --seed 1",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, a table, a neural run and a run of counts."""
    folder = tmp_path_factory.mktemp("signals")
    lines = [
        f"the {a} saw the {b} number {n}" for n in range(40) for a in ("cat", "dog") for b in ("mat", "log")
    ]
    (folder / "text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = [f"{line},{'cat' in line}" for line in lines]
    (folder / "table.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    lmkit.train(folder / "text.txt", model="ngram", order=4, min_count=1, out=folder / "kn")
    lmkit.train(
        folder / "text.txt",
        model="gru",
        hidden_size=16,
        tokenizer="word",
        max_steps=3,
        threads=1,
        out=folder / "gru",
    )
    process = run(folder, "export kn kn.arpa --to arpa")
    _, messages = process.communicate(timeout=300)
    assert process.returncode == 0, messages
    return folder


def run(folder: Path, line: str) -> "subprocess.Popen[str]":
    """The process of a command; Python and lmkit's command line have started in it."""
    process = subprocess.Popen(
        [*COMMAND, *shlex.split(line)], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("name", LINES)
def test_a_signal_at_any_moment_leaves_nothing_unfinished(folder: Path, name: str) -> None:
    """The command ends by the signal with its code and one line, or it has finished; it leaves no part of a file."""
    before = sorted(folder.iterdir())
    process = run(folder, LINES[name])
    started = time.monotonic()
    _, messages = process.communicate(timeout=300)
    assert process.returncode == 0, messages
    seconds = time.monotonic() - started
    made = sorted(set(folder.iterdir()) - set(before))
    stopped = 0
    for moment in range(MOMENTS):
        remove(made)
        number, code = [(signal.SIGINT, 130), (signal.SIGTERM, 143)][moment % 2]
        process = run(folder, LINES[name])
        time.sleep(seconds * (moment + 1) / (MOMENTS + 1))
        process.send_signal(number)
        _, messages = process.communicate(timeout=300)
        where = f"{number.name} at moment {moment} of {MOMENTS}: exit code {process.returncode}\n{messages}"
        assert "Traceback" not in messages, where
        # When it is done Python leaves signals to the system; a shell shows the same codes.
        assert process.returncode in (0, code, -number), where
        after = sorted(folder.iterdir())
        if process.returncode in (0, -number):
            assert after == sorted([*before, *made]), where
        elif name == "classify":
            assert set(after) <= {*before, *made}, where
        else:
            stopped += 1
            assert after == before, where
    remove(made)
    print(f"{name}: stopped {stopped} of {MOMENTS} times, {seconds:.1f} s")
