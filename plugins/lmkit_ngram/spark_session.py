"""Start Spark for one command, and say in one line what it needs or why it failed."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lmkit.errors import DataError, LmkitError, UsageError, reason_of
from lmkit.plugins import install_hint
from lmkit_ngram.spark_tasks import OTHER_LMKIT, PIECES

JAVA = 17
"""The oldest Java that Spark runs on."""
INSTALL_JAVA = f"apt-get install openjdk-{JAVA}-jre-headless"
LOCAL = re.compile(r"local(\[(\d+|\*)(\s*,\s*\d+)?\]|-cluster\[\s*\d+\s*,\s*\d+\s*,\s*\d+\s*\])?")
EXAMPLES = "local[4], spark://HOST:7077, yarn or k8s://https://HOST:443"
WAIT = 5.0
"""Seconds that a master has to answer."""
WORKERS_PYTHON = (
    "install the lmkit of this machine on every machine of the cluster, or send it as an archive, and name its Python "
    "in PYSPARK_PYTHON (docs/scale.md)"
)


def check(master: str | None) -> None:
    """Raise UsageError if pyspark, Java or a master is missing."""
    if master is None:
        raise UsageError(f"--engine spark needs --spark-master, for example {EXAMPLES}")
    _check_master(master)
    if find_spec("pyspark") is None:
        raise UsageError(f"--engine spark needs pyspark, which is not installed: {install_hint('spark')}")
    _check_java()


def is_local(master: str) -> bool:
    """Whether all of Spark's processes are on this machine."""
    return LOCAL.fullmatch(master) is not None


def _check_master(master: str) -> None:
    if is_local(master) or master == "yarn":
        return
    scheme, found, places = master.partition("://")
    if not found or not scheme or not places:
        raise UsageError(
            f"--spark-master '{master}' is not the URL of a Spark master: give, for example, {EXAMPLES}"
        )
    if scheme != "spark":
        return  # of another cluster manager, which Spark knows
    reason = ""
    for place in places.split(","):
        host, _, port = place.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise UsageError(f"--spark-master '{master}' names no port: give, for example, spark://HOST:7077")
        try:
            socket.create_connection((host.strip("[]"), int(port)), WAIT).close()
            return
        except OSError as error:
            reason = reason_of(error)
    # Spark itself would try for a minute, then print several screens.
    raise UsageError(
        f"--spark-master '{master}': no master answers there ({reason}); start it, or correct the URL"
    )


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    if java is None:
        raise UsageError(f"--engine spark needs Java {JAVA} or later, which is not installed: {INSTALL_JAVA}")
    try:
        output = subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError) as error:
        where = f"{java}, which JAVA_HOME names," if home else java
        raise UsageError(
            f"--engine spark needs Java {JAVA} or later, but {where} does not run ({reason_of(error)}): {INSTALL_JAVA}"
        ) from None
    version = re.search(r'version "(?:1\.)?(\d+)', output)
    if version is not None and int(version[1]) < JAVA:
        raise UsageError(
            f"--engine spark needs Java {JAVA} or later, but {java} is Java {version[1]}: {INSTALL_JAVA}, and set "
            "JAVA_HOME if several are installed"
        )


@contextlib.contextmanager
def spark_session(master: str, logs: Path) -> Iterator[Any]:
    """A session of Spark, stopped at the end unless it was running before; errors of Spark are one line.

    logs: a file for what Java prints.
    """
    failures = import_module("pyspark.errors").PySparkException, import_module("py4j.protocol").Py4JError
    running: Any = import_module("pyspark.sql").SparkSession.getActiveSession()
    if running is not None and running.sparkContext.master != master:
        raise UsageError(
            f"Spark runs in this process already, with the master {running.sparkContext.master}: stop it, or give this "
            "as --spark-master"
        )
    session = None
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)  # Spark installs one
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about pandas, which is not used here
            session = running or _started(master, logs)
            yield session
    except failures as error:
        raise explained(error, _last_line(logs)) from error
    finally:
        if session is not None and running is None:
            with contextlib.suppress(Exception):  # Java may be gone
                session.stop()
        if main and handler is not None:
            signal.signal(signal.SIGINT, handler)


def _started(master: str, logs: Path) -> Any:
    # Spark takes "python3" by default, which may be one without lmkit.
    if is_local(master) or "PYSPARK_PYTHON" not in os.environ:
        os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = import_module("pyspark.sql").SparkSession.builder
    settings = {
        "spark.master": master,
        "spark.app.name": "lmkit",
        "spark.log.level": "ERROR",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.execution.arrow.maxRecordsPerBatch": PIECES,
        "spark.sql.files.maxPartitionBytes": 16 << 20,
    }
    if is_local(master):
        settings["spark.ui.enabled"] = "false"
    for name, value in settings.items():
        builder = builder.config(name, str(value))
    with _errors_to(logs):
        return builder.getOrCreate()


@contextlib.contextmanager
def _errors_to(path: Path) -> Iterator[None]:
    """Programs that are started in the block write their standard error output to a file."""
    kept = os.dup(2)
    try:
        with path.open("wb") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def explained(error: Exception, last_line: str = "") -> LmkitError:
    """The error of lmkit for an error of Spark."""
    text = str(error)
    if found := re.search(rf"{OTHER_LMKIT}: (.*)", text):
        return UsageError(f"{found[1]}; {WORKERS_PYTHON}")
    if found := re.search(r"No module named '([\w.]+)'", text):
        return UsageError(f"the Python of Spark's workers has no {found[1].split('.')[0]}: {WORKERS_PYTHON}")
    if found := re.search(r'Cannot run program "([^"]+)"', text):
        return UsageError(f"Spark's workers have no {found[1]}: {WORKERS_PYTHON}")
    if "PYTHON_VERSION_MISMATCH" in text:
        return UsageError(
            f"the Python of Spark's workers is not Python {sys.version_info[0]}.{sys.version_info[1]} as here: "
            f"{WORKERS_PYTHON}"
        )
    if "FileNotFoundException" in text or "FAILED_READ_FILE" in text or "PATH_NOT_FOUND" in text:
        return UsageError(
            "Spark's workers cannot read the file with the text in the scratch folder: give one with --scratch that "
            "every machine of the cluster has under the same path"
        )
    if "JAVA_GATEWAY_EXITED" in text and last_line:
        return UsageError(f"Java ended before Spark was there: {last_line}")
    return DataError(f"Spark failed: {_reason(error)}; the logs of its workers say more")


def _reason(error: Exception) -> str:
    """The last line of the traceback of a worker in Python; else the first line, of Java's own exception if known."""
    text = str(error)
    if "Traceback (most recent call last)" in text:
        trace = text.rpartition("Traceback (most recent call last)")[2].strip().splitlines()[1:]
        for line in trace:
            if line and not line[0].isspace():
                return line
    java = getattr(error, "java_exception", error)
    return (str(java).strip() or type(error).__name__).splitlines()[0]


def _last_line(logs: Path) -> str:
    try:
        lines = logs.read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip() if lines else ""
