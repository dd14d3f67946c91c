"""Write and read the directory of a classifier, which is a run with the network's files beside its model's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lmkit import runs, strict_json
from lmkit.classification.network import (
    CausalReader,
    ClassifierNetwork,
    EncoderReader,
    Head,
    Reader,
    pooled_width,
)
from lmkit.classification.options import BOTH, NEVER, ClassifyOptions
from lmkit.contracts import Encoder, LanguageModel, Tokenizer
from lmkit.errors import ModelError, UsageError
from lmkit.files import write_text
from lmkit.manifest import read_json, read_manifest
from lmkit.neural.weights import load_weights, nonfinite, save_weights, shortened
from lmkit.options import Chosen, resolve, to_table
from lmkit.recurrence import NeuralLanguageModel
from lmkit.run_paths import CHECKPOINTS, CLASSIFIER, MANIFEST, METRICS, TOKENIZER
from lmkit.run_paths import CLASSIFIER_SETTINGS as SETTINGS

HEAD = "classifier.safetensors"
BACKWARD = "backward"
"""The folder of the second model, which reads texts from their end."""

Trunk = NeuralLanguageModel | Encoder


@dataclass(frozen=True)
class Parts:
    """A classifier in memory.

    models: one, or two of a kind, of which the second reads texts from their end. figures: of its training.
    """

    network: ClassifierNetwork
    models: tuple[Trunk, ...]
    tokenizer: Tokenizer
    labels: tuple[str, ...]
    options: ClassifyOptions
    model_choice: Chosen
    tokenizer_choice: Chosen
    data: Mapping[str, str]
    figures: Mapping[str, Any]

    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.network.parameters())

    def place(self, device: torch.device) -> None:
        """Move all weights to a device."""
        for model in self.models:
            model.place(device)
        self.network.head.to(device)


def make_network(
    models: Sequence[Trunk], labels: Sequence[str], options: ClassifyOptions, *, pretrained: bool
) -> ClassifierNetwork:
    """The network over models; its head has initial weights."""
    assert options.pool is not None
    frozen = pretrained and options.unfreeze == NEVER
    readers: list[Reader] = [
        CausalReader(model, backward=place > 0)
        if isinstance(model, NeuralLanguageModel)
        else EncoderReader(model, trainable=not frozen)
        for place, model in enumerate(models)
    ]
    head = _head(readers, len(labels), options)
    return ClassifierNetwork(readers, head.to(models[0].device), options.pool, frozen=frozen)


def _head(readers: Sequence[Reader], classes: int, options: ClassifyOptions) -> Head:
    assert options.pool is not None
    width = pooled_width(readers, options.pool)
    return Head(width, classes, mixed_layers=readers[0].num_layers, dropout=options.head_dropout)


def as_trunk(model: LanguageModel | Encoder, name: str) -> Trunk:
    """The model, if a classifier can read its states; else UsageError."""
    neural = isinstance(model, NeuralLanguageModel) or (
        isinstance(model, Encoder) and isinstance(model, torch.nn.Module)
    )
    if not neural:
        raise UsageError(f"{name} has no states to classify (it is no neural model): choose another")
    return model  # pyright: ignore[reportReturnType]


def save(parts: Parts, out: Path, history: Sequence[Mapping[str, Any]], *, overwrite: bool) -> None:
    """Create the directory of a classifier, atomically.

    history: a record for each epoch, for metrics.jsonl. Raises UsageError when `out` is taken.
    """
    runs.check_free(out, overwrite=overwrite)
    with runs.staging(out) as folder:
        runs.put_in_place(_made(parts, history, folder / "run"), out)


def replace_in(
    directory: Path, parts: Parts, history: Sequence[Mapping[str, Any]], *, with_checkpoints: bool
) -> None:
    """Put the files of a classifier in the place of those in its directory, lmkit.json last.

    with_checkpoints: keep those of its training, which can go on.
    """
    with runs.staging(directory) as folder:
        made = _made(parts, history, folder / "run")
        runs.clear(directory, keep=(CHECKPOINTS,) if with_checkpoints else ())
        for path in sorted(made.iterdir(), key=lambda path: path.name == MANIFEST):
            path.rename(directory / path.name)


def _made(parts: Parts, history: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """The new folder with the files of a classifier and its metrics."""
    write(parts, folder)
    lines = [strict_json.report(dict(record)) + "\n" for record in history]
    write_text(folder / METRICS, "".join(lines))
    return folder


def write(parts: Parts, directory: Path) -> None:
    """Write a classifier into a new directory."""
    (directory / TOKENIZER).mkdir(parents=True)
    parts.tokenizer.save(directory / TOKENIZER)
    for place, model in enumerate(parts.models):
        folder = directory / BACKWARD if place else directory
        folder.mkdir(exist_ok=True)
        model.save(folder)
    save_weights(parts.network.head, directory / HEAD)
    settings = {"labels": list(parts.labels), "options": to_table(parts.options)}
    write_text(directory / SETTINGS, strict_json.dumps(settings, indent=1, ascii_only=False) + "\n")
    names = [path.relative_to(directory) for path in directory.rglob("*") if path.is_file()]
    runs.write_manifest(
        directory, kind=CLASSIFIER, model=parts.model_choice, tokenizer=parts.tokenizer_choice,
        vocabulary=parts.tokenizer.vocabulary, parameters=parts.parameter_count(), data=parts.data,
        training=parts.figures, files=[path.as_posix() for path in names if path.parts[0] != TOKENIZER],
    )  # fmt: skip


def load(directory: Path, *, pretrained: bool = False, allow_nonfinite: bool = False) -> Parts:
    """The classifier in a directory. pretrained: train it as one that began from a run.

    Raises ModelError when a file is missing, damaged or does not fit, PluginError when a plugin is not installed.
    """
    manifest = read_manifest(directory)
    if manifest.get("kind") != CLASSIFIER:
        raise ModelError(
            f"{directory} is no classifier: make one of it with lmkit classify TABLE --init-from {directory}"
        )
    run = runs.load_parts(directory, manifest, allow_nonfinite=allow_nonfinite)
    labels, options = _settings(directory / SETTINGS)
    try:
        models = [as_trunk(run.model, run.model_choice.name)]
        if options.directions == BOTH:
            choice = run.model_choice
            second = choice.load().load(directory / BACKWARD, choice.options, run.tokenizer.vocabulary)
            models.append(as_trunk(second, choice.name))
    except UsageError as error:
        raise ModelError(f"{directory}: damaged: {error}") from error
    network = make_network(models, labels, options, pretrained=pretrained)
    with torch.device("meta"):
        plan = _head(network.all_readers(), len(labels), options)
    load_weights(directory / HEAD, plan, lambda: network.head)
    if not allow_nonfinite and (names := nonfinite(network)):
        raise ModelError(f"{directory}: NaN or infinite weights: {shortened(names)}; train it again")
    return Parts(
        network, tuple(models), run.tokenizer, labels, options, run.model_choice, run.tokenizer_choice,
        manifest.get("data") or {}, manifest.get("training") or {},
    )  # fmt: skip


def _settings(path: Path) -> tuple[tuple[str, ...], ClassifyOptions]:
    """The labels and the options of a classifier."""
    settings = read_json(path)
    labels, table = settings.get("labels"), settings.get("options")
    whole = isinstance(labels, list) and all(isinstance(one, str) for one in labels)
    names: tuple[str, ...] = tuple(labels) if whole and labels else ()
    if len(names) < 2 or len(set(names)) != len(names) or not isinstance(table, dict):
        raise ModelError(f"{path}: damaged: it needs two or more distinct labels, and options; restore it")
    try:
        options: ClassifyOptions = resolve(ClassifyOptions, table, str(path))
    except UsageError as error:
        raise ModelError(str(error)) from error
    if options.pool is None:
        options = replace(options, pool="last")
    return names, options
