"""A trained classifier: texts in, classes and their probabilities out."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from lmkit.classification import run_files
from lmkit.classification.examples import Example, LabelledText
from lmkit.classification.network import encode
from lmkit.classification.report import Report
from lmkit.classification.run import resume_files, train_examples, train_files
from lmkit.classification.settings import classify_owners, settings_of
from lmkit.classification.training import log_probabilities
from lmkit.corpus.readers import given_lines
from lmkit.corpus.word_lists import refuse_one_string
from lmkit.devices import pick_device
from lmkit.errors import UsageError
from lmkit.option_owners import MODEL, TOKENIZER, distribute
from lmkit.training.report import Reporter, usual_reporter

BLOCK = 4096
"""Texts that are read ahead, to score those of similar lengths together."""


class Classifier:
    """A trained classifier, the result of `classify`, `resume_classifier` and `load_classifier`.

    labels: the classes, in the order of the columns of `predict_proba`.
    """

    def __init__(self, parts: run_files.Parts) -> None:
        self.parts = parts
        self.labels = parts.labels
        self.figures = dict(parts.figures)
        """Of its training: valid_accuracy, valid_macro_f1, best_epoch and others."""

    def __repr__(self) -> str:
        return f"<lmkit classifier of {len(self.labels)} classes on {self.parts.model_choice.name}>"

    def predict_proba(self, texts: Iterable[str]) -> np.ndarray:
        """(texts, classes) float64 probabilities of each text; rows sum to one.

        A line end in a text counts as a space. Raises UsageError for a single string.
        """
        return np.exp(self.log_proba(texts))

    def log_proba(self, texts: Iterable[str]) -> np.ndarray:
        """(texts, classes) natural logarithms of the probabilities."""
        refuse_one_string(texts, "texts")
        most = self.parts.options.max_tokens
        encoded = [
            encode(self.parts.tokenizer, " ".join(text.splitlines()), most) for text in given_lines(texts)
        ]
        return log_probabilities(self.parts.network, encoded).numpy()

    def predict(self, texts: Iterable[str]) -> list[str]:
        """The most probable class of each text."""
        return [self.labels[place] for place in self.log_proba(texts).argmax(1)]

    def predict_each(self, texts: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        """Each text and its (classes,) probabilities, in order and in bounded memory."""
        waiting = iter(texts)
        while block := list(islice(waiting, BLOCK)):
            yield from zip(block, self.predict_proba(block), strict=True)

    def evaluate(self, texts: Sequence[str], labels: Sequence[str]) -> Report:
        """The figures of the predictions for texts with known labels; UsageError for an unknown label."""
        if unknown := sorted(set(labels) - set(self.labels)):
            raise UsageError(
                f"'{unknown[0]}' is not a class of the classifier ({', '.join(self.labels[:20])})"
            )
        return Report.of(self.labels, labels, self.predict(texts))

    def save(self, directory: str | Path, *, overwrite: bool = False) -> None:
        """Write it as a run, for `load_classifier` and `lmkit predict`; UsageError when the directory is taken."""
        run_files.save(self.parts, Path(directory), [], overwrite=overwrite)

    def __getstate__(self) -> dict[str, bytes]:
        """The files of its run, which hold all of it, whatever the plugins of its parts are made of."""
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder, "run")
            run_files.write(self.parts, run)
            return {
                path.relative_to(run).as_posix(): path.read_bytes()
                for path in run.rglob("*")
                if path.is_file()
            }

    def __setstate__(self, files: Mapping[str, bytes]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            Classifier.__init__(self, run_files.load(Path(folder)))


def load_classifier(
    directory: str | Path, *, device: str = "auto", allow_nonfinite: bool = False
) -> Classifier:
    """The classifier in a run's directory, which `lmkit classify` or `classify` wrote.

    Raises ModelError when the directory is not a valid classifier, PluginError when it needs a missing plugin.
    """
    parts = run_files.load(Path(directory), allow_nonfinite=allow_nonfinite)
    parts.place(pick_device(device, parts.parameter_count()))
    return Classifier(parts)


def classify(
    data: str | Path | Sequence[str | Path] | Sequence[tuple[str, str]],
    *,
    text: str = "text",
    label: str = "label",
    valid: str | Path | Sequence[str | Path] | Sequence[tuple[str, str]] = (),
    model: str | Mapping[str, Any] | None = None,
    tokenizer: str | Mapping[str, Any] | None = None,
    init_from: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
    **options: Any,
) -> Classifier:
    """Train a classifier of texts: `lmkit.classify("train.csv", hidden_size=128, pool="mean", out="runs/clf")`.

    data, valid: the paths of tables with the columns `text` and `label`, or pairs (text, label) in memory; without
    valid, a tenth of each class is held out. init_from: a run whose model and tokenizer to begin with, instead of
    `model` and `tokenizer`. out: the directory to write; None: only memory. options: the flags of `lmkit classify`
    with underscores. Raises UsageError, DataError and PluginError, with the messages of the command line.
    """
    named = {path: part for path, part in ((MODEL, model), (TOKENIZER, tokenizer)) if part is not None}
    owners = partial(classify_owners, init_from)
    tables = distribute(owners, named, {**options, "text_field": text}, classify.__kwdefaults__ or ())
    settings = settings_of(tables, init_from)
    reporter = reporter or usual_reporter()
    source, held_out = (_source(one, label, settings.recipe.data) for one in (data, valid))
    if source is None:
        raise UsageError("classify needs texts: give the path of a table, or pairs (text, label)")
    if out is not None and isinstance(source, LabelledText) and not isinstance(held_out, list):
        train_files(source, settings, valid=held_out, out=Path(out), overwrite=overwrite, reporter=reporter)
        return load_classifier(out, device=settings.options.device)
    examples = source.read() if isinstance(source, LabelledText) else source
    others = held_out.read() if isinstance(held_out, LabelledText) else held_out
    where = source.describe() if isinstance(source, LabelledText) else f"{len(examples):,} texts"
    trained = train_examples(examples, settings, others, where=where, reporter=reporter)
    if out is not None:
        run_files.save(trained.parts, Path(out), trained.history, overwrite=overwrite)
    return Classifier(trained.parts)


def resume_classifier(directory: str | Path, *, reporter: Reporter | None = None) -> Classifier:
    """Continue the training in `directory` from its checkpoint, and load it: `lmkit classify --resume`.

    Raises CheckpointError when there is no whole checkpoint, or the texts have changed.
    """
    resume_files(Path(directory), reporter=reporter or usual_reporter())
    return load_classifier(directory)


def _source(data: Any, label: str, options: Any) -> LabelledText | list[Example] | None:
    """The files, or the examples, in an argument of `classify`; None without any."""
    items = [data] if isinstance(data, (str, Path)) else list(data)
    if not items:
        return None
    if all(isinstance(item, (str, Path)) for item in items):
        return LabelledText(tuple(map(str, items)), label, options=options)
    pairs = [item if isinstance(item, tuple) and len(item) == 2 else None for item in items]
    if any(pair is None or not all(isinstance(one, str) for one in pair) for pair in pairs):
        raise UsageError("data must be paths of tables, or pairs (text, label) of strings")
    return [Example(" ".join(text.splitlines()), label) for text, label in filter(None, pairs)]
