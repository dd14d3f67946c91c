"""The command: what it prints, and how it ends."""

import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lmkit.cli import cli
from lmkit.cli import serve as command
from lmkit.serve import security

pytest.importorskip("starlette")
COMMAND = [sys.executable, "-m", "lmkit", "serve"]


@pytest.fixture
def started() -> Iterator[Callable[..., tuple[Any, str, str]]]:
    """started(*arguments): the process, its address and its messages until it listens."""
    processes = []

    def start(*arguments: str) -> tuple[Any, str, str]:
        process = subprocess.Popen(
            [*COMMAND, *arguments, "--port", "0", "--device", "cpu"],
            stderr=subprocess.PIPE, text=True, env={**os.environ, "LMKIT_SERVE_TOKEN": ""},
        )  # fmt: skip
        processes.append(process)
        assert process.stderr is not None
        messages = ""
        for line in process.stderr:
            messages += line
            if found := re.search(r"listening at (http://\S+)", line):
                return process, found[1], messages
        raise AssertionError(messages)

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_a_signal_ends_streams_with_an_error(
    started: Callable[..., tuple[Any, str, str]], served_runs: dict[str, Path]
) -> None:
    """The command says what it serves and where; after SIGTERM, a stream's last chunk is an error, and the code 143."""
    run = str(served_runs["bytes"])
    process, address, messages = started(run, "--name", f"{run}=small", "--max-tokens", "100000000")
    assert "small: gru, byte tokens; completions" in messages
    with urllib.request.urlopen(f"{address}/health", timeout=120) as answer:
        assert (answer.status, answer.read()) == (200, b"")
    body = b'{"prompt": "a", "stream": true, "max_tokens": 100000000, "ignore_eos": true}'
    with urllib.request.urlopen(f"{address}/v1/completions", body, timeout=120) as answer:
        assert b'"model": "small"' in answer.readline()
        threading.Timer(0.2, process.send_signal, [signal.SIGTERM]).start()
        rest = answer.read().decode()
    assert "the server is stopping" in rest.strip().rpartition("data: ")[2]
    assert process.wait(120) == 143


@pytest.mark.usefixtures("quiet_messages")
def test_refusals(served_runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing extra, a taken port and a wrong --name are messages that say what to do."""
    run = str(served_runs["ngram"])
    for arguments, words in (
        (["--name", "x"], "give RUN=ALIAS"),
        (["--name", "x=y"], "x is not among the runs"),
        (["--token", "é"], "printable ASCII"),
        (["--host", "192.0.2.1"], "cannot listen there"),
    ):
        result = CliRunner().invoke(cli, ["serve", run, *arguments])
        assert result.exit_code == 2
        assert words in result.stderr
    monkeypatch.setitem(sys.modules, "starlette", None)
    result = CliRunner().invoke(cli, ["serve", run])
    assert result.exit_code == 2
    assert "[serve]" in result.stderr


def test_local_hosts_are_the_same() -> None:
    """The command, which must not import the server to print its help, knows the same local names."""
    assert command.LOCAL_HOSTS == security.LOCAL
