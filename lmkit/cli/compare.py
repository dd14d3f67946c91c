"""`lmkit compare`: score any set of runs on one text, side by side."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import asks_models, independent_option, split_items
from lmkit.cli.option_flags import SpecCommand, collected
from lmkit.corpus.options import STDIN, DataOptions
from lmkit.errors import ModelError, UsageError
from lmkit.option_owners import DATA
from lmkit.options import resolve

LMKIT = (sys.executable, "-P", "-c", "from lmkit.cli import main; main()")
"""The program; -P, since Python would else look for modules in the working directory."""

Rows = Sequence[Mapping[str, Any]]


@click.command(cls=SpecCommand, grow=lambda _: [DATA])
@asks_models
@independent_option
@click.option(
    "--plot", type=click.Path(path_type=Path), help="Draw the result: .png, .svg or .pdf (needs matplotlib)."
)
@click.option("--json", "as_json", is_flag=True, help="Print a list of rows, best first, as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    items: tuple[str, ...],
    texts: tuple[str, ...],
    device: str,
    allow_nonfinite: bool,
    split_unknown: str,
    independent: bool,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Score the models in the directories RUN on TEXT, and rank them by bits per byte.

    Runs are scored one after another, each in a separate process, which measures its speed and peak memory. A
    bidirectional encoder is scored as its two causal models.
    """
    options = resolve(DataOptions, collected(ctx)["data"], "data")
    asked = split_items(items, texts, "compare")
    if STDIN in asked.texts:
        raise UsageError("compare reads its text once a run, which standard input cannot be; name a file")

    from lmkit.corpus.readers import Text
    from lmkit.evaluation import pictures
    from lmkit.evaluation.compare import facts, ranked

    if plot is not None:
        pictures.check(plot)
    text = Text(asked.texts, options)
    named = asked.runs
    # Report arguments that are not runs before hours of scoring.
    known = {label: facts(run) for label, run in named.items()}
    flags = [f"--{name.replace('_', '-')}" for name, is_on in ctx.find_root().params.items() if is_on is True]
    rows: list[dict[str, Any]] = []
    for label, run in console.progress(named.items(), total=len(named), label="comparing"):
        order = {
            "run": str(run),
            "texts": asked.texts,
            "options": asdict(options),
            "load": {
                "device": device,
                "allow_nonfinite": allow_nonfinite,
                "split_unknown": split_unknown,
            },
            "independent": independent,
        }
        with console.about(label if len(named) > 1 else ""):
            rows += _measured(label, order, known[label], flags)
    found = ranked(rows)
    if plot is not None:
        from lmkit.evaluation.compare_pictures import draw

        draw(plot, found.rows, text.describe())
    if as_json:
        click.echo(strict_json.report(found.rows))
        for note in found.notes:
            console.say(note)
        return
    click.echo(_table(found.rows, comparable=found.perplexity_compares))
    for note in found.notes:
        click.echo("\n" + console.folded(note))


def _measured(
    label: str, order: Mapping[str, Any], facts: Mapping[str, Any], flags: Sequence[str]
) -> list[dict[str, Any]]:
    """The figures of a run, a row a direction, by `lmkit measure`; its errors end this process as they end that."""
    code, output = _run([*LMKIT, *flags, "measure"], strict_json.report(order))
    if code < 0:
        raise ModelError(f"{order['run']}: scoring it was killed by signal {-code}: for want of memory?")
    if code:
        sys.exit(code)  # it has said why
    answer = json.loads(output)
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


def _run(command: Sequence[str], text: str) -> tuple[int, str]:
    """Run a program on a text and return its exit code and output; its messages go above this process's bars."""
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        encoding="utf-8", env={**os.environ, "PYTHONIOENCODING": "utf-8:replace"},
    )  # fmt: skip
    assert child.stderr is not None
    relay = threading.Thread(target=_relay, args=(child.stderr,))
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        relay.start()
        with contextlib.suppress(BrokenPipeError):  # it ended before it read; its exit code says why
            child.stdin.write(text)
            child.stdin.close()
        output = child.stdout.read()
        relay.join()
        return child.wait(), output
    except BaseException:
        child.kill()
        raise


def _relay(lines: Iterable[str]) -> None:
    """Say what a child has said, label and all."""
    for line in lines:
        label, colon, rest = line.strip().partition(": ")
        if colon and label in console.LABELS:
            console.say(console.about_run(rest) if label != "error" else rest, label)
        elif line.strip():
            console.say(line.rstrip())


def _table(rows: Rows, *, comparable: bool) -> str:
    columns: dict[str, list[str]] = {
        "run": [row["run"] for row in rows],
        "model": [row["model"] for row in rows],
    }

    def add(title: str, key: str, form: str, scale: float = 1) -> None:
        values = [row[key] for row in rows]
        if any(value is not None for value in values):
            columns[title] = ["-" if value is None else format(value * scale, form) for value in values]

    add("bits per byte", "bits_per_byte", ".4f")
    if any(row["oov_tokens"] for row in rows):
        add("spelling of unknowns", "spelling_share", ".1%")
    add("word perplexity", "word_perplexity", ",.1f")
    if all(row["word_perplexity"] is None for row in rows):
        add("bits per character", "bits_per_character", ".4f")
    if comparable:
        add("perplexity", "perplexity", ",.1f")
    add("parameters", "parameters", ",d")
    add("on disk, MB", "bytes_on_disk", ",.1f", 1e-6)
    add("tokens/s", "tokens_per_second", ",.0f")
    add("peak, MB", "peak_memory", ",.0f", 1e-6)
    add("trained, s", "training_seconds", ",.1f")
    return console.table(list(columns), list(zip(*columns.values(), strict=True)), left=2)
