"""Train a classifier from its settings: texts, tokenizer, model, training, saving."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lmkit import runs
from lmkit.classification import run_files
from lmkit.classification.examples import Example, LabelledText, check_labels, classes_of, hold_out
from lmkit.classification.network import encode
from lmkit.classification.options import BOTH
from lmkit.classification.report import Report
from lmkit.classification.settings import Settings
from lmkit.classification.training import ClassifierTrainer, LabelledTexts, Validation, log_probabilities
from lmkit.contracts import Encoder, Tokenizer
from lmkit.corpus.readers import Text, TextLines
from lmkit.devices import pick_device
from lmkit.errors import UsageError
from lmkit.manifest import read_manifest
from lmkit.options import Chosen
from lmkit.recurrence import TrainableModel
from lmkit.training.memory import keep_large_blocks
from lmkit.training.report import Reporter
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
    """Train a classifier on files and write it to `out`; its figures.

    Raises Interrupted after SIGINT or SIGTERM, when the best weights so far are saved.
    """
    runs.check_free(out, overwrite=overwrite)
    if settings.init_from is not None:
        read_manifest(settings.init_from)  # raises ModelError before the texts are read
    examples = text.read()
    held_out = None if valid is None else valid.read()
    with stop_on_signals() as request:
        trained = train_examples(
            examples, settings, held_out, where=text.describe(), reporter=reporter, request=request
        )
        run_files.save(trained.parts, out, trained.history, overwrite=overwrite)
    if request.signal is not None:
        raise Interrupted(
            f"stopped in epoch {trained.summary['epochs']}; the best classifier so far is in {out}",
            request.signal,
        )
    return {"run": str(out), **trained.summary}


def train_examples(
    examples: Sequence[Example],
    settings: Settings,
    held_out: Sequence[Example] | None = None,
    *,
    where: str,
    reporter: Reporter,
    request: StopRequest | None = None,
) -> TrainedClassifier:
    """Train a classifier in memory.

    held_out: texts that choose the best epoch; None: a tenth of the examples. where: their origin, for messages.
    """
    options = settings.options
    _check_model(settings)
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_large_blocks()
    device = pick_device(options.device)
    labels = classes_of(examples, where)
    train, valid = hold_out(examples, options.seed) if held_out is None else (examples, held_out)
    check_labels(valid, labels, "the validation texts")
    counts = Counter(example.label for example in train)
    most, largest = counts.most_common(1)[0]
    reporter.message(
        f"{where}: {len(train):,} texts of {len(labels)} classes, {len(valid):,} for validation; "
        f"'{most}' is {largest / len(train):.1%} of them"
    )
    torch.manual_seed(options.seed)
    base = (
        _from_run(settings, device)
        if settings.init_from
        else _from_scratch(train, settings, device, reporter)
    )
    network = run_files.make_network(base.models, labels, options, pretrained=settings.init_from is not None)
    texts, held = (_encoded(base.tokenizer, part, labels, options.max_tokens) for part in (train, valid))
    longer = sum(len(text.ids) == options.max_tokens for text in texts.texts)
    if longer:
        reporter.message(
            f"{longer:,} texts have {options.max_tokens} tokens or more, of which that many are read"
        )
    trainer = ClassifierTrainer(
        network, texts, held, options, pretrained=settings.init_from is not None, reporter=reporter
    )
    best = trainer.run(request or (lambda: False))
    figures = _figures(trainer, best, labels)
    parts = run_files.Parts(
        network, base.models, base.tokenizer, labels, options, base.model_choice, base.tokenizer_choice,
        data={"description": where, **({"init_from": str(settings.init_from)} if settings.init_from else {})},
        figures=figures,
    )  # fmt: skip
    summary = {
        "model": base.model_choice.name,
        "kind": "classifier",
        "parameters": parts.parameter_count(),
        "classes": len(labels),
        "train_texts": len(train),
        "valid_texts": len(valid),
        **figures,
    }
    return TrainedClassifier(parts, summary, trainer.history)


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


def _from_run(settings: Settings, device: torch.device) -> Base:
    assert settings.init_from is not None
    if settings.options.directions == BOTH:
        raise UsageError(
            "--directions both needs a model for each: leave --init-from out, or give it a run of an encoder, which "
            "reads both ways, and leave --directions out"
        )
    run = runs.load_run(settings.init_from)
    model = run_files.as_trunk(run.model, str(settings.init_from))
    model.place(device)
    return Base((model,), run.tokenizer, run.model_choice, run.tokenizer_choice)


def _from_scratch(
    train: Sequence[Example], settings: Settings, device: torch.device, reporter: Reporter
) -> Base:
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
        models.append(run_files.as_trunk(model, recipe.model.name).place(device))
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
