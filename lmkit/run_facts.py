"""Facts about a run and its training, read from its files without loading the model or torch."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit import run_paths
from lmkit.errors import LmkitError, ModelError
from lmkit.manifest import check_files, read_json, read_manifest
from lmkit.perplexity import perplexity
from lmkit.recipe import RECURRENT, read_recipe
from lmkit.run_code import from_files, names_in


def describe(run: Path) -> dict[str, Any]:
    """The facts of a run; None for facts that its files lack.

    finished: whether a limit ended the training; None without a checkpoint.
    Raises ModelError for a path that is not a run, for a damaged lmkit.json and for missing or truncated files.
    """
    manifest = read_manifest(run)
    try:
        facts = _from_manifest(manifest)
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{run / run_paths.MANIFEST}: damaged ({type(error).__name__}: {error}); restore it or train again"
        ) from error
    check_files(run, manifest, hash_limit=0)
    reports = _reports(run)
    reached = _checkpoint(run)
    recipe = _recipe(run)
    return {
        **facts,
        "train": recipe.get("data", {}).get("train"),
        "valid": recipe.get("data", {}).get("valid"),
        "init_from": recipe.get("init", {}).get("run"),
        "steps": reached.get("step", _last(reports, "step")),
        "epochs": reached.get("epoch", _last(reports, "epoch")),
        "training_seconds": reached.get("seconds", _largest(reports, "seconds")),
        "finished": reached.get("over"),
        **(_classifier(run, manifest) if manifest["kind"] == run_paths.CLASSIFIER else _perplexity(manifest)),
        "saved": (run / run_paths.MANIFEST).stat().st_mtime,
    }


def model_name(manifest: Mapping[str, Any]) -> str:
    """A short label for a run's model: "gru", "2 x lstm", "elmo (2 x lstm)", "ngram 5", "ngram 5 quantized"."""
    table = manifest["model"]
    name = bare(table["name"])
    given = table.get("cell")
    cells = [bare(one["name"]) for one in (given if isinstance(given, list) else [given]) if one]
    if table.get("order"):
        return f"{name} {table['order']}" + (" quantized" if table.get("quantize") else "")
    if not cells:
        return name
    layers = table.get("num_layers") or 1
    stack = ", ".join(cells) if len(cells) > 1 or layers == 1 else f"{layers} x {cells[0]}"
    return stack if table["name"] == RECURRENT else f"{name} ({stack})"


def bare(long_name: str) -> str:
    """A part's name without its owner: "gru" for "lmkit:gru"."""
    return long_name.rpartition(":")[2]


def _from_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    model, vocabulary, training = manifest["model"], manifest["vocabulary"], manifest["training"]
    return {
        "kind": manifest["kind"],
        "model": model_name(manifest),
        "options": {name: value for name, value in model.items() if name != "name"},
        "hidden_size": model.get("hidden_size"),
        "reset": model.get("reset"),
        "parameters": manifest.get("parameters"),
        "vocabulary": vocabulary["size"],
        "code": [bare(name) for name in from_files(names_in([model, manifest["tokenizer"]]))],
        "fingerprint": vocabulary["fingerprint"],
        "tokenizer": bare(manifest["tokenizer"]["name"]),
        "text": manifest["data"].get("description"),
        "notice": manifest["data"].get("notice"),
        "best_step": training.get("step"),
        "lmkit": manifest.get("lmkit"),
        "bytes_on_disk": sum(file["size"] for file in manifest["files"].values()),
    }


def _perplexity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    loss = manifest["training"].get("valid_loss")
    return {"valid_perplexity": perplexity(loss) if isinstance(loss, float) else None}


def _classifier(run: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a classifier in place of those of a language model."""
    settings, training = read_json(run / run_paths.CLASSIFIER_SETTINGS), manifest["training"]
    return {
        "steps": training.get("step"),
        "reset": None,
        "valid_perplexity": None,
        "labels": settings.get("labels"),
        "head": settings.get("options"),
        "init_from": manifest["data"].get("init_from"),
        **{
            name: training.get(name)
            for name in ("best_epoch", "valid_accuracy", "valid_macro_f1", "cpu_seconds")
        },
    }


def _recipe(run: Path) -> dict[str, Any]:
    """The tables of a run's recipe; empty if it has no recipe, such as an imported model."""
    with contextlib.suppress(LmkitError):
        return read_recipe(run / run_paths.RECIPE)
    return {}


def _checkpoint(run: Path) -> dict[str, Any]:
    """The progress of the newest checkpoint: `step`, `seconds`, `epoch` and `over`; empty without one."""
    for folder in sorted((run / run_paths.CHECKPOINTS).glob("step-*"), reverse=True):
        with contextlib.suppress(LmkitError, KeyError, TypeError):
            facts = read_json(folder / run_paths.CHECKPOINT_STATE)
            known = {name: facts[name] for name in ("epoch", "over") if name in facts}
            return {"step": facts["step"], "seconds": facts["state"]["seconds"], **known}
    return {}


def _reports(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl."""
    try:
        lines = (run / run_paths.METRICS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for line in lines:
        # If the training was killed, its last line may be cut off.
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return [report for report in found if isinstance(report, dict)]


def _values(reports: list[dict[str, Any]], name: str) -> list[float]:
    return [value for report in reports if isinstance(value := report.get(name), (int, float))]


def _last(reports: list[dict[str, Any]], name: str) -> float | None:
    return next(reversed(_values(reports, name)), None)


def _largest(reports: list[dict[str, Any]], name: str) -> float | None:
    return max(_values(reports, name), default=None)
