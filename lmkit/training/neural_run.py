"""Train the network of a run: its first weights, its trainer, and its figures."""

import contextlib
import logging
import math
import signal
from pathlib import Path
from typing import Any

import torch

from lmkit import recipe as recipes
from lmkit import run_paths
from lmkit.contracts import Encoder, LanguageModel
from lmkit.corpus.streams import Streams
from lmkit.neural.trainable import TrainableModel
from lmkit.notes import NOTE
from lmkit.options import Chosen, to_table
from lmkit.perplexity import perplexity
from lmkit.recipe import Recipe
from lmkit.scoring.split_words import read_as_typed
from lmkit.scoring.text_code import TextCode
from lmkit.training.checkpoint import Checkpoints
from lmkit.training.loggers import Loggers, find_loggers
from lmkit.training.loop import Trainer
from lmkit.training.memory import keep_large_blocks
from lmkit.training.metrics import Metrics
from lmkit.training.plan import share_training
from lmkit.training.processes import Processes
from lmkit.training.report import Reporter
from lmkit.training.saver import Saver
from lmkit.training.signals import Interrupted, stop_on_signals
from lmkit.training.start import Start
from lmkit.training.text import Corpus
from lmkit.training.validation import validate

log = logging.getLogger(__name__)


def prepare(recipe: Recipe, processes: Processes) -> None:
    """Set torch's threads; UsageError if the device or a logger of a recipe is not available."""
    if processes.leads:
        find_loggers(recipe.train.log_to)
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    processes.device(recipe.train.device)


def placed(model: TrainableModel, recipe: Recipe, processes: Processes) -> TrainableModel:
    """The network on the device of a recipe for this process."""
    device = processes.device(recipe.train.device, model.parameter_count())
    if recipe.train.device == "auto" and device.type == "cpu" and torch.cuda.is_available():
        log.log(NOTE, "the CPU trains so small a model faster than the GPU; --device cuda takes the GPU")
    return model.to(device)


def begun(recipe: Recipe, corpus: Corpus, start: Start | None, reporter: Reporter) -> TrainableModel:
    """The network of a new run, with its own initial weights or those of `start`."""
    torch.manual_seed(recipe.train.seed)
    model = made(recipe, corpus)
    reporter.message(described(model, recipe.model))
    if start is not None:
        start.give_weights(model, corpus)
    return model


def made(recipe: Recipe, corpus: Corpus) -> Any:
    """The network of a recipe, a LanguageModel or an Encoder, with its initial weights."""
    vocabulary = corpus.tokenizer.vocabulary
    model: TrainableModel = recipe.model.load()(recipe.model.options, vocabulary)
    if isinstance(model, Encoder):
        model.use_tokenizer(corpus.tokenizer)
    counts = torch.from_numpy(corpus.train.counts(vocabulary.size))
    model.sample_from(counts)
    if recipe.train.output_bias == "unigram" and recipe.init is None:
        model.start_at(counts)
    return model


def described(model: TrainableModel, asked: Chosen) -> str:
    """The number of parameters of a model, with the options that it filled in."""
    before = to_table(asked)
    filled = {name: value for name, value in to_table(model.options).items() if before.get(name) != value}
    sizes = ", ".join(f"{name} {value}" for name, value in filled.items())
    return f"{model.parameter_count():,} parameters" + (f" with {sizes}" if sizes else "")


def train(
    model: TrainableModel,
    recipe: Recipe,
    corpus: Corpus,
    saver: Saver,
    reporter: Reporter,
    processes: Processes,
    stop_after: int | None,
) -> dict[str, Any]:
    """Train a network on its device from the first step; the figures."""
    trainer = make_trainer(placed(model, recipe, processes), recipe, corpus, saver, reporter)
    share_training(trainer, processes, saver.directory, recipe, corpus, stop_after)
    return run_trainer(trainer, saver.directory, stop_after)


def make_trainer(
    model: TrainableModel, recipe: Recipe, corpus: Corpus, saver: Saver, reporter: Reporter
) -> Trainer:
    """The trainer of a run, before its first step."""
    assert isinstance(model, (LanguageModel, Encoder))
    keep_large_blocks()
    options, valid = recipe.train, corpus.valid
    code = text_code(model, corpus, reporter)
    streams = make_streams(model, recipe, corpus)
    loggers = Loggers(find_loggers(options.log_to), saver.directory, recipes.to_tables(recipe))

    def keep() -> None:
        state = trainer.state
        saver.keep(
            {
                "step": state.step,
                "valid_loss": state.best_loss if math.isfinite(state.best_loss) else None,
                "carried_tokens": min(state.step, streams.steps_per_epoch) * streams.bptt,
                "precision": options.precision,
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
        metrics=Metrics(saver.directory / run_paths.METRICS, loggers),
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
    with (
        contextlib.closing(trainer.metrics),
        stop_on_signals(patient=trainer.processes.count > 1) as request,
    ):
        trainer.metrics.open()
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
