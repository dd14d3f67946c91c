"""Shared code of the adapters that turn an encoder into a module: one vector per token, and saving weights."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit import run_paths, runs
from lmkit.api import Model
from lmkit.contracts import Encoder
from lmkit.embedding.layers import Selection, selection
from lmkit.errors import UsageError


def one_layer(encoder: Encoder, layer: str | int) -> Selection:
    """A function that chooses one layer, (tokens, features), of a sentence's vectors.

    Raises UsageError for "all" and for an unknown layer.
    """
    if layer == "all":
        raise UsageError(
            "layer='all': this adapter needs one vector per token; use mix, top or the number of a layer"
        )
    return selection(encoder, layer)


def save_run(model: Model, directory: Path) -> None:
    """Write the model into a directory, next to the files of other libraries.

    Unlike a copy of the run's files, it has the current weights. An existing run is replaced.
    """
    run = model.run
    kept = directory / run_paths.TOKENIZER
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    run.tokenizer.save(kept)
    runs.keep_model(
        directory,
        run.model,
        model_choice=run.model_choice,
        tokenizer_choice=run.tokenizer_choice,
        vocabulary=run.tokenizer.vocabulary,
        data=_facts(run, "data"),
        training=_facts(run, "training"),
    )


def _facts(run: runs.LoadedRun, name: str) -> Mapping[str, Any]:
    facts = run.manifest.get(name)
    return facts if isinstance(facts, dict) else {}
