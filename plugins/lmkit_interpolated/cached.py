"""The cached model: a run inside another, with a continuous cache whose settings were fitted on held-out text."""

from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from lmkit import runs
from lmkit.adaptation.cache import CachedModel
from lmkit.adaptation.options import CacheOptions
from lmkit.contracts import LanguageModel, Vocabulary
from lmkit.errors import ModelError, UsageError
from lmkit_interpolated.parts import PARTS, copy_run

if TYPE_CHECKING:
    from lmkit.contracts import FitContext
    from lmkit.corpus.store import TokenStore


class CachedRun(CachedModel):
    """A causal model with a cache, in a run that contains the model's run."""

    part: runs.LoadedRun

    def __init__(self, options: CacheOptions, vocabulary: Vocabulary) -> None:
        self.options = options
        self.vocabulary = vocabulary

    @classmethod
    def around(cls, part: runs.LoadedRun, options: CacheOptions) -> Self:
        """The model of a run with a cache. Raises UsageError for one that cannot have a cache."""
        model = cls(options, part.model.vocabulary)
        CachedModel.__init__(model, cast(LanguageModel, part.model), options)
        model.part = part
        return model

    def fit(self, corpus: "TokenStore", run: "FitContext") -> None:
        raise UsageError(
            "a cache is added to a trained run, not trained: lmkit interpolate RUN valid.txt --cache 2000 --out DIR"
        )

    def save(self, directory: Path) -> None:
        copy_run(self.part, directory / PARTS / "0")

    @classmethod
    def load(cls, directory: Path, options: CacheOptions, vocabulary: Vocabulary) -> Self:
        path = directory / PARTS / "0"
        part = runs.load_run(path)
        if not isinstance(part.model, LanguageModel):
            raise ModelError(f"{path}: an encoder cannot have a cache; restore the folder")
        if part.model.vocabulary.fingerprint != vocabulary.fingerprint:
            raise ModelError(f"{path}: it has another vocabulary than the run; restore it")
        return cls.around(part, options)
