"""Train a classifier from its settings, or resume its training: texts, tokenizer, model, training, saving."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lmkit import runs
from lmkit.classification import run_files
from lmkit.classification.checkpoint import Keeper, facts_of, restore, start_of, texts_of
from lmkit.classification.examples import Example, LabelledText, check_labels, classes_of, split
from lmkit.classification.network import encode
from lmkit.classification.options import BOTH, ClassifyOptions
from lmkit.classification.report import Report
from lmkit.classification.settings import Settings
from lmkit.classification.training import ClassifierTrainer, LabelledTexts, Validation, log_probabilities
from lmkit.contracts import Encoder, Tokenizer
from lmkit.corpus.readers import Text, TextLines
from lmkit.devices import pick_device, place
from lmkit.errors import CheckpointError, UsageError
from lmkit.files import writing
from lmkit.manifest import read_manifest
from lmkit.options import Chosen
from lmkit.recurrence import TrainableModel
from lmkit.run_paths import is_run, trains_classifier
from lmkit.training.checkpoint import Checkpoints
from lmkit.training.memory import keep_large_blocks
from lmkit.training.report import Reporter
from lmkit.training.run_directory import run_lock, workplace
from lmkit.training.signals import Interrupted, StopRequest, stop_on_signals
from lmkit.training.text import find_tokenizer


@dataclass(frozen=True)
class TrainedClassifier:
    """The classifier in memory, the figures of its training, and a record for each epoch."""

    parts: run_files.Parts
    summary: dict[str, Any]
    history: list[dict[str, Any]]


def train_files(
    text: LabelledText,
    settings: Settings,
    *,
    valid: LabelledText | None = None,
    out: Path,
    overwrite: bool = False,
    reporter: Reporter,
) -> dict[str, Any]:
    """Train a classifier on files and write it to `out`, with checkpoints on the way; its figures.

    Raises Interrupted after SIGINT or SIGTERM, when the best weights so far and a checkpoint are saved.
    """
    runs.check_free(out, overwrite=overwrite)
    if settings.init_from is not None:
        read_manifest(settings.init_from)  # raises ModelError before the texts are read
    examples = text.read()
    held_out = None if valid is None else valid.read()
    with workplace(out, settings.recipe.model, overwrite=overwrite), stop_on_signals() as request:
        prepared = prepare(examples, settings, held_out, where=text.describe(), reporter=reporter)
        trainer = prepared.trainer(reporter)
        keeper = Keeper(out, facts_of(text, valid, prepared.pretrained, examples, held_out))
        return _trained(out, prepared, trainer, keeper, request)


def resume_files(
    directory: Path, *, device: str | None = None, threads: int | None = None, reporter: Reporter
) -> dict[str, Any]:
    """Continue the training of a classifier in `directory` from its checkpoint; its figures.

    The result is that of an uninterrupted training, to the last bit on the same machine. device, threads: other ones
    than before. Raises CheckpointError when there is no whole checkpoint, or the texts have changed.
    """
    if not trains_classifier(directory):
        if not directory.is_dir():
            why = "it does not exist"
        elif is_run(directory):
            why = "its training is finished"
        else:
            why = "lmkit classify has not saved one in it"
        raise CheckpointError(f"{directory} has no checkpoint of a classifier to resume from: {why}")
    with run_lock(directory), writing(directory, kind=CheckpointError), stop_on_signals() as request:
        saved = Checkpoints(directory, keep=1, every=None).newest()
        text, valid = texts_of(saved)
        examples = text.read()
        held_out = None if valid is None else valid.read()
        facts = facts_of(text, valid, saved.facts.get("pretrained") is True, examples, held_out)
        if facts["fingerprint"] != saved.facts.get("fingerprint"):
            raise CheckpointError(
                f"{text.describe()}: not the same texts as when the training began; restore them, or train a new "
                "classifier"
            )
        parts = run_files.load(start_of(directory), pretrained=facts["pretrained"])
        options = parts.options
        options = replace(options, device=device or options.device, threads=threads or options.threads)
        _prepare(options)
        parts.place(pick_device(options.device, parts.parameter_count()))
        train, held = split(examples, held_out, options.seed)
        prepared = _encode_all(replace(parts, options=options), train, held, facts["pretrained"])
        trainer = prepared.trainer(reporter)
        restore(trainer, saved)
        reporter.message(f"resuming {directory} in epoch {trainer.progress.finished + 1}")
        return _trained(directory, prepared, trainer, Keeper(directory, facts, begun=True), request)


def train_examples(
    examples: Sequence[Example],
    settings: Settings,
    held_out: Sequence[Example] | None = None,
    *,
    where: str,
    reporter: Reporter,
) -> TrainedClassifier:
    """Train a classifier in memory.

    held_out: texts that choose the best epoch; None: a tenth of the examples. where: their origin, for messages.
    """
    prepared = prepare(examples, settings, held_out, where=where, reporter=reporter)
    trainer = prepared.trainer(reporter)
    return _result(prepared, trainer, trainer.run())


@dataclass(frozen=True)
class Prepared:
    """A classifier before its training or in it, and the encoded texts. pretrained: its model is that of a run."""

    parts: run_files.Parts
    train: LabelledTexts
    valid: LabelledTexts
    pretrained: bool

    def trainer(self, reporter: Reporter) -> ClassifierTrainer:
        return ClassifierTrainer(
            self.parts.network, self.train, self.valid, self.parts.options,
            pretrained=self.pretrained, reporter=reporter,
        )  # fmt: skip


def prepare(
    examples: Sequence[Example],
    settings: Settings,
    held_out: Sequence[Example] | None,
    *,
    where: str,
    reporter: Reporter,
) -> Prepared:
    """Make the network of a classifier with initial weights, and encode the texts; the rest as in `train_examples`."""
    options = settings.options
    _check_model(settings)
    _prepare(options)
    labels = classes_of(examples, where)
    train, valid = split(examples, held_out, options.seed)
    check_labels(valid, labels, "the validation texts")
    counts = Counter(example.label for example in train)
    most, largest = counts.most_common(1)[0]
    reporter.message(
        f"{where}: {len(train):,} texts of {len(labels)} classes, {len(valid):,} for validation; "
        f"'{most}' is {largest / len(train):.1%} of them"
    )
    torch.manual_seed(options.seed)
    pretrained = settings.init_from is not None
    base = _from_run(settings) if pretrained else _from_scratch(train, settings, reporter)
    parts = run_files.Parts(
        run_files.make_network(base.models, labels, options, pretrained=pretrained),
        base.models, base.tokenizer, labels, options, base.model_choice, base.tokenizer_choice,
        data={"description": where, **({"init_from": str(settings.init_from)} if pretrained else {})},
        figures={},
    )  # fmt: skip
    prepared = _encode_all(parts, train, valid, pretrained)
    longer = sum(len(text.ids) == options.max_tokens for text in prepared.train.texts)
    if longer:
        reporter.message(
            f"{longer:,} texts have {options.max_tokens} tokens or more, of which that many are read"
        )
    return prepared


def _prepare(options: ClassifyOptions) -> None:
    """Make the settings of the process; UsageError if the device is not available."""
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_large_blocks()
    pick_device(options.device)


def _encode_all(
    parts: run_files.Parts, train: Sequence[Example], valid: Sequence[Example], pretrained: bool
) -> Prepared:
    most = parts.options.max_tokens
    texts, held = (_encoded(parts.tokenizer, part, parts.labels, most) for part in (train, valid))
    return Prepared(parts, texts, held, pretrained)


def _trained(
    out: Path, prepared: Prepared, trainer: ClassifierTrainer, keeper: Keeper, request: StopRequest
) -> dict[str, Any]:
    """Train to the end or to a request to stop, and write the best classifier to `out`; its figures."""
    best = trainer.run(request, lambda wanted: keeper.keep(trainer, prepared.parts, wanted))
    trained = _result(prepared, trainer, best)
    run_files.replace_in(out, trained.parts, trained.history, with_checkpoints=not trainer.over())
    if request.signal is not None:
        go_on = "" if trainer.over() else f"; continue with lmkit classify --resume {out}"
        raise Interrupted(
            f"stopped in epoch {trained.summary['epochs']}; the best classifier so far is in {out}{go_on}",
            request.signal,
        )
    return {"run": str(out), **trained.summary}


def _result(prepared: Prepared, trainer: ClassifierTrainer, best: Validation) -> TrainedClassifier:
    """The classifier with its figures. best: the validation of its weights."""
    parts = prepared.parts
    figures = _figures(trainer, best, parts.labels)
    summary = {
        "model": parts.model_choice.name,
        "kind": "classifier",
        "parameters": parts.parameter_count(),
        "classes": len(parts.labels),
        "train_texts": len(prepared.train.texts),
        "valid_texts": len(prepared.valid.texts),
        **figures,
    }
    return TrainedClassifier(replace(parts, figures=figures), summary, trainer.history)


def _check_model(settings: Settings) -> None:
    """Raise UsageError for a model that is not neural."""
    model = settings.recipe.model
    if settings.init_from is None and not issubclass(model.load(), TrainableModel):
        raise UsageError(
            f"the model {model.name} has no states to classify (it is no neural model); choose another --model"
        )


@dataclass(frozen=True)
class Base:
    """The models under the head, and their tokenizer."""

    models: tuple[run_files.Trunk, ...]
    tokenizer: Tokenizer
    model_choice: Chosen
    tokenizer_choice: Chosen


def _from_run(settings: Settings) -> Base:
    assert settings.init_from is not None
    if settings.options.directions == BOTH:
        raise UsageError(
            "--directions both needs a model for each: leave --init-from out, or give it a run of an encoder, which "
            "reads both ways, and leave --directions out"
        )
    run = runs.load_run(settings.init_from)
    model = run_files.as_trunk(run.model, str(settings.init_from))
    place(model, settings.options.device)
    return Base((model,), run.tokenizer, run.model_choice, run.tokenizer_choice)


def _from_scratch(train: Sequence[Example], settings: Settings, reporter: Reporter) -> Base:
    recipe = settings.recipe
    target = recipe.model.load()
    lines = TextLines(Text.from_lines([example.text for example in train]), reporter)
    choice = recipe.tokenizer or find_tokenizer(lines.beginning(), recipe, reporter)
    tokenizer: Tokenizer = choice.load().fit(lines, choice.options)
    models = []
    for _ in range(2 if settings.options.directions == BOTH else 1):
        model = target(recipe.model.options, tokenizer.vocabulary)
        if isinstance(model, Encoder):
            model.use_tokenizer(tokenizer)
            if settings.options.directions == BOTH:
                raise UsageError("an encoder reads both ways already; leave --directions out")
        models.append(run_files.as_trunk(model, recipe.model.name))
        place(models[-1], settings.options.device)
    return Base(tuple(models), tokenizer, replace(recipe.model, options=models[0].options), choice)


def _encoded(
    tokenizer: Tokenizer, examples: Sequence[Example], labels: Sequence[str], max_tokens: int
) -> LabelledTexts:
    places = {label: place for place, label in enumerate(labels)}
    return LabelledTexts(
        [encode(tokenizer, example.text, max_tokens) for example in examples],
        [places[example.label] for example in examples],
    )


def _figures(trainer: ClassifierTrainer, best: Validation, labels: Sequence[str]) -> dict[str, Any]:
    """The figures of a training, for the manifest."""
    found = log_probabilities(trainer.network, trainer.valid.texts).argmax(1).tolist()
    truth = trainer.valid.targets
    report = Report.of(labels, [str(labels[one]) for one in truth], [str(labels[one]) for one in found])
    return {
        "step": trainer.progress.updates,
        "epochs": trainer.progress.epochs,
        "best_epoch": best.epoch,
        "valid_loss": best.loss,
        "valid_accuracy": best.accuracy,
        "valid_macro_f1": report.macro_f1,
        "cpu_seconds": round(trainer.progress.cpu_seconds, 1),
    }
