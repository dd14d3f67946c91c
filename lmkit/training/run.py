"""Train the run of a recipe: text, tokenizer, model, training, saving."""

import logging
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lmkit import launch, run_paths, runs
from lmkit import recipe as recipes
from lmkit.contracts import FitContext, LanguageModel, Tokenizer
from lmkit.corpus.readers import TextLines
from lmkit.devices import pick_device
from lmkit.errors import CheckpointError, UsageError
from lmkit.files import writing
from lmkit.kinds import is_trainable, is_trainable_class
from lmkit.options import Chosen, to_table
from lmkit.recipe import Recipe
from lmkit.run_code import write_code
from lmkit.scoring.score import evaluate
from lmkit.scoring.split_words import read_as_typed
from lmkit.training.memory import give_back
from lmkit.training.metrics import Metrics
from lmkit.training.options import LIMITS, TrainOptions
from lmkit.training.processes import ALONE, Processes
from lmkit.training.report import Reporter
from lmkit.training.run_directory import workplace
from lmkit.training.saver import Saver
from lmkit.training.text import Corpus, find_tokenizer, open_texts, store_corpus, with_defaults

COUNTING = ("seed", "device", "threads", *LIMITS)
"""The training options that models without gradient descent use, and limits, which they never reach."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedRun:
    """A finished run and its figures."""

    directory: Path
    summary: dict[str, Any]


def train_recipe(
    recipe: Recipe,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    stop_after: int | None = None,
    reporter: Reporter,
    processes: Processes = ALONE,
) -> TrainedRun:
    """Train a recipe; the run's directory is `out`, or the next free one under `runs/`.

    stop_after: stop after this many steps, without changing the schedule.
    processes: those that train together, of which this one leads; the others `follow`.
    Raises Interrupted after SIGINT or SIGTERM, when everything is saved.
    """
    given = recipe.train if recipe.train_paths else TrainOptions()
    recipe = with_defaults(recipe, reporter)
    start = None
    if recipe.init is not None:
        from lmkit.training.start import Start

        start = Start.read(recipe, reporter)
        recipe = replace(recipe, init=start.options)
    target = recipe.model.load()
    if is_trainable_class(target):
        from lmkit.training.neural_run import prepare

        prepare(recipe, processes)
    else:
        _check_counting(target, recipe, given)
    with workplace(out, recipe.model, overwrite=overwrite) as directory:
        text, valid = open_texts(recipe, validates=is_trainable_class(target))
        lines = TextLines(text, reporter)
        if start is None:
            choice = recipe.tokenizer or find_tokenizer(lines.beginning(), recipe, reporter)
            tokenizer: Tokenizer = choice.load().fit(lines, choice.options)
        else:
            choice, tokenizer = start.run.tokenizer_choice, start.tokenizer(lines)
        recipe = replace(recipe, tokenizer=choice)
        corpus = store_corpus(
            text, valid, tokenizer, choice, reporter, answer_weight=recipe.train.answer_weight
        )
        if is_trainable_class(target):
            from lmkit.training.neural_run import begun

            model = begun(recipe, corpus, start, reporter)
            # A model may fill in missing options, such as a size that depends on the vocabulary.
            recipe = replace(recipe, model=replace(recipe.model, options=model.options))
        else:
            model = target(recipe.model.options, tokenizer.vocabulary)
        runs.clear(directory)
        if launch.may_restart():
            launch.mark(directory)
        recipes.write(recipe, directory / run_paths.RECIPE)
        write_code(directory, recipe.model, recipe.tokenizer)
        (directory / run_paths.TOKENIZER).mkdir()
        tokenizer.save(directory / run_paths.TOKENIZER)
        saver = Saver(directory, recipe, corpus, model)
        if is_trainable(model):
            from lmkit.training.neural_run import train

            figures = train(model, recipe, corpus, saver, reporter, processes, stop_after)
        else:
            figures = fit_model(model, recipe, corpus, saver, reporter)
        return TrainedRun(directory, summary(directory, recipe, corpus, model, figures))


def _check_counting(target: type[LanguageModel], recipe: Recipe, given: TrainOptions) -> None:
    """Raise UsageError unless a model that is no network can be estimated, by these options."""
    if getattr(target, "fit", LanguageModel.fit) is LanguageModel.fit:
        raise UsageError(
            f"the model {recipe.model.name} cannot be trained: it has no `fit`; choose another --model"
        )
    _warn_of_unused(given, recipe.model)
    target.check_options(recipe.model.options)
    if recipe.train.device not in ("auto", "cpu"):
        pick_device(recipe.train.device)


def _warn_of_unused(options: TrainOptions, model: Chosen) -> None:
    """Name the options of training by gradient descent that a counting model was given."""
    default = to_table(TrainOptions())
    given = to_table(options).items()
    unused = [name for name, value in given if value != default.get(name) and name not in COUNTING]
    if unused:
        names = ", ".join(unused)
        log.warning(
            "%s is estimated from counts, not in steps: these options have no effect: %s", model.name, names
        )


def fit_model(
    model: LanguageModel, recipe: Recipe, corpus: Corpus, saver: Saver, reporter: Reporter
) -> dict[str, Any]:
    """Estimate and save a counting model; return the figures."""
    begun, cpu_begun = time.perf_counter(), time.process_time()
    scratch = saver.directory / ".fitting"
    scratch.mkdir()
    give_back()
    try:
        with writing(saver.directory, kind=CheckpointError, then="then train it again"):
            model.fit(corpus.train, FitContext(recipe.train.seed, reporter, scratch, recipe.train.threads))
            saver.keep({})
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu_begun
    reporter.message(
        f"counted and estimated in {seconds:.1f} seconds: {model.parameter_count():,} parameters"
    )
    Metrics(saver.directory / run_paths.METRICS).write(
        seconds=round(seconds, 2), cpu_seconds=round(cpu_seconds, 2)
    )
    figures: dict[str, Any] = {"seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1)}
    return {**figures, **validation_figures(model, corpus, reporter)}


def validation_figures(model: LanguageModel, corpus: Corpus, reporter: Reporter) -> dict[str, Any]:
    """The figures of a counting model on its validation text, if it has one."""
    if corpus.valid_text is None:
        return {}
    lines = reporter(corpus.valid_text, total=None, label="scoring the validation text")
    score = evaluate(model, read_as_typed(corpus.tokenizer), lines, signature="")
    for reason, names in score.withheld_by_reason().items():
        reporter.message(f"{', '.join(names)} of the validation text withheld: {reason}")
    loss = None if score.perplexity is None else -score.log_prob / score.tokens
    return {
        "valid_loss": loss,
        "valid_perplexity": score.perplexity,
        "valid_bits_per_byte": score.bits_per_byte,
    }


def summary(
    directory: Path, recipe: Recipe, corpus: Corpus, model: Any, figures: dict[str, Any]
) -> dict[str, Any]:
    """The figures of a finished run."""
    return {
        "run": str(directory),
        "model": recipe.model.name,
        "kind": "causal" if isinstance(model, LanguageModel) else "encoder",
        "parameters": model.parameter_count(),
        "vocabulary": corpus.tokenizer.vocabulary.size,
        "tokenizer": corpus.tokenizer_choice.name,
        "train_tokens": corpus.train.num_tokens,
        "valid_tokens": corpus.valid.num_tokens if corpus.valid else 0,
        **figures,
    }
