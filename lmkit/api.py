"""The Python side of the commands: train, resume and load."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache as cache_results
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit import runs
from lmkit.adaptation.adapt import NO_ADAPTATION, Adaptation
from lmkit.adaptation.options import DynamicOptions
from lmkit.contracts import LanguageModel
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text
from lmkit.devices import place
from lmkit.errors import UsageError, suggest
from lmkit.first_run import first_run
from lmkit.kinds import is_neural
from lmkit.model import Model
from lmkit.option_owners import MODEL, TOKENIZER, distribute, training_owners
from lmkit.part_files import as_names
from lmkit.recipe import build, read_recipe, recipe_of_run, with_start
from lmkit.scoring.split_words import RULES
from lmkit.shipped import find_or_file
from lmkit.training.report import Reporter, usual_reporter
from lmkit.training.run import train_recipe

if TYPE_CHECKING:
    from torch import Tensor

    from lmkit.neural.language_model import NeuralLanguageModel

__all__ = ["Model", "load", "resume", "train", "train_recipe"]


def load(
    directory: str | Path,
    *,
    device: str = "auto",
    allow_nonfinite: bool = False,
    int8: bool = False,
    split_unknown: str = "auto",
    cache: int | Mapping[str, Any] | None = None,
    dynamic: bool | Mapping[str, Any] | None = None,
) -> Model:
    """The model in a run's directory, ready to score and generate.

    split_unknown: whether words that the vocabulary lacks are split at punctuation and, in Chinese, Japanese and
    Korean, into words: "auto" (in ordinary running text), "always" or "never".

    allow_nonfinite: load it even if weights are NaN or infinite.
    cache: score and generate with a continuous cache of this many tokens; with other settings than the default,
    a table such as {"size": 2000, "theta": 0.3, "weight": 0.1}.
    dynamic: learn from the text while scoring it (dynamic evaluation); with other settings than the default, a table
    such as {"rate": 0.1, "bptt": 5} or {"stats": "train.txt"}.
    int8: weights in int8, on a CPU; UsageError if the model does not support it. A processor without products in int8
    (AVX-512 VNNI) keeps them in float32, with a notice.
    Raises ModelError when the directory is not a valid model, PluginError when it needs a missing plugin.
    """
    if split_unknown not in RULES:
        raise UsageError(f"split_unknown is '{split_unknown}'; {suggest(split_unknown, RULES)}")
    adaptation = Adaptation.choose(cache, dynamic)
    run = runs.load_run(Path(directory), allow_nonfinite=allow_nonfinite)
    place(run.model, device)
    if int8:
        if not is_neural(run.model):
            raise UsageError(f"{directory}: --int8 works only for neural models; leave it out")
        from lmkit.recurrence.int8 import to_int8

        to_int8(run.model)
    if adaptation.dynamic is not None and adaptation.dynamic.stats is not None:
        adaptation = replace(adaptation, sizes=_sizes(run, adaptation.dynamic))
    model = Model(run, split_unknown, adaptation)
    if adaptation != NO_ADAPTATION:
        _ = model.directions  # reports at once a model that cannot adapt
    return model


def _sizes(run: runs.LoadedRun, options: DynamicOptions) -> Callable[[NeuralLanguageModel], Tensor]:
    """Computes the sizes of a network's gradients on the text of `options.stats`, once."""
    if not isinstance(run.model, LanguageModel):
        raise UsageError(f"{run.directory}: gradient sizes are for causal models; leave out --dynamic-stats")
    from lmkit.adaptation.gradient_sizes import gradient_sizes, stored

    assert options.stats is not None
    store = stored(Text([options.stats], DataOptions()), run.tokenizer)
    return cache_results(lambda network: gradient_sizes(network, store, options.bptt))


def train(
    data: str | Path | Sequence[str | Path] = (),
    *,
    valid: str | Path | Sequence[str | Path] = (),
    model: str | type | Mapping[str, Any] | None = None,
    tokenizer: str | type | Mapping[str, Any] | None = None,
    recipe: str | Path | None = None,
    init_from: str | Path | None = None,
    new_words: int = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
    stop_after: int | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> Model:
    """Train a model and load it: `lmkit.train("text.txt", model="gru", hidden_size=200, max_epochs=5)`.

    data, valid: paths, patterns or names of data sets, as on the command line. recipe: the name of a recipe that ships
    with lmkit, or a TOML file, whose settings the others override; without data, the recipe of a first run.
    model: "gru" if it is None. model, tokenizer: names, tables (`{"name": "recurrent", "cell": {"name": "gru"}}`), or
    classes, as `lmkit.use` takes them; the cell, too, may be a class.
    options: the command's flags with underscores; each belongs to the owner that has it on the command line
    (`lmkit.option_owners`).
    reporter: receives the progress; by default nothing is shown, except in notebooks.
    init_from: start from the weights of this run, with its tokenizer and model options. new_words: add at most this
    many words of the text to its vocabulary.
    Raises UsageError, DataError and PluginError, with the messages of the command line.
    """
    parts = {MODEL: as_names(model), TOKENIZER: as_names(tokenizer)}
    named = {path: part for path, part in parts.items() if part is not None}
    start = read_recipe(find_or_file(str(recipe))) if recipe else {}
    if not (recipe or data or init_from):
        start = first_run(named)
    start = with_start(start, init_from)
    owners = partial(training_owners, start)
    tables = {**start, **distribute(owners, named, as_names(options), train.__kwdefaults__ or ())}
    if init_from is not None:
        tables["init"] = {"run": str(init_from), "new_words": new_words}
    elif new_words:
        raise UsageError("new_words adds words to the vocabulary of a run: also give init_from")
    paths = {"train": _paths(data), "valid": _paths(valid)}
    tables["data"] |= {name: found for name, found in paths.items() if found}
    settings = build(tables)
    run = train_recipe(
        settings,
        out=None if out is None else Path(out),
        overwrite=overwrite,
        stop_after=stop_after,
        reporter=reporter or usual_reporter(),
    )
    return load(run.directory, device=settings.train.device)


def resume(
    directory: str | Path, *, stop_after: int | None = None, reporter: Reporter | None = None
) -> Model:
    """Continue the run in `directory` from its newest checkpoint and load it: `lmkit train --resume`.

    Raises CheckpointError when there is no valid checkpoint.
    """
    from lmkit.training.resume import resume_run

    path = Path(directory)
    recipe = build(recipe_of_run(path))
    resume_run(path, recipe, stop_after=stop_after, reporter=reporter or usual_reporter())
    return load(path)


def _paths(paths: str | Path | Sequence[str | Path]) -> list[str]:
    return [str(paths)] if isinstance(paths, (str, Path)) else [str(p) for p in paths]
