"""Train the run of a recipe: text, tokenizer, model, training, saving."""

import logging
import math
import shutil
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lmkit import launch, run_paths, runs
from lmkit import recipe as recipes
from lmkit.contracts import Encoder, FitContext, LanguageModel, Tokenizer
from lmkit.corpus.readers import TextLines
from lmkit.corpus.streams import Streams
from lmkit.errors import CheckpointError, UsageError
from lmkit.files import writing
from lmkit.options import Chosen, to_table
from lmkit.perplexity import perplexity
from lmkit.recipe import Recipe
from lmkit.recurrence import TrainableModel
from lmkit.scoring.score import evaluate
from lmkit.scoring.split_words import read_as_typed
from lmkit.scoring.text_code import TextCode
from lmkit.training.checkpoint import Checkpoints
from lmkit.training.loop import Trainer
from lmkit.training.memory import give_back, keep_large_blocks
from lmkit.training.metrics import Metrics
from lmkit.training.options import LIMITS, TrainOptions
from lmkit.training.plan import share_training
from lmkit.training.processes import ALONE, Processes
from lmkit.training.report import Reporter
from lmkit.training.run_directory import workplace
from lmkit.training.signals import Interrupted, stop_on_signals
from lmkit.training.start import Start
from lmkit.training.text import Corpus, find_tokenizer, open_texts, store_corpus, with_defaults
from lmkit.training.validation import validate

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
        start = Start.read(recipe, reporter)
        recipe = replace(recipe, init=start.options)
    target = recipe.model.load()
    fit = getattr(target, "fit", LanguageModel.fit)
    if not issubclass(target, TrainableModel) and fit is LanguageModel.fit:
        raise UsageError(
            f"the model {recipe.model.name} cannot be trained: it has no `fit`; choose another --model"
        )
    if not issubclass(target, TrainableModel):
        _warn_of_unused(given, recipe.model)
        target.check_options(recipe.model.options)
    device = prepare(recipe, processes)
    with workplace(out, recipe.model, overwrite=overwrite) as directory:
        text, valid = open_texts(recipe, validates=issubclass(target, TrainableModel))
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
        torch.manual_seed(recipe.train.seed)
        model = made(recipe, corpus)
        if isinstance(model, TrainableModel):
            # A model may fill in missing options, such as a size that depends on the vocabulary.
            reporter.message(described(model, recipe.model))
            recipe = replace(recipe, model=replace(recipe.model, options=model.options))
            if start is not None:
                start.give_weights(model, corpus)
        runs.clear(directory)
        if launch.may_restart():
            launch.mark(directory)
        recipes.write(recipe, directory / run_paths.RECIPE)
        (directory / run_paths.TOKENIZER).mkdir()
        tokenizer.save(directory / run_paths.TOKENIZER)
        saver = Saver(directory, recipe, corpus, model)
        if isinstance(model, TrainableModel):
            trainer = make_trainer(model.to(device), recipe, corpus, saver, reporter)
            share_training(trainer, processes, directory, recipe, corpus, stop_after)
            figures = run_trainer(trainer, directory, stop_after)
        else:
            assert isinstance(model, LanguageModel)
            figures = fit_model(model, recipe, corpus, saver, reporter)
        return TrainedRun(directory, summary(directory, recipe, corpus, model, figures))


def made(recipe: Recipe, corpus: Corpus) -> Any:
    """The model of a recipe with its initial weights: a LanguageModel or an Encoder, trainable or not."""
    vocabulary = corpus.tokenizer.vocabulary
    model = recipe.model.load()(recipe.model.options, vocabulary)
    if isinstance(model, Encoder):
        model.use_tokenizer(corpus.tokenizer)
    if isinstance(model, TrainableModel):
        counts = torch.from_numpy(corpus.train.counts(vocabulary.size))
        model.sample_from(counts)
        if recipe.train.output_bias == "unigram" and recipe.init is None:
            model.start_at(counts)
    return model


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


def described(model: TrainableModel, asked: Chosen) -> str:
    """The number of parameters of a model, with the options that it filled in."""
    before = to_table(asked)
    filled = {name: value for name, value in to_table(model.options).items() if before.get(name) != value}
    sizes = ", ".join(f"{name} {value}" for name, value in filled.items())
    return f"{model.parameter_count():,} parameters" + (f" with {sizes}" if sizes else "")


def fit_model(
    model: LanguageModel, recipe: Recipe, corpus: Corpus, saver: "Saver", reporter: Reporter
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


def prepare(recipe: Recipe, processes: Processes) -> torch.device:
    """The device of a recipe for this process; sets torch's threads."""
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    return processes.device(recipe.train.device)


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


class Saver:
    """Saves the best weights: files first, lmkit.json last, each replaced by a rename."""

    def __init__(self, directory: Path, recipe: Recipe, corpus: Corpus, model: Any) -> None:
        self.directory = directory
        self.recipe = recipe
        self.corpus = corpus
        self.model = model

    def keep(self, training: dict[str, Any]) -> None:
        """Save the current model; CheckpointError when it cannot be written."""
        trainable = isinstance(self.model, TrainableModel)
        then = "then continue with --resume" if trainable else "then train it again"
        with writing(self.directory, kind=CheckpointError, then=then):
            runs.keep_model(
                self.directory,
                self.model,
                model_choice=self.recipe.model,
                tokenizer_choice=self.corpus.tokenizer_choice,
                vocabulary=self.corpus.tokenizer.vocabulary,
                data={"description": self.corpus.description, **self.corpus.fingerprints()},
                training=training,
            )


def make_trainer(
    model: TrainableModel, recipe: Recipe, corpus: Corpus, saver: Saver, reporter: Reporter
) -> Trainer:
    """The trainer of a run, before its first step."""
    assert isinstance(model, (LanguageModel, Encoder))
    keep_large_blocks()
    options, valid = recipe.train, corpus.valid
    code = text_code(model, corpus, reporter)
    streams = make_streams(model, recipe, corpus)

    def keep() -> None:
        state = trainer.state
        saver.keep(
            {
                "step": state.step,
                "valid_loss": state.best_loss if math.isfinite(state.best_loss) else None,
                "carried_tokens": min(state.step, streams.steps_per_epoch) * streams.bptt,
            }
        )

    trainer = Trainer(
        model,
        streams,
        options,
        validation_tokens=valid.num_tokens if valid else 0,
        # An encoder without causal models has no comparable figures.
        validate=(lambda: validate(model, valid, code)) if valid and model.directions else None,
        keep_best=keep,
        trained=recipe.init is not None,
        metrics=Metrics(saver.directory / run_paths.METRICS),
        reporter=reporter,
        checkpoints=Checkpoints(
            saver.directory,
            keep=options.keep,
            every=options.save_every,
            facts={"recipe": recipes.to_tables(recipe), "fingerprints": corpus.fingerprints()},
        ),
    )
    return trainer


def make_streams(model: TrainableModel, recipe: Recipe, corpus: Corpus) -> Streams:
    """The streams of the training text."""
    streams = model.streams(corpus.train, recipe.train.batch_size, recipe.train.bptt)
    if recipe.train.vary_bptt:
        streams.vary(recipe.train.seed)
    return streams


def text_code(model: LanguageModel | Encoder, corpus: Corpus, reporter: Reporter) -> TextCode | None:
    """The code of the validation text; None, with a message that gives the reason, if there is none."""
    if corpus.valid is None or corpus.valid_text is None or not model.directions:
        return None
    withheld = "an encoder predicts a token from both sides"
    if isinstance(model, LanguageModel):
        lines = reporter(corpus.valid_text, total=None, label="measuring the validation text")
        code = TextCode(read_as_typed(corpus.tokenizer), lines, corpus.valid.lines())
        if code.withheld is None:
            return code
        withheld = code.withheld
    reporter.message(f"no bits per byte of the validation text: {withheld}")
    return None


def run_trainer(trainer: Trainer, directory: Path, stop_after: int | None) -> dict[str, Any]:
    """Train until a limit, `stop_after` or a signal; the figures, or Interrupted after a signal."""
    with stop_on_signals(patient=trainer.processes.count > 1) as request:
        state = trainer.run(stop_after, request)
        if math.isinf(state.best_loss):
            with trainer.weights_to_keep():
                trainer.keep()  # without a validation, the newest weights are the best
    if (request.signal is not None or trainer.stopped) and not trainer.over():
        raise Interrupted(
            f"stopped at step {state.step}; everything is saved; continue with lmkit train --resume {directory}",
            request.signal or signal.SIGTERM,
        )
    validated = trainer.validate is not None and math.isfinite(state.best_loss)
    return {
        "steps": state.step,
        "epochs": round(trainer.streams.windows.epochs(state.step), 3),
        "seconds": round(state.seconds, 1),
        "cpu_seconds": round(state.cpu_seconds, 1),
        "valid_loss": state.best_loss if validated else None,
        "valid_perplexity": perplexity(state.best_loss) if validated else None,
        "valid_bits_per_byte": state.best_bits_per_byte,
        "best_step": state.best_step if validated else state.step,
    }
