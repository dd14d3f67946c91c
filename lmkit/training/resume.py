"""`--resume`: continue a run as if it had never stopped."""

import logging
from pathlib import Path
from typing import Any

from lmkit import recipe as recipes
from lmkit import run_paths
from lmkit.contracts import Tokenizer
from lmkit.errors import CheckpointError, UsageError, listed
from lmkit.files import writing
from lmkit.notes import NOTE
from lmkit.recipe import Recipe
from lmkit.run_code import check_code
from lmkit.training import checkpoint, options
from lmkit.training.checkpoint import Checkpoints
from lmkit.training.neural_run import made, make_trainer, placed, prepare, run_trainer
from lmkit.training.plan import share_training
from lmkit.training.processes import ALONE, Processes
from lmkit.training.report import Reporter
from lmkit.training.run import TrainedRun, summary
from lmkit.training.run_directory import run_lock
from lmkit.training.saved_state import check_tables
from lmkit.training.saver import Saver
from lmkit.training.snapshot import machine, restore
from lmkit.training.text import open_texts, store_corpus

log = logging.getLogger(__name__)

FREE = frozenset(
    ["data.train", "data.valid"]
    + [f"train.{name}" for name in ("device", "threads", "log_every", "log_to", "save_every", "keep")]
)
"""Settings that a resumed run may change, with at most the last bits of the result different.

The paths of the text are among them, since fingerprints show whether it is the same.
"""
PARTS = {"tokenizer": "the tokenizer", "train": "the training text", "valid": "the validation text"}
"""The names of fingerprints in messages."""
LIMITS = frozenset(f"train.{name}" for name in (*options.LIMITS, "patience"))
"""Settings that it may change, but which change the result."""


def resume_run(
    directory: Path,
    recipe: Recipe,
    *,
    stop_after: int | None = None,
    reporter: Reporter,
    processes: Processes = ALONE,
) -> TrainedRun:
    """Continue the run in `directory` from its newest complete checkpoint.

    recipe: the run's own, in which only settings of FREE or LIMITS may differ. processes: as of `train_recipe`; they
    may be more or fewer than before.
    With everything else the same, the result is that of an uninterrupted run, to the last bit on a CPU; otherwise
    a warning gives the reason. Raises CheckpointError with all differences that prevent resuming.
    """
    if not directory.is_dir():
        raise CheckpointError(f"{directory} does not exist; give --resume the directory of a run")
    then = "then continue with --resume"
    with run_lock(directory), writing(directory, kind=CheckpointError, then=then):
        checkpoints = Checkpoints(directory, keep=recipe.train.keep, every=recipe.train.save_every)
        saved = checkpoints.newest()
        check_tables(saved)
        check_same_recipe(saved.facts["recipe"], recipe)
        check_code(directory, recipe.model, recipe.tokenizer)
        prepare(recipe, processes)
        text, valid = open_texts(recipe, validates=True)
        choice = recipe.tokenizer
        assert choice is not None
        tokenizer: Tokenizer = choice.load().load(directory / run_paths.TOKENIZER, choice.options)
        corpus = store_corpus(
            text, valid, tokenizer, choice, reporter, answer_weight=recipe.train.answer_weight
        )
        _check_same_text(directory, saved.facts["fingerprints"], corpus.fingerprints())
        model = placed(made(recipe, corpus), recipe, processes)
        recipes.write(recipe, directory / run_paths.RECIPE)
        saver = Saver(directory, recipe, corpus, model)
        trainer = make_trainer(model, recipe, corpus, saver, reporter)
        restore(trainer, saved)
        before = {"processes": "1", **saved.facts["machine"]}
        for difference in checkpoint.differences(before, machine(model, processes.count)):
            log.log(NOTE, "the result may differ in the last bits from an uninterrupted run: %s", difference)
        if recipe.train.max_time is not None or recipe.train.max_cpu_time is not None:
            log.log(
                NOTE,
                "with a limit of time the learning rate depends on the clock, so no two runs are identical",
            )
        reporter.message(f"resuming {directory} at step {saved.step}")
        share_training(trainer, processes, directory, recipe, corpus, stop_after)
        figures = run_trainer(trainer, directory, stop_after)
    return TrainedRun(directory, summary(directory, recipe, corpus, model, figures))


def _check_same_text(directory: Path, then: dict[str, Any], now: dict[str, str]) -> None:
    """Raise CheckpointError, with what to do instead, if the fingerprints of texts or of the tokenizer differ."""
    changed = [PARTS[difference.name] for difference in checkpoint.differences(then, now)]
    if changed:
        raise CheckpointError(
            f"{directory}: not the same as when the training began: {' and '.join(changed)}; resume with the same, or "
            f"train on other text from these weights: lmkit train TEXT --init-from {directory} --out DIR"
        )


def check_same_recipe(then: dict[str, Any], now: Recipe) -> None:
    """Raise CheckpointError for settings that a resumed run cannot change; warn of those that change the result.

    then: the tables of a checkpoint, with defaults for options that are newer than it.
    """
    try:
        before = recipes.to_tables(recipes.build(then))
    except UsageError as error:
        raise CheckpointError(
            f"the recipe in the checkpoint is damaged ({error}); restore it, or remove its folder to go on from the "
            "one before"
        ) from error
    changed = list(checkpoint.differences(before, recipes.to_tables(now)))
    forbidden = [str(difference) for difference in changed if difference.name not in FREE | LIMITS]
    if forbidden:
        raise CheckpointError(
            f"a resumed run cannot change these settings: {listed(forbidden)}; "
            "leave them out, or train a new run"
        )
    for difference in changed:
        if difference.name in LIMITS:
            log.warning("%s: the result differs from that of an uninterrupted run", difference)
