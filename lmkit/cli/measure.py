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
    """Score a run by the order on standard input; only for lmkit compare."""
    order = json.load(sys.stdin)
    # Stdout is only for the answer, even if a plugin prints.
    with contextlib.redirect_stdout(sys.stderr):
        answer = measured(order)
    click.echo(strict_json.report(answer))


def measured(order: dict[str, Any]) -> dict[str, Any]:
    """The scores by direction, with time and memory."""
    from lmkit import api
    from lmkit.corpus.options import DataOptions
    from lmkit.corpus.readers import Text
    from lmkit.part_files import add_again

    add_again(order["code"])
    text = Text(order["texts"], DataOptions(**order["options"]))
    model = api.load(Path(order["run"]), **order["load"])
    # The first line loads kernels; warnings about that line do not concern the text.
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
    """The peak memory of this process in bytes; None if the system does not report it."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Unlike ru_maxrss on Linux, this does not start from the memory of the parent.
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        if "VmHWM" in fields:
            return int(fields["VmHWM"].split()[0]) * 1024
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
