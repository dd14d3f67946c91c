"""Train in a process that follows: by the plan of the one that leads, and without output."""

import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from lmkit import recipe as recipes
from lmkit.contracts import Tokenizer
from lmkit.errors import DataError, LmkitError
from lmkit.training.checkpoint import Checkpoints, differences
from lmkit.training.loop import Trainer
from lmkit.training.metrics import Metrics
from lmkit.training.neural_run import made, make_streams, placed, prepare, run_trainer
from lmkit.training.plan import Plan
from lmkit.training.processes import LostError, Processes
from lmkit.training.report import Silent
from lmkit.training.snapshot import restore
from lmkit.training.text import Corpus, open_texts, store_corpus


def follow(processes: Processes) -> None:
    """Train the streams of a process that does not lead, until the one that leads ends the training.

    Errors of reading the text are raised; those of the training, which the leader reports, end this process.
    """
    try:
        plan: Plan = processes.lead(never_called)
    except LostError as error:
        sys.exit(error.exit_code)
    recipe = recipes.build(plan.recipe)
    prepare(recipe, processes)
    with tempfile.TemporaryDirectory(prefix="lmkit-tokenizer-") as folder:
        corpus = read_corpus(plan, recipe, Path(folder))
        model = placed(made(recipe, corpus), recipe, processes)
        trainer = Trainer(
            model,
            make_streams(model, recipe, corpus),
            recipe.train,
            validation_tokens=plan.validation_tokens,
            validate=never_called if plan.validates else None,
            keep_best=never_called,
            trained=recipe.init is not None,
            metrics=Metrics(None),
            reporter=Silent(),
            checkpoints=Checkpoints(plan.directory, keep=recipe.train.keep, every=recipe.train.save_every),
        )
        restore(trainer, plan.start)
        trainer.share(processes)
        try:
            run_trainer(trainer, plan.directory, plan.stop_after)
        except LmkitError as error:
            sys.exit(error.exit_code)


def read_corpus(plan: Plan, recipe: recipes.Recipe, folder: Path) -> Corpus:
    """The corpus of the plan, which on one machine is in the cache already; DataError if it is another."""
    for name, content in plan.tokenizer.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    choice = recipe.tokenizer
    assert choice is not None
    tokenizer: Tokenizer = choice.load().load(folder, choice.options)
    text, valid = open_texts(recipe, validates=True)
    corpus = store_corpus(text, valid, tokenizer, choice, Silent(), answer_weight=recipe.train.answer_weight)
    if list(differences(plan.fingerprints, corpus.fingerprints())):
        raise DataError(
            f"{corpus.description}: not the same text as that of the process that leads; copy it to every machine"
        )
    return corpus


def never_called() -> NoReturn:
    """Stands for work of the process that leads."""
    raise AssertionError("only the process that leads does this")
