"""Accuracy of classifiers of film reviews: counts of words, a GRU from scratch, a language model.

    python examples/classification/measure.py DIR [--init-from RUN]

DIR holds rt-polarity.neg and rt-polarity.pos, a sentence a line. Each split is a fold of a stratified
cross-validation: its test part only measures, and the epoch or the strength of the regularisation is chosen on texts
of the training part. All methods get the same splits.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline

from lmkit.cli.console import say
from lmkit.errors import DataError, LmkitError
from lmkit.pipelines.sklearn import TextClassifier

SEED = 1
"""Of the folds; the seed of a training is the number of its split."""
STRENGTHS = (1.0, 3.0, 10.0)
"""C of the logistic regression: three folds of the training part choose one."""
CLASSES = ("neg", "pos")

Method = Callable[[int], Any]
"""Returns an untrained classifier with the interface of scikit-learn, for the number of a split."""


def main(arguments: Sequence[str] | None = None) -> None:
    settings = parsed(arguments)
    try:
        texts, labels = read(settings.data)
        print("| method | accuracy | CPU seconds per training |\n|---|---:|---:|", flush=True)
        for name, method in methods(settings).items():
            found = measured(name, method, texts, labels, settings.splits)
            accuracies, seconds = zip(*found, strict=True)
            mean, deviation = statistics.mean(accuracies), statistics.stdev(accuracies)
            print(f"| {name} | {mean:.1f} ± {deviation:.1f} | {statistics.mean(seconds):.1f} |", flush=True)
    except LmkitError as error:
        say(str(error), error.label)
        sys.exit(error.exit_code)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The settings of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="DIR", help="folder of the reviews")
    parser.add_argument("--init-from", type=Path, metavar="RUN", help="also a classifier from this run")
    parser.add_argument("--splits", type=int, default=5, help="folds (default 5)")
    parser.add_argument("--max-epochs", type=int, default=6, help="of each training (default 6)")
    parser.add_argument("--hidden-size", type=int, default=128, help="of the GRU from scratch (default 128)")
    return parser.parse_args(arguments)


def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """(texts,) the sentences, and (texts,) their classes; DataError if a file is missing."""
    texts: list[str] = []
    labels: list[str] = []
    for label in CLASSES:
        path = folder / f"rt-polarity.{label}"
        if not path.is_file():
            raise DataError(f"{path}: missing; give the folder of the reviews")
        with path.open(encoding="utf-8") as file:
            lines = [line.strip() for line in file]
        texts += lines
        labels += [label] * len(lines)
    return np.array(texts, dtype=object), np.array(labels)


def methods(settings: argparse.Namespace) -> Mapping[str, Method]:
    """The methods by their names in the table."""
    network = partial(classifier, max_epochs=settings.max_epochs)
    scratch = partial(network, model="gru", options={"hidden_size": settings.hidden_size})
    found: dict[str, Method] = {
        "TF-IDF, logistic regression": lambda split: counts(),
        "GRU from scratch": scratch,
        "GRU from scratch, both directions": partial(scratch, directions="both"),
    }
    if settings.init_from is not None:
        found["from a language model"] = partial(network, init_from=settings.init_from)
    return found


def classifier(split: int, options: Mapping[str, Any] | None = None, **settings: Any) -> TextClassifier:
    """A neural classifier, which holds out a tenth of the texts of `fit` to choose the epoch."""
    return TextClassifier(seed=split, device="cpu", options={**(options or {}), "threads": 1}, **settings)


def counts() -> GridSearchCV:
    """A logistic regression on words and word pairs, its C chosen within the texts of `fit`."""
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    pipeline = make_pipeline(vectors, LogisticRegression(max_iter=1000))
    return GridSearchCV(pipeline, {"logisticregression__C": STRENGTHS}, cv=3)


def measured(
    name: str, method: Method, texts: np.ndarray, labels: np.ndarray, splits: int
) -> list[tuple[float, float]]:
    """The accuracy on the test part in percent, and the CPU seconds of the training, of each split."""
    found = []
    folds = StratifiedKFold(splits, shuffle=True, random_state=SEED).split(texts, labels)
    for split, (train, test) in enumerate(folds):
        model = method(split)
        begun = time.process_time()
        model.fit(list(texts[train]), labels[train])
        seconds = time.process_time() - begun
        accuracy = 100 * float(np.mean(model.predict(list(texts[test])) == labels[test]))
        say(f"split {split + 1}: {accuracy:.1f} in {seconds:.1f} CPU seconds", name)
        found.append((accuracy, seconds))
    return found


if __name__ == "__main__":
    main()
