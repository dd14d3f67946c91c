"""`lmkit measure`, which `lmkit compare` runs for each run: an order as JSON on stdin, figures as JSON on stdout."""

import contextlib
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import click

from lmkit import strict_json


@click.command(hidden=True)
def command() -> None:
    """Score a run as the order on standard input says; for lmkit compare alone."""
    order = json.load(sys.stdin)
    # Stdout is for the answer, whatever a plugin prints.
    with contextlib.redirect_stdout(sys.stderr):
        answer = measured(order)
    click.echo(strict_json.report(answer))


def measured(order: dict[str, Any]) -> dict[str, Any]:
    """The scores by direction, and what they took."""
    from lmkit import api
    from lmkit.corpus.options import DataOptions
    from lmkit.corpus.readers import Text

    text = Text(order["texts"], DataOptions(**order["options"]))
    model = api.load(Path(order["run"]), **order["load"])
    # Kernels are loaded with the first line; what would be said of that line is not about the text.
    scoring = logging.getLogger("lmkit.scoring")
    scoring.setLevel(logging.CRITICAL)
    for name in model.directions:
        model.score_text(Text.from_lines(["a"]), direction=name)
    scoring.setLevel(logging.NOTSET)
    begun = time.perf_counter()
    independent = order["independent"]
    scores = {
        name: model.score_text(text, direction=name, independent=independent) for name in model.directions
    }
    seconds = time.perf_counter() - begun
    tokens = sum(score.tokens for score in scores.values())
    return {
        "parameters": model.run.model.parameter_count(),
        "tokens_per_second": tokens / seconds,
        "peak_memory": peak_memory(),
        "scores": {name: score.to_json() | {"notices": score.notices} for name, score in scores.items()},
    }


def peak_memory() -> int | None:
    """The most bytes that this process has held so far; None where the system does not say."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Unlike ru_maxrss on Linux, this does not begin with what the parent held.
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        if "VmHWM" in fields:
            return int(fields["VmHWM"].split()[0]) * 1024
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
