"""A model that Spark counts is the one that is built in memory, bit by bit, whatever happens to its workers."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lmkit_ngram import spark_engine, spark_session
from lmkit_ngram.count import in_memory
from lmkit_ngram.estimate import estimate_model
from lmkit_ngram.options import NgramOptions
from lmkit_ngram.spark_engine import estimate_in_spark
from lmkit_ngram.spark_tasks import Count, Smooth, Split
from lmkit_ngram.table import ARRAYS

from lmkit.contracts import Vocabulary
from lmkit.corpus.store import TokenStore
from lmkit.errors import UsageError

pytestmark = pytest.mark.spark

EOS = 0
SIZE = 300
CLUSTER = "local-cluster[2,1,1024]"
try:
    spark_session.check(CLUSTER)
except UsageError as error:
    pytest.skip(str(error), allow_module_level=True)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two workers, each a process with one core."""
    with spark_session.spark_session(CLUSTER, tmp_path_factory.mktemp("spark") / "java.log") as session:
        yield session


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small texts have several blocks and parts."""
    monkeypatch.setattr(spark_engine, "BLOCK", 1000)
    monkeypatch.setattr(spark_engine, "LEAST", 500)


def corpus(*, skewed: bool = False) -> tuple[TokenStore, Vocabulary]:
    """A few thousand words with the frequencies of a text, and blank lines. skewed: one word in three the same."""
    rng = np.random.default_rng(0)
    lines = [rng.zipf(1.3, rng.integers(0, 12)) % (SIZE - 2) + 2 for _ in range(800)]
    if skewed:
        lines = [np.where(rng.random(len(line)) < 1 / 3, 2, line) for line in lines]
    vocabulary = Vocabulary(SIZE, EOS, 1, "small")
    return TokenStore.from_lines([np.array([*line, EOS], np.int32) for line in lines], vocabulary), vocabulary


def check(session: Any, folder: Path, options: NgramOptions, *, skewed: bool = False) -> None:
    """Assert that both engines give the same arrays."""
    store, vocabulary = corpus(skewed=skewed)
    wanted, _ = estimate_model(store, vocabulary, options)
    found = estimate_in_spark(
        store, vocabulary, options,
        session=session, folder=folder, progress=lambda items, **_: items, allocate=in_memory,
    )  # fmt: skip
    assert found.offsets.tolist() == wanted.offsets.tolist()
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), name)


@pytest.mark.parametrize(
    ("options", "skewed"),
    [
        (NgramOptions(order=5), False),
        (NgramOptions(order=5, prune="0 0 1"), True),
        (NgramOptions(order=3), True),
        (NgramOptions(order=2, prune="0 1", smoothing="witten-bell"), True),
        (NgramOptions(order=3, smoothing="kneser-ney"), False),
    ],
)
def test_spark_gives_the_model_of_memory(
    session: Any, tmp_path: Path, options: NgramOptions, skewed: bool
) -> None:
    """The same ids, links, probabilities and backoffs: pruned and not, and with a very frequent word."""
    check(session, tmp_path, options, skewed=skewed)


class Dying:
    """Kills the worker's Java process, once for each marker."""

    marker: Path

    def run(self, batches: Any) -> Any:
        try:
            self.marker.touch(exist_ok=False)
        except FileExistsError:
            return super().run(batches)  # pyright: ignore[reportAttributeAccessIssue]
        parent = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1]
        os.kill(int(parent), signal.SIGKILL)
        raise AssertionError("the process has ended")


@dataclass(frozen=True)
class DyingSplit(Dying, Split):
    pass


@dataclass(frozen=True)
class DyingCount(Dying, Count):
    pass


@dataclass(frozen=True)
class DyingSmooth(Dying, Smooth):
    pass


@pytest.mark.skipif(sys.platform != "linux", reason="finds the process in /proc")
def test_killed_workers_change_nothing(session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker dies while it splits, one while it counts, one while it smooths: the same bits."""
    module = sys.modules[__name__]
    import_module("pyspark.cloudpickle").register_pickle_by_value(module)
    markers = []
    for name in ("Split", "Count", "Smooth"):
        dying = getattr(module, f"Dying{name}")
        markers.append(tmp_path / f"killed-{name}")
        dying.marker = markers[-1]
        monkeypatch.setattr(spark_engine, name, dying)
    folder = tmp_path / "parts"
    folder.mkdir()
    check(session, folder, NgramOptions(order=3))
    assert all(marker.exists() for marker in markers)


def test_a_worker_without_a_package(session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the package and what to do; the session goes on."""
    (tmp_path / "only_here.py").write_text(
        "from lmkit_ngram.spark_tasks import Split\nclass Mine(Split): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(spark_engine, "Split", import_module("only_here").Mine)
    with (
        pytest.raises(
            UsageError, match=r"^the Python of Spark's workers has no only_here: install the lmkit of this"
        ),
        spark_session.spark_session(CLUSTER, tmp_path / "java.log"),
    ):
        check(session, tmp_path, NgramOptions(order=2))


def test_a_text_that_workers_cannot_see(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scratch folder of one machine is found out, and the line says so."""

    def lost(self: Any, text: Any, starts: np.ndarray) -> None:
        (tmp_path / "text.parquet").unlink()
        count(self, text, starts)

    count = spark_engine._Job.count
    monkeypatch.setattr(spark_engine._Job, "count", lost)
    with (
        pytest.raises(UsageError, match="give one with --scratch that every machine of the cluster has"),
        spark_session.spark_session(CLUSTER, tmp_path / "java.log"),
    ):
        check(session, tmp_path, NgramOptions(order=2))


def test_another_master_while_spark_runs(session: Any, tmp_path: Path) -> None:
    """A process has one Spark."""
    with (
        pytest.raises(UsageError, match=r"Spark runs in this process already, with the master local-cluster"),
        spark_session.spark_session("local[2]", tmp_path / "java.log"),
    ):
        pass


def test_the_command(tmp_path: Path) -> None:
    """The run has the files of a run without Spark, byte by byte; the scratch folder is empty, the output short."""
    rng = np.random.default_rng(1)
    text = tmp_path / "text.txt"
    text.write_text("\n".join(" ".join(f"w{i}" for i in rng.zipf(1.3, 9) % 90) for _ in range(300)) + "\n")
    scratch = tmp_path / "scratch"

    def train(out: str, *options: str) -> str:
        start = "import sys; from lmkit.cli import main; sys.argv[0] = 'lmkit'; sys.exit(main())"
        command = [
            sys.executable, "-c", start, "train", str(text), "--model", "ngram", "--order", "3", "--no-store-text",
            "--entropy-prune", "1e-6",
            "--out", str(tmp_path / out), *options,
        ]  # fmt: skip
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stderr

    train("memory")
    output = train("spark", "--engine", "spark", "--spark-master", "local[2]", "--scratch", str(scratch))
    for name in ARRAYS:
        wanted, found = (tmp_path / run / "ngram" / f"{name}.npy" for run in ("memory", "spark"))
        assert found.read_bytes() == wanted.read_bytes(), name
    assert list(scratch.iterdir()) == []
    assert "WARN" not in output
    assert "Warning" not in output
