"""From a recipe to a run's directory: text, tokenizer, token store, model, training, what is kept."""

import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lmkit import recipe as recipes
from lmkit import runs
from lmkit.contracts import LanguageModel, Tokenizer
from lmkit.corpus.readers import Line, Text
from lmkit.corpus.scripts import ScriptCounter
from lmkit.corpus.split import hold_out
from lmkit.corpus.store import TokenStore
from lmkit.corpus.streams import Streams
from lmkit.devices import pick_device
from lmkit.errors import UsageError
from lmkit.evaluation.stream import Sentence, score_lines
from lmkit.options import Chosen, choose
from lmkit.recipe import Recipe
from lmkit.recurrence import NeuralLanguageModel
from lmkit.training.context import FitContext
from lmkit.training.loop import Trainer
from lmkit.training.memory import keep_large_blocks
from lmkit.training.metrics import Metrics
from lmkit.training.report import Reporter

log = logging.getLogger(__name__)

DEFAULT_DATA = "pydocs"
DEFAULT_SECONDS = 120.0
"""How long the first run trains when neither data nor a limit is named: a look, not a result."""
SCRIPT_SAMPLE = 5000
"""Lines read to choose a tokenizer."""


@dataclass(frozen=True)
class TrainedRun:
    """A finished run and its figures."""

    directory: Path
    summary: dict[str, Any]


@dataclass(frozen=True)
class Corpus:
    """The text of a run as ids."""

    tokenizer: Tokenizer
    tokenizer_choice: Chosen
    train: TokenStore
    valid: TokenStore | None
    description: str


def train_recipe(
    recipe: Recipe,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    stop_after: int | None = None,
    reporter: Reporter,
) -> TrainedRun:
    """Train what the recipe says; the run's directory is `out`, or the next free one under `runs/`.

    stop_after: stop after so many steps without moving the schedule's end.
    """
    directory = out or runs.default_directory(recipe.model)
    runs.check_free(directory, overwrite=overwrite)
    recipe = with_defaults(recipe)
    target = recipe.model.load()
    if not issubclass(target, NeuralLanguageModel) and getattr(target, "fit", None) in (
        None,
        LanguageModel.fit,
    ):
        raise UsageError(f"the model {recipe.model.name} cannot be trained: it has no fit")
    device = pick_device(recipe.train.device)
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    keep_large_blocks()

    corpus = read_corpus(recipe, reporter)
    recipe = replace(recipe, tokenizer=corpus.tokenizer_choice)
    torch.manual_seed(recipe.train.seed)
    model: LanguageModel = target(recipe.model.options, corpus.tokenizer.vocabulary)
    if isinstance(model, NeuralLanguageModel):
        model.to(device)
    runs.begin(directory, overwrite=overwrite)
    try:
        recipes.write(recipe, directory / runs.RECIPE)
        (directory / runs.TOKENIZER).mkdir()
        corpus.tokenizer.save(directory / runs.TOKENIZER)
        saver = Saver(directory, recipe, corpus, model)
        if isinstance(model, NeuralLanguageModel):
            figures = _train(model, recipe, corpus, saver, reporter, stop_after)
        else:
            model.fit(corpus.train, FitContext(recipe.train.seed, reporter))
            figures = {}
            saver.keep({})
    except BaseException:
        # A directory without a manifest is no model: it is not left lying about.
        if not (directory / runs.MANIFEST).exists():
            shutil.rmtree(directory, ignore_errors=True)
        raise
    summary = {
        "run": str(directory),
        "model": recipe.model.name,
        "parameters": model.parameter_count(),
        "vocabulary": corpus.tokenizer.vocabulary.size,
        "tokenizer": corpus.tokenizer_choice.name,
        "train_tokens": corpus.train.num_tokens,
        "valid_tokens": corpus.valid.num_tokens if corpus.valid else 0,
        **figures,
    }
    return TrainedRun(directory, summary)


def with_defaults(recipe: Recipe) -> Recipe:
    """The recipe with the data of the first run, and its time, when no data is named."""
    if recipe.train_paths:
        return recipe
    train = recipe.train
    if train.max_epochs is None and train.max_steps is None and train.max_time is None:
        train = replace(train, max_time=DEFAULT_SECONDS)
        log.info(
            "no data named: the documentation of this Python (%s), for %g seconds; "
            "name a text file or --max-time for more",
            DEFAULT_DATA,
            DEFAULT_SECONDS,
        )
    return replace(recipe, train_paths=(DEFAULT_DATA,), train=train)


def read_corpus(recipe: Recipe, reporter: Reporter) -> Corpus:
    """Read, split, tokenise and store the text of a recipe."""
    text = Text(recipe.train_paths, recipe.data)
    description = text.describe()
    if recipe.valid_paths:
        train, valid = text, Text(recipe.valid_paths, recipe.data)
    else:
        train, valid = hold_out(text)
    choice = recipe.tokenizer or choose_tokenizer(train)
    lines = reporter((line.text for line in train), total=None, label=f"reading {description}")
    tokenizer: Tokenizer = choice.load().fit(lines, choice.options)
    stores = [
        None if part is None else TokenStore.build(part, tokenizer, progress=reporter)
        for part in (train, valid)
    ]
    assert stores[0] is not None
    reporter.message(
        f"{description}: {stores[0].num_tokens:,} tokens of {tokenizer.vocabulary.size:,} kinds "
        f"({choice.name.rpartition(':')[2]})"
        + (f", {stores[1].num_tokens:,} for validation" if stores[1] else ", no validation")
    )
    return Corpus(tokenizer, choice, stores[0], stores[1], description)


def choose_tokenizer(text: Iterable[Line]) -> Chosen:
    """Words where the text separates them by spaces, characters where it does not."""
    scripts = ScriptCounter()
    for number, line in enumerate(text):
        if number == SCRIPT_SAMPLE:
            break
        scripts.add(line.text)
    name = "word" if scripts.words_are_spaced else "char"
    log.info("tokenizer: %s (the text has %s spaces between words)", name, "" if name == "word" else "no")
    return choose("tokenizer", name, "tokenizer")


class Saver:
    """Keeps the best weights: files first, lmkit.json last, each put in place by a rename."""

    def __init__(self, directory: Path, recipe: Recipe, corpus: Corpus, model: LanguageModel) -> None:
        self.directory = directory
        self.recipe = recipe
        self.corpus = corpus
        self.model = model

    def keep(self, training: dict[str, Any]) -> None:
        """Save the model as it is now."""
        staging = self.directory / ".saving"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        self.model.save(staging)
        for path in staging.iterdir():
            path.replace(self.directory / path.name)
        staging.rmdir()
        data = {"train": self.corpus.train.fingerprint, "description": self.corpus.description}
        if self.corpus.valid:
            data["valid"] = self.corpus.valid.fingerprint
        runs.write_manifest(
            self.directory,
            kind="causal",
            model=self.recipe.model,
            tokenizer=self.corpus.tokenizer_choice,
            vocabulary=self.corpus.tokenizer.vocabulary,
            data=data,
            training=training,
        )


def _train(
    model: NeuralLanguageModel,
    recipe: Recipe,
    corpus: Corpus,
    saver: Saver,
    reporter: Reporter,
    stop_after: int | None,
) -> dict[str, Any]:
    options = recipe.train
    streams = Streams(corpus.train, options.batch_size, options.bptt, model.reset_policy, model.start_id)
    valid = corpus.valid

    def validate() -> float:
        assert valid is not None
        return mean_loss(model, valid)

    def keep() -> None:
        saver.keep({"step": trainer.state.step, "valid_loss": trainer.state.best_loss if valid else None})

    trainer = Trainer(
        model,
        streams,
        options,
        validation_tokens=valid.num_tokens if valid else 0,
        validate=validate if valid else None,
        keep_best=keep,
        metrics=Metrics(saver.directory / runs.METRICS),
        reporter=reporter,
    )
    state = trainer.run(stop_after)
    figures: dict[str, Any] = {
        "steps": state.step,
        "epochs": round(state.step / streams.steps_per_epoch, 3),
        "seconds": round(state.seconds, 1),
        "valid_loss": state.best_loss if valid else None,
        "best_step": state.best_step if valid else state.step,
    }
    return figures


def mean_loss(model: LanguageModel, store: TokenStore) -> float:
    """-log p in nats per token over a stored text, read as one stream."""
    starts = set(store.document_starts.tolist())
    lines: Iterator[Sentence] = (Sentence(ids, index in starts) for index, ids in enumerate(store.lines()))
    return -sum(float(scores.sum()) for scores in score_lines(model, lines)) / store.num_tokens
