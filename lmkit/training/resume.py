"""`--resume`: going on with a run as if it had never stopped."""

import logging
from pathlib import Path
from typing import Any

from lmkit import recipe as recipes
from lmkit import run_paths
from lmkit.contracts import Tokenizer
from lmkit.errors import CheckpointError, listed
from lmkit.notes import NOTE
from lmkit.recipe import Recipe
from lmkit.training import checkpoint
from lmkit.training.checkpoint import Checkpoints
from lmkit.training.report import Reporter
from lmkit.training.run import Saver, TrainedRun, made, make_trainer, prepare, run_trainer, summary
from lmkit.training.run_directory import run_lock
from lmkit.training.snapshot import machine, restore
from lmkit.training.text import open_texts, store_corpus

log = logging.getLogger(__name__)

FREE = frozenset(
    ["data.train", "data.valid"]
    + [f"train.{name}" for name in ("device", "threads", "log_every", "save_every", "keep")]
)
"""Settings that a resumed run may change without changing its result past the last bits.

Where the text lies is one of them, since fingerprints say whether it is the same.
"""
LIMITS = frozenset(f"train.{name}" for name in ("max_epochs", "max_steps", "max_time", "patience"))
"""Settings that it may change, but which then end it elsewhere."""


def resume_run(
    directory: Path, recipe: Recipe, *, stop_after: int | None = None, reporter: Reporter
) -> TrainedRun:
    """Go on with the run in `directory` from its newest whole checkpoint.

    recipe: the run's own, where only settings of FREE or LIMITS may have been changed.
    With everything else the same, the result is that of a run that never stopped, to the last bit on a CPU;
    where it cannot be, a warning says why. Raises CheckpointError with all the differences that forbid it.
    """
    if not directory.is_dir():
        raise CheckpointError(f"{directory} does not exist: --resume takes the directory of a run")
    with run_lock(directory):
        checkpoints = Checkpoints(directory, keep=recipe.train.keep, every=recipe.train.save_every)
        saved = checkpoints.newest()
        check_same_recipe(saved.facts["recipe"], recipe)
        device = prepare(recipe)
        text, valid = open_texts(recipe, validates=True)
        choice = recipe.tokenizer
        assert choice is not None
        tokenizer: Tokenizer = choice.load().load(directory / run_paths.TOKENIZER, choice.options)
        corpus = store_corpus(text, valid, tokenizer, choice, reporter)
        changed = checkpoint.differences(saved.facts["fingerprints"], corpus.fingerprints())
        problems = [str(difference) for difference in changed]
        if problems:
            raise CheckpointError(
                f"{directory}: the text or the tokenizer is not what it was trained on: {listed(problems)}"
            )
        model = made(recipe, tokenizer).to(device)
        recipes.write(recipe, directory / run_paths.RECIPE)
        saver = Saver(directory, recipe, corpus, model)
        trainer = make_trainer(model, recipe, corpus, saver, reporter)
        restore(trainer, saved)
        for difference in checkpoint.differences(saved.facts["machine"], machine(model)):
            log.log(
                NOTE, "the result may differ in the last bits from a run that never stopped: %s", difference
            )
        if recipe.train.max_time is not None:
            log.log(
                NOTE,
                "with --max-time the learning rate follows the clock: no two runs are alike to the last bit",
            )
        reporter.message(f"resuming {directory} at step {saved.step}")
        figures = run_trainer(trainer, saver, stop_after)
    return TrainedRun(directory, summary(directory, recipe, corpus, model, figures))


def check_same_recipe(then: dict[str, Any], now: Recipe) -> None:
    """CheckpointError for settings that a resumed run cannot change; a warning for those that end it elsewhere.

    then: the tables of a checkpoint, read anew, so that an option that is younger than it has its default.
    """
    before = recipes.to_tables(recipes.build(then))
    changed = list(checkpoint.differences(before, recipes.to_tables(now)))
    forbidden = [str(difference) for difference in changed if difference.name not in FREE | LIMITS]
    if forbidden:
        raise CheckpointError(
            f"a run is resumed with the settings it began with: {listed(forbidden)}; "
            "leave them out, or train anew"
        )
    for difference in changed:
        if difference.name in LIMITS:
            log.warning("%s: the result is not that of a run that never stopped", difference)
