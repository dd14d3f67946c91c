"""Compare any set of runs on one text: scores, speed and memory, each run in a separate process."""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lmkit import plugins, strict_json
from lmkit.contracts import Progress
from lmkit.corpus.options import STDIN, DataOptions
from lmkit.corpus.readers import Text
from lmkit.errors import (
    CheckpointError,
    DataError,
    LmkitError,
    ModelError,
    PluginError,
    UsageError,
)
from lmkit.evaluation.compare import Comparison, facts, ranked
from lmkit.notes import NOTE
from lmkit.options import resolve
from lmkit.part_files import to_send
from lmkit.run_paths import labels
from lmkit.studies.inputs import Paths, path_list, usual_progress

LMKIT = (sys.executable, "-P", "-c", "from lmkit.cli import main; main()")
"""The program; -P prevents imports from the working directory."""

LEVELS = {"note": NOTE, "warning": logging.WARNING}
"""The level of a message of the program by its label."""

ERRORS = (UsageError, DataError, ModelError, CheckpointError, PluginError)

log = logging.getLogger(__name__)


def compare(
    runs: Paths,
    text: Paths,
    *,
    independent: bool = False,
    device: str = "auto",
    allow_nonfinite: bool = False,
    split_unknown: str = "auto",
    cache: int | Mapping[str, Any] | None = None,
    dynamic: bool | Mapping[str, Any] | None = None,
    progress: Progress = usual_progress,
    **data: Any,
) -> Comparison:
    """Score runs on a text, and rank them by bits per byte.

    runs, text: paths; data: options of reading the text. cache, dynamic: as in `lmkit.load`. Runs are scored one after
    another, each in a separate process, to measure its speed and peak memory. A bidirectional encoder is scored as
    its two causal models. Raises the error of the first run that cannot be scored.
    """
    texts, options = path_list(text), resolve(DataOptions, data, "data")
    if STDIN in texts:
        raise UsageError(
            "compare reads its text once per run, but standard input can be read only once; give a file"
        )
    Text(texts, options)  # reports unreadable text at once
    named = labels(map(Path, path_list(runs)))
    known = {label: facts(run) for label, run in named.items()}
    rows: list[dict[str, Any]] = []
    for label, run in progress(named.items(), total=len(named), label="comparing"):
        order = {
            "run": str(run),
            "code": to_send(),
            "texts": texts,
            "options": asdict(options),
            "load": {
                "device": device,
                "allow_nonfinite": allow_nonfinite,
                "split_unknown": split_unknown,
                "cache": cache,
                "dynamic": dynamic,
            },
            "independent": independent,
        }
        rows += _measured(label if len(named) > 1 else "", label, order, known[label])
    return ranked(rows)


def _measured(
    about: str, label: str, order: Mapping[str, Any], facts: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The figures of a run, one row per direction, from `lmkit measure`."""
    answer = json.loads(_run(order, about))
    scores = answer.pop("scores")
    return [
        {
            "run": label if len(scores) == 1 else f"{label} {direction}",
            "direction": direction,
            **facts,
            **answer,
            **score,
        }
        for direction, score in scores.items()
    ]


def _run(order: Mapping[str, Any], about: str) -> str:
    """The answer of `lmkit measure` to an order; its messages are logged here, its error is raised here."""
    child = subprocess.Popen(
        [*LMKIT, *_flags(), "measure"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        encoding="utf-8", env={**os.environ, "PYTHONIOENCODING": "utf-8:replace"},
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    errors: list[str] = []
    relay = threading.Thread(target=_relay, args=(child.stderr, about, errors))
    try:
        relay.start()
        with contextlib.suppress(BrokenPipeError):  # it ended before it read; see its exit code
            child.stdin.write(strict_json.report(order))
            child.stdin.close()
        output = child.stdout.read()
        relay.join()
        code = child.wait()
    except BaseException:
        child.kill()
        raise
    if code < 0:
        raise ModelError(f"{order['run']}: scoring it was killed by signal {-code}; perhaps memory ran out")
    if code:
        kind = next((error for error in ERRORS if error.exit_code == code), LmkitError)
        raise kind("\n".join(errors) or f"{order['run']}: scoring it ended with exit code {code}")
    return output


def _flags() -> list[str]:
    """The flags of this process for its child."""
    return [
        "--debug",  # a traceback is a detail, which is logged as one
        *([] if plugins.third_party_is_used() else ["--no-plugins"]),
        *(["--verbose"] if log.isEnabledFor(logging.INFO) else []),
    ]


def _relay(lines: Iterable[str], about: str, errors: list[str]) -> None:
    """Log the messages of a child with the label of its run; collect errors."""
    for line in lines:
        label, colon, rest = line.rstrip().partition(": ")
        if colon and label == LmkitError.label:
            errors.append(rest)
        elif colon and label in LEVELS:
            log.log(LEVELS[label], "%s", rest, extra={"about": about})
        elif line.strip():
            log.info("%s", line.rstrip())
