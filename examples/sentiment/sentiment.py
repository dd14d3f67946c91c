"""Film reviews, good or bad, by logistic regression: on counts of the words, on an encoder's vectors, on both.

python examples/sentiment/sentiment.py RUN --data DIR [--folds 10] [--json]

DIR holds rt-polarity.pos and rt-polarity.neg, a sentence a line. Accuracy in percent in a stratified
cross-validation: mean and standard deviation over the folds, which are the same for all, and the mean difference from
the counts alone.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler

from lmkit.cli.console import say
from lmkit.errors import DataError, LmkitError
from lmkit.pipelines.sklearn import EmbeddingTransformer

SEED = 1
"""Of the folds."""

STRENGTH = 10.0
"""C of all the classifiers: the best of 1, 3 and 10 for the counts alone."""

WEIGHTS = (1.0, 0.5, 0.25)
"""Of the vectors beside the counts: each fold takes the best on three parts of what it learns from."""

LABELS = ("neg", "pos")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the reviews")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    settings = parser.parse_args()
    try:
        rows = compared(settings.run, *read(settings.data), settings.folds)
    except LmkitError as error:
        say(str(error), error.label)
        sys.exit(error.exit_code)
    if settings.json:
        print(json.dumps(rows, indent=1))
    else:
        show(rows)


def read(folder: Path) -> tuple[list[str], list[int]]:
    """The sentences and their labels, 1 for the good ones. DataError where a file is missing."""
    texts: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(LABELS):
        path = folder / f"rt-polarity.{name}"
        if not path.is_file():
            raise DataError(f"{path}: missing: give the folder of the reviews")
        with path.open(encoding="utf-8") as file:
            lines = [line.strip() for line in file]
        texts += lines
        labels += [label] * len(lines)
    return texts, labels


def compared(run: Path, texts: list[str], labels: list[int], folds: int) -> list[dict[str, Any]]:
    """The accuracy of each kind of input over the folds."""
    counts = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    # Rows of length 1, as those of the counts are: one C suits both.
    vectors = make_pipeline(embedded_once(run, texts), StandardScaler(), Normalizer())
    inputs = {
        "tf-idf": counts,
        "encoder": vectors,
        "both": FeatureUnion([("counts", counts), ("vectors", vectors)]),
    }
    splits = StratifiedKFold(folds, shuffle=True, random_state=SEED)
    accuracies = {}
    for name, transformer in inputs.items():
        classifier = make_pipeline(transformer, LogisticRegression(C=STRENGTH, max_iter=1000))
        if isinstance(transformer, FeatureUnion):
            weights = [{"vectors": weight} for weight in WEIGHTS]
            classifier = GridSearchCV(classifier, {"featureunion__transformer_weights": weights}, cv=3)
        accuracies[name] = 100 * cross_val_score(classifier, texts, labels, cv=splits)
    return [row(name, accuracies[name], accuracies["tf-idf"]) for name in inputs]


def embedded_once(run: Path, texts: list[str]) -> FunctionTransformer:
    """`EmbeddingTransformer`, its vectors made once for all folds: they do not depend on what they are made with."""
    rows = EmbeddingTransformer(run, layer="all", pool="mean").fit_transform(texts)
    known = dict(zip(texts, np.asarray(rows), strict=True))
    return FunctionTransformer(lambda wanted: np.array([known[text] for text in wanted]))


def row(name: str, accuracies: Sequence[float], counts: Sequence[float]) -> dict[str, Any]:
    """The figures of one kind of input, in percent."""
    differences = [own - other for own, other in zip(accuracies, counts, strict=True)]
    return {
        "inputs": name,
        "accuracy": round(statistics.mean(accuracies), 2),
        "deviation": round(statistics.stdev(accuracies), 2),
        "difference": round(statistics.mean(differences), 2),
    }


def show(rows: Sequence[dict[str, Any]]) -> None:
    """The figures as a table of Markdown."""
    print("| inputs | accuracy | difference from tf-idf |\n|---|---|---|")
    for figures in rows:
        accuracy = f"{figures['accuracy']:.1f} ± {figures['deviation']:.1f}"
        print(f"| {figures['inputs']} | {accuracy} | {figures['difference']:+.2f} |")


if __name__ == "__main__":
    main()
