"""Save the model of a run that is being trained."""

from pathlib import Path
from typing import Any

from lmkit import runs
from lmkit.errors import CheckpointError
from lmkit.files import writing
from lmkit.kinds import is_trainable
from lmkit.recipe import Recipe
from lmkit.training.text import Corpus


class Saver:
    """Saves the best weights: files first, lmkit.json last, each replaced by a rename."""

    def __init__(self, directory: Path, recipe: Recipe, corpus: Corpus, model: Any) -> None:
        self.directory = directory
        self.recipe = recipe
        self.corpus = corpus
        self.model = model

    def keep(self, training: dict[str, Any]) -> None:
        """Save the current model; CheckpointError when it cannot be written."""
        trainable = is_trainable(self.model)
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
