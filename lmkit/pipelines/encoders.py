"""What the adapters that make a module of an encoder share: one vector a token, and saving what was learned."""

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
    """What takes one layer, (tokens, features), of a sentence's vectors.

    Raises UsageError for "all" of them and for a layer that there is not.
    """
    if layer == "all":
        raise UsageError("layer='all': a token has one vector here; give mix, top or the number of a layer")
    return selection(encoder, layer)


def save_run(model: Model, directory: Path) -> None:
    """Write what makes the model into a directory, beside what other libraries keep there.

    Unlike a copy of the run's files it has what was learned since. The run that it held is replaced.
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
