"""Start a training from the weights of a finished run (`--init-from`)."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lmkit import runs
from lmkit.contracts import Tokenizer
from lmkit.corpus.readers import TextLines
from lmkit.errors import UsageError, listed
from lmkit.neural.growth import NewTokens, copy_weights
from lmkit.neural.trainable import TrainableModel
from lmkit.neural.weights import named_weights
from lmkit.options import Chosen, choose, nested, to_table
from lmkit.recipe import Recipe
from lmkit.run_paths import TOKENIZER
from lmkit.training.checkpoint import Difference, differences
from lmkit.training.options import InitOptions
from lmkit.training.report import Reporter
from lmkit.training.text import Corpus


@dataclass(frozen=True)
class Start:
    """The trained model that a recipe starts from. options: those of the recipe, with the SHA-256 of its weights."""

    run: runs.LoadedRun
    options: InitOptions
    reporter: Reporter

    @classmethod
    def read(cls, recipe: Recipe, reporter: Reporter) -> "Start":
        """Load the run of `recipe.init`.

        Raises UsageError if it cannot be trained further, if its weights are not those of the recipe, or if the
        recipe changes its tokenizer, its cells or the shape of its weights.
        """
        assert recipe.init is not None
        assert recipe.init.run is not None
        directory = Path(recipe.init.run)
        run = runs.load_run(directory)
        if not isinstance(run.model, TrainableModel):
            raise UsageError(
                f"{directory}: --init-from needs a model trained by gradient descent, but this {_name(run)} has no "
                "weights to start from; give the run of a recurrent, window or elmo model"
            )
        weights = _digest(run.manifest)
        if recipe.init.weights not in (None, weights):
            raise UsageError(
                f"{directory}: its weights are not those that the recipe names ({recipe.init.weights[:12]}, now "
                f"{weights[:12]}): restore them, or remove `weights` from the table [init]"
            )
        _check_tokenizer(run, recipe.tokenizer)
        _check_model(run, run.model, recipe.model)
        return cls(run, replace(recipe.init, weights=weights), reporter)

    def tokenizer(self, lines: TextLines) -> Tokenizer:
        """The run's tokenizer, with new words of the text if the recipe wants them."""
        old = self.run.tokenizer
        if not self.options.new_words:
            return old
        new = old.extended(lines, self.run.tokenizer_choice.options, self.options.new_words)
        added = new.vocabulary.size - old.vocabulary.size
        self.reporter.message(f"{added:,} new words: {new.vocabulary.size:,} in the vocabulary")
        return new

    def give_weights(self, model: TrainableModel, corpus: Corpus) -> None:
        """Copy the run's weights into a new model; new words share the probability of the unknown word."""
        old = self.run.model
        assert isinstance(old, TrainableModel)
        size, unknown = old.vocabulary.size, old.vocabulary.unk_id
        new = None
        if model.vocabulary.size > size:
            assert unknown is not None
            counts = torch.from_numpy(corpus.train.counts(model.vocabulary.size))
            new = NewTokens(size, unknown, counts[size:], int(counts[unknown]))
        copy_weights(model, old, new)
        self.reporter.message(f"starting from the weights of {self.run.directory}")


def _digest(manifest: dict[str, Any]) -> str:
    """A SHA-256 of the files of a run's model, without those of its tokenizer."""
    files = sorted((name, facts["sha256"]) for name, facts in manifest["files"].items())
    lines = [f"{name} {digest}\n" for name, digest in files if not name.startswith(f"{TOKENIZER}/")]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _name(run: runs.LoadedRun) -> str:
    return f"{run.model_choice.name.rpartition(':')[2]} model"


def _check_tokenizer(run: runs.LoadedRun, given: Chosen | None) -> None:
    """Raise UsageError if a recipe has another tokenizer than the run."""
    if given is None:
        return
    changed = list(differences(to_table(run.tokenizer_choice), to_table(given), "tokenizer."))
    if changed:
        raise UsageError(
            f"--init-from keeps the tokenizer of {run.directory}: {_told(changed)}; "
            "leave the tokenizer's options out"
        )


def _check_model(run: runs.LoadedRun, old: TrainableModel, given: Chosen) -> None:
    """Raise UsageError, with the options, if a recipe's model has other parts or other shapes of weights."""
    before, now = to_table(run.model_choice), to_table(given)
    changed = list(differences(before, now, "model."))
    if [part.name for part in nested(run.model_choice)] != [part.name for part in nested(given)]:
        raise UsageError(
            f"--init-from keeps the model of {run.directory}: {_told(changed)}; leave --model and --cell out"
        )
    if _shapes(given, old) == _shapes_of(old):
        return
    alone = [difference for difference in changed if not _fits(difference, before, old)]
    raise UsageError(
        f"--init-from keeps the size and form of {run.directory}: {_told(alone or changed)}; "
        "leave out the options that change the shape of weights"
    )


def _fits(difference: Difference, before: dict[str, Any], old: TrainableModel) -> bool:
    """Whether the weights have the same shapes if only this option changes."""
    try:
        chosen = choose("model", _with(before, difference.name.split(".")[1:], difference.after), "model")
        return _shapes(chosen, old) == _shapes_of(old)
    except UsageError:
        return False


def _with(table: dict[str, Any], path: list[str], value: object) -> dict[str, Any]:
    """The table with another value at a path."""
    first, *rest = path
    return {**table, first: _with(table[first], rest, value) if rest else value}


def _shapes(chosen: Chosen, old: TrainableModel) -> dict[str, torch.Size]:
    """The shapes of the weights of a model with the old vocabulary; it needs no memory."""
    with torch.device("meta"):
        return _shapes_of(chosen.load()(chosen.options, old.vocabulary))


def _shapes_of(model: TrainableModel) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in named_weights(model).items()}


def _told(changed: list[Difference]) -> str:
    # The options of another part differ because of its name.
    names = [difference for difference in changed if difference.name.endswith(".name")]
    return listed([str(difference) for difference in names[-1:] or changed])
