"""What --engine spark lacks is one line that says what to do; these tests need neither Spark nor Java."""

import re
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lmkit_ngram import spark_session, spark_tasks
from lmkit_ngram.model import NgramModel
from lmkit_ngram.options import NgramOptions
from lmkit_ngram.spark_session import check, explained, is_local

import lmkit
from lmkit.errors import DataError, UsageError


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """java(version): pyspark is there, and this Java."""

    def install(version: str) -> Path:
        monkeypatch.setattr(spark_session, "find_spec", lambda name: name)
        program = tmp_path / "bin" / "java"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2020' >&2\n")
        program.chmod(0o755)
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
        return program

    return install


def test_without_pyspark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command exits with 2 before it reads the text, and says in one line what to install."""
    monkeypatch.setattr(spark_session, "find_spec", lambda _: None)
    (tmp_path / "a.txt").write_text("a b\n")
    with pytest.raises(UsageError) as raised:
        lmkit.train(
            tmp_path / "a.txt", out=tmp_path / "run", model="ngram", engine="spark", spark_master="local[2]"
        )
    assert raised.value.exit_code == 2
    assert re.fullmatch(
        r"--engine spark needs pyspark, which is not installed: pip install '.+\[spark\]'", str(raised.value)
    )
    assert not (tmp_path / "run").exists()


def test_without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Java, the command that installs it."""
    monkeypatch.setattr(spark_session, "find_spec", lambda name: name)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(
        UsageError, match="Java 17 or later, which is not installed: apt-get install openjdk-17"
    ):
        check("local[2]")


@pytest.mark.parametrize(("version", "number"), [("11.0.20", 11), ("1.8.0_392", 8)])
def test_an_old_java(java: Any, version: str, number: int) -> None:
    """Java 8 calls itself 1.8."""
    program = java(version)
    with pytest.raises(UsageError, match=rf"but {program} is Java {number}: apt-get install openjdk-17"):
        check("local[2]")


@pytest.mark.parametrize("version", ["17.0.15", "21", "25-ea"])
def test_a_java_that_suffices(java: Any, version: str) -> None:
    java(version)
    check("local[*]")


def test_a_java_home_without_java(java: Any) -> None:
    """JAVA_HOME goes before the search path, as in Spark's own scripts."""
    java("17").unlink()
    with pytest.raises(
        UsageError, match=r"which JAVA_HOME names, does not run \(No such file or directory\)"
    ):
        check("local")


@pytest.mark.parametrize(
    ("master", "message"),
    [
        (None, "--engine spark needs --spark-master, for example local"),
        ("locl[2]", r"--spark-master 'locl\[2\]' is not the URL of a Spark master: give, for example, local"),
        ("local[two]", "is not the URL of a Spark master"),
        ("local-cluster[2]", "is not the URL of a Spark master"),
        ("spark://", "is not the URL of a Spark master"),
        ("spark://node", "names no port: give, for example, spark://HOST:7077"),
        ("spark://node:port", "names no port"),
    ],
)
def test_bad_masters(master: str | None, message: str) -> None:
    """A master that cannot be one is refused before Java starts."""
    with pytest.raises(UsageError, match=message):
        check(master)


def test_a_master_that_does_not_answer() -> None:
    """Found in a moment, where Spark itself would try for a minute."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(
            UsageError, match=r"no master answers there \(Connection refused\); start it, or correct"
        ):
            check(f"spark://127.0.0.1:{port}")


def test_local_masters() -> None:
    """Their workers use the Python that runs lmkit."""
    assert all(map(is_local, ("local", "local[2]", "local[*]", "local[2,4]", "local-cluster[2,1,1024]")))
    assert not any(map(is_local, ("yarn", "spark://local:7077", "locals", "local[]")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "lmkit", "spark_master": "yarn"}, "--spark-master is for --engine spark"),
        ({"memory": "4G"}, "--memory is for one machine"),
        ({"smoothing": "mle"}, "cannot use --smoothing mle: use --smoothing modified-kneser-ney"),
        ({"order": 1}, "needs --order 2 or more"),
        ({"prune": "0 1 x"}, "--prune"),
    ],
)
def test_options_that_spark_cannot_use(options: dict[str, Any], message: str) -> None:
    """Each refusal says what to do instead."""
    with pytest.raises(UsageError, match=message):
        NgramModel.check_options(NgramOptions(**{"engine": "spark", **options}))


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (
            "An exception was thrown from the Python worker:\nTraceback (most recent call last):\n  File x\n"
            "ModuleNotFoundError: No module named 'lmkit_ngram'\n",
            UsageError,
            "the Python of Spark's workers has no lmkit_ngram: install the lmkit of this machine on every machine",
        ),
        (
            "Traceback (most recent call last):\nlmkit_ngram.spark_tasks.OtherLmkit: a worker of Spark has lmkit 0.1, "
            "not 0.2 as here\n",
            UsageError,
            "a worker of Spark has lmkit 0.1, not 0.2 as here; install the lmkit of this machine",
        ),
        ('java.io.IOException: Cannot run program "python3": error=2', UsageError, "workers have no python3: install"),
        ("[PYTHON_VERSION_MISMATCH] Python in worker ...", UsageError, r"is not Python 3\.\d+ as here"),
        ("[FAILED_READ_FILE.FILE_NOT_EXIST] file:///scratch", UsageError, "give one with --scratch that every machine"),
        (
            "Traceback (most recent call last):\n  File x\nMemoryError: 8 GB\n\nCaused by: java",
            DataError,
            "^Spark failed: MemoryError: 8 GB; the logs of its workers say more$",
        ),
        ("Job aborted\n\tat org.apache", DataError, "^Spark failed: Job aborted; the logs"),
    ],
)  # fmt: skip
def test_errors_of_spark_are_one_line(text: str, kind: type[Exception], message: str) -> None:
    """The reason, and what to do about those that a user can change."""
    error = explained(RuntimeError(text))
    assert type(error) is kind
    with pytest.raises(kind, match=message):
        raise error
    assert "\n" not in str(error)


def test_java_that_ends_at_once() -> None:
    """Its last words are the reason."""
    error = explained(RuntimeError("[JAVA_GATEWAY_EXITED] Java gateway process exited"), "Error: no memory")
    assert str(error) == "Java ended before Spark was there: Error: no memory"


def test_another_lmkit_on_a_worker() -> None:
    """Its numbers might differ, so it refuses to work."""
    with pytest.raises(spark_tasks.OtherLmkit, match=r"has lmkit .*, not 0 as here"):
        next(spark_tasks.Task("0").run(iter(())))


def test_arrays_travel_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays of any type and size arrive as they were, and can be written; batches have a bounded size."""
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(spark_tasks, "PIECE", 12)
    sent = {
        3: {"a": np.arange(10, dtype=np.int32), "b": np.arange(7, dtype=np.uint16), "none": np.empty(0, np.int32)},
        5: {"a": np.arange(3, dtype=np.float32)},
    }  # fmt: skip
    pieces = [piece for part, arrays in sent.items() for piece in spark_tasks.to_pieces(part, arrays)]
    batches = list(spark_tasks.to_batches(pieces))
    assert max(sum(map(len, batch["data"].to_pylist())) for batch in batches) < 24
    found = dict(spark_tasks.to_arrays(spark_tasks._values(iter(batches))))
    assert found.keys() == sent.keys()
    del sent[3]["none"]
    for part, arrays in sent.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[part][name], array, strict=True)
            assert found[part][name].flags.writeable
