"""`lmkit info`: describe runs and their training without loading them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from lmkit import run_paths, strict_json
from lmkit.cli import console
from lmkit.cli.common import json_option, runs_argument
from lmkit.run_paths import CLASSIFIER

KINDS = {"causal": "language model", "encoder": "bidirectional encoder", CLASSIFIER: "classifier"}
MOST_LABELS = 10


@click.command()
@runs_argument
@json_option("Print JSON: an object, or a list for several runs.")
def command(runs: tuple[Path, ...], as_json: bool) -> None:
    """Describe the runs RUN: model, training text, size, scores, and commands to use them.

    The weights are not loaded.
    """
    from lmkit.run_facts import describe

    found = {label: {"run": str(run), **describe(run)} for label, run in run_paths.labels(runs).items()}
    if as_json:
        rows = [{**facts, "saved": _time(facts["saved"])} for facts in found.values()]
        click.echo(strict_json.report(rows[0] if len(rows) == 1 else rows))
        return
    for place, facts in enumerate(found.values()):
        if place:
            click.echo()
        console.write_rows(_rows(facts))


def _rows(facts: dict[str, Any]) -> list[tuple[str, object]]:
    """About ten lines of text."""
    return _classifier_rows(facts) if facts["kind"] == CLASSIFIER else _model_rows(facts)


def _classifier_rows(facts: dict[str, Any]) -> list[tuple[str, object]]:
    run, labels, head = facts["run"], facts["labels"], facts["head"]
    shown = ", ".join(labels[:MOST_LABELS]) + (" ..." if len(labels) > MOST_LABELS else "")
    accuracy, best = facts["valid_accuracy"], facts["best_epoch"]
    return [
        ("run", run),
        ("model", f"classifier on {facts['model']}, directions {head['directions']}, pool {head['pool']}"),
        ("classes", f"{len(labels)}: {shown}"),
        *([("begun from", facts["init_from"])] if facts["init_from"] else []),
        ("parameters", facts["parameters"]),
        ("tokenizer", f"{facts['tokenizer']}, {facts['vocabulary']:,} tokens"),
        ("trained on", facts["text"] or "not recorded"),
        (
            "training",
            f"best epoch {best}, {facts['cpu_seconds']:,.1f} CPU seconds" if best else "not recorded",
        ),
        ("validation", f"accuracy {accuracy:.1%}" if accuracy is not None else "none"),
        *_code(facts),
        ("on disk", _on_disk(facts)),
        ("use", f"lmkit predict {run} TEXT; lmkit predict {run} TABLE --label COLUMN"),
    ]


def _model_rows(facts: dict[str, Any]) -> list[tuple[str, object]]:
    run = facts["run"]
    size, reset = facts["hidden_size"], facts["reset"]
    sizes = ", ".join(map(str, size)) if isinstance(size, list) else size
    ask = "surprisal" if facts["kind"] == "causal" else "embed"
    then = f'generate {run} --prompt "..."' if facts["kind"] == "causal" else f"eval {run} TEXT"
    file = " --out vectors.safetensors" if ask == "embed" else ""
    return [
        ("run", run),
        ("model", facts["model"] + (f", {sizes} units a layer" if size else "") + f" ({_kind(facts)})"),
        ("parameters", facts["parameters"] if facts["parameters"] is not None else "not recorded"),
        ("tokenizer", f"{facts['tokenizer']}, {facts['vocabulary']:,} tokens"),
        ("trained on", facts["text"] or "not recorded"),
        *([("started from", facts["init_from"])] if facts["init_from"] else []),
        ("training", _training(facts)),
        ("validation", _validation(facts)),
        *([("state", _state(reset))] if reset else []),
        *([("note", facts["notice"])] if facts["notice"] else []),
        *_code(facts),
        ("on disk", _on_disk(facts)),
        *([("to finish it", f"lmkit train --resume {run}")] if facts["finished"] is False else []),
        ("use", f"lmkit {ask} {run} TEXT{file}; lmkit {then}"),
    ]


def _code(facts: dict[str, Any]) -> list[tuple[str, object]]:
    """A row about the classes of files that the run needs."""
    flags = " ".join(f"--code FILE.py:{name}" for name in facts["code"])
    return [("code", f"{', '.join(facts['code'])}: commands that load the run need {flags}")] if flags else []


def _on_disk(facts: dict[str, Any]) -> str:
    return f"{facts['bytes_on_disk'] / 1e6:,.1f} MB, saved {_time(facts['saved'])[:16]} UTC"


def _kind(facts: dict[str, Any]) -> str:
    return KINDS.get(facts["kind"]) or str(facts["kind"])


def _state(reset: str) -> str:
    return "carried over the whole text" if reset == "never" else f"starts again at each {reset}"


def _training(facts: dict[str, Any]) -> str:
    """The length of the training, as far as it is known."""
    known = []
    if facts["steps"] is not None:
        best = facts["best_step"]
        known.append(
            f"{facts['steps']:,} steps"
            + (f" (best at {best:,})" if best not in (None, facts["steps"]) else "")
        )
    if facts["epochs"] is not None:
        known.append(f"{facts['epochs']:.2f} epochs")
    if facts["training_seconds"] is not None:
        known.append(f"{facts['training_seconds']:,.1f} seconds")
    length = ", ".join(known) or "not recorded"
    unfinished = "; not finished" if facts["finished"] is False else ""
    return f"{length}{unfinished} (lmkit {facts['lmkit']})"


def _validation(facts: dict[str, Any]) -> str:
    score = facts["valid_perplexity"]
    if score is None:
        return "none" if facts["finished"] is not False else "none so far"
    return f"perplexity {score:,.2f} a token"


def _time(seconds: float) -> str:
    """A time in ISO 8601, in UTC."""
    return datetime.fromtimestamp(round(seconds), UTC).isoformat(sep=" ")
