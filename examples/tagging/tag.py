"""Part-of-speech tags by a linear classifier: what a frozen encoder adds to features of the words.

python examples/tagging/tag.py RUN --treebank DIR [--sizes 100,1000] [--subsets 5] [--untrained] [--json]

Each classifier is fitted to random subsets of the treebank's training part and tags its test part. Its inputs are
features of the words (itself, affixes, neighbours), the encoder's layers side by side, or both. Accuracy is in
percent, over all words and over those that the subset does not have: mean and standard deviation over the subsets.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from classifier import LinearClassifier, Penalties, Rows
from features import Features
from torch import Tensor, nn
from treebank import Sentence, read_part, subset

import lmkit
from lmkit.api import Model
from lmkit.cli.console import progress, say
from lmkit.contracts import Encoder
from lmkit.errors import LmkitError
from lmkit.recipe import build, read_recipe
from lmkit.run_paths import RECIPE

PENALTIES = {
    "features": Penalties(sparse=0.1),
    "encoder": Penalties(dense=30.0),
    "untrained": Penalties(dense=30.0),
    "both": Penalties(dense=30.0, sparse=0.3),
}
"""Chosen once on the dev part (`--part dev`), the same for all sizes."""


@dataclass(frozen=True)
class Trial:
    """One classifier's result. seed: of the subset. all, unseen: percent of the words that got the right tag.

    unseen is None where the subset has all words.
    """

    size: int
    seed: int
    inputs: str
    all: float
    unseen: float | None


def main() -> None:
    settings = parsed()
    try:
        treebank = Treebank(settings.treebank, settings.part)
        trials = list(tried(settings.run, treebank, settings.sizes, settings.subsets, settings.untrained))
    except LmkitError as error:
        say(str(error), error.label)
        sys.exit(error.exit_code)
    rows = summary(trials)
    if settings.json:
        print(json.dumps(rows, indent=1))
    else:
        show(rows)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--treebank", type=Path, required=True, help="a folder of CoNLL-U files")
    parser.add_argument("--sizes", type=numbers, default=[100, 1000], help="sentences of a subset: 100,1000")
    parser.add_argument("--subsets", type=int, default=5, help="random subsets of each size")
    parser.add_argument("--untrained", action="store_true", help="also the encoder with its initial weights")
    parser.add_argument("--part", choices=["dev", "test"], default="test", help="the part that is tagged")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def tried(
    run: Path, treebank: "Treebank", sizes: Sequence[int], subsets: int, untrained: bool = False
) -> Iterator[Trial]:
    """A trial for each subset and each kind of inputs."""
    encoders = {"encoder": lmkit.load(run)}
    if untrained:
        encoders["untrained"] = with_initial_weights(encoders["encoder"])
    embedded = {name: vectors(model, treebank.test) for name, model in encoders.items()}
    drawn = [(size, seed) for size in sizes for seed in range(subsets)]
    for size, seed in progress(drawn, total=len(drawn), label="tagging"):
        chosen = subset(treebank.train, size, seed)
        features = Features(chosen)
        words = features(chosen), features(treebank.test)
        inputs = {"features": (Rows(sparse=words[0]), Rows(sparse=words[1]))}
        for name, model in encoders.items():
            inputs[name] = Rows(vectors(model, chosen)), Rows(embedded[name])
        fitted, tagged = inputs["encoder"]
        inputs["both"] = replace(fitted, sparse=words[0]), replace(tagged, sparse=words[1])
        for name, rows in inputs.items():
            yield Trial(size, seed, name, *treebank.accuracy(chosen, *rows, PENALTIES[name]))


class Treebank:
    """The sentences to learn from, those to tag, and the tags of both."""

    def __init__(self, folder: Path, part: str = "test") -> None:
        """part: what is tagged."""
        self.train, self.test = read_part(folder, "train"), read_part(folder, part)
        self.tags = sorted({tag for sentence in self.train + self.test for tag in sentence.tags})
        self.right = self._numbered(self.test)

    def accuracy(
        self, chosen: Sequence[Sentence], fitted: Rows, tagged: Rows, penalties: Penalties
    ) -> tuple[float, float | None]:
        """Percent right of the words to tag, all and those not among the chosen, by a classifier fitted to these."""
        classifier = LinearClassifier(fitted, self._numbered(chosen), len(self.tags), penalties)
        right = (classifier.predict(tagged) == self.right).float()
        seen = {word for sentence in chosen for word in sentence.words}
        unseen = torch.tensor([word not in seen for sentence in self.test for word in sentence.words])
        return 100 * float(right.mean()), 100 * float(right[unseen].mean()) if unseen.any() else None

    def _numbered(self, sentences: Sequence[Sentence]) -> Tensor:
        """(words,) the tags of all words by their place in `tags`."""
        places = {tag: place for place, tag in enumerate(self.tags)}
        return torch.tensor([places[tag] for sentence in sentences for tag in sentence.tags])


def vectors(model: Model, sentences: Sequence[Sentence]) -> Tensor:
    """(words, layers x features): all layers of each word, one after another."""
    embedded = model.embed([sentence.words for sentence in sentences])
    return torch.cat([layers.transpose(0, 1).flatten(1) for layers in embedded])


def with_initial_weights(trained: Model) -> Model:
    """The same network as the run's training began with."""
    run = trained.run
    torch.manual_seed(build(read_recipe(run.directory / RECIPE)).train.seed)
    network = run.model_choice.load()(run.model_choice.options, run.tokenizer.vocabulary)
    if isinstance(network, Encoder):
        network.use_tokenizer(run.tokenizer)
    if isinstance(network, nn.Module):
        network.eval()
    return Model(replace(run, model=network))


def summary(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """The figures of each size and each kind of inputs over the subsets."""
    groups: dict[tuple[int, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.size, trial.inputs), []).append(trial)
    rows = []
    for (size, inputs), group in groups.items():
        row: dict[str, Any] = {"sentences": size, "inputs": inputs, "subsets": len(group)}
        for name in ("all", "unseen"):
            values = [value for trial in group if (value := getattr(trial, name)) is not None]
            row[name] = round(statistics.mean(values), 2) if values else None
            row[f"{name}_deviation"] = round(statistics.stdev(values), 2) if len(values) > 1 else None
        rows.append(row)
    return rows


def show(rows: Sequence[dict[str, Any]]) -> None:
    """The figures as a table of Markdown."""
    print("| sentences | inputs | all words | unseen words |\n|---|---|---|---|")
    for row in rows:
        cells = [cell(row[name], row[f"{name}_deviation"]) for name in ("all", "unseen")]
        print(f"| {row['sentences']} | {row['inputs']} | {' | '.join(cells)} |")


def cell(mean: float | None, deviation: float | None) -> str:
    if mean is None:
        return "none"
    return f"{mean:.1f}" + ("" if deviation is None else f" ± {deviation:.1f}")


if __name__ == "__main__":
    main()
