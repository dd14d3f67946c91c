"""The runs that are served, by name, and what each of them can do."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from lmkit.contracts import Encoder, LanguageModel
from lmkit.errors import LmkitError, UsageError
from lmkit.kinds import is_neural
from lmkit.model import Model
from lmkit.run_facts import bare, model_name
from lmkit.serve.continuing import Continuations
from lmkit.serve.engine import Engine
from lmkit.serve.errors import ApiError, unknown_model
from lmkit.serve.spelling import Speller


class Served:
    """A run under its public name.

    The model and what works with it are used in the engine's thread only, once the engine has begun.
    """

    def __init__(self, name: str, model: Model, engine: Engine) -> None:
        self.name = name
        self.model = model
        self.speller = Speller(model.tokenizer)
        self.continuations: Continuations | None = None
        self.refusal = _no_continuations(model)
        if self.refusal is None:
            self.continuations = Continuations(engine, model.causal, self.speller)
            engine.add_steps(self.continuations)
        self.facts = self._facts()

    @property
    def vocabulary_size(self) -> int:
        """The number of ids."""
        return self.model.vocabulary.size

    @cached_property
    def width(self) -> int | None:
        """The number of features of its vectors; None without vectors."""
        return self.model.encoder.width if _has_vectors(self.model) else None

    def can_continue(self) -> Continuations:
        """Its continuations; ApiError, with the reason, for a model without a next token."""
        if self.continuations is None:
            raise ApiError(400, f"{self.name}: {self.refusal}", param="model")
        return self.continuations

    @cached_property
    def directions(self) -> list[str]:
        """The directions in which it gives scores."""
        try:
            return list(self.model.directions)
        except LmkitError:
            return []

    def _facts(self) -> dict[str, Any]:
        """Facts of the run for clients; nothing of its place on disk."""
        run, model = self.model.run, self.model.run.model
        causal = isinstance(model, LanguageModel)
        by_token = self.continuations is not None
        scores = bool(self.directions)
        does = {
            "completions": by_token,
            "score": scores,
            "surprisal": causal and model.normalized,
            "fill": scores and not (causal and model.units is not None),
            "why": scores and not (causal and model.units is not None),
            "next": by_token,
            "embeddings": self.width is not None,
        }
        table = run.manifest.get("model")
        return {
            "kind": "causal" if causal else "encoder",
            "model": model_name(run.manifest) if isinstance(table, dict) else run.model_choice.name,
            "tokenizer": bare(run.tokenizer_choice.name),
            "unit": self.model.tokenizer.unit,
            "vocabulary": self.vocabulary_size,
            "parameters": self.model.parameter_count(),
            "width": self.width,
            "reset": model.reset_policy if causal else None,
            "normalized": model.normalized if causal else None,
            "order": table.get("order") if isinstance(table, dict) else None,
            "directions": self.directions,
            "does": [name for name, possible in does.items() if possible],
        }


class Models:
    """The served runs in order."""

    def __init__(self, models: Mapping[str, Model], engine: Engine) -> None:
        self._served = {name: Served(name, model, engine) for name, model in models.items()}

    @property
    def names(self) -> list[str]:
        """The public names."""
        return list(self._served)

    def __iter__(self) -> Any:
        return iter(self._served.values())

    def __len__(self) -> int:
        return len(self._served)

    def named(self, name: str) -> Served:
        """The run of a name; 404 for another."""
        if name not in self._served:
            raise unknown_model(name, self._served)
        return self._served[name]

    def only(self, name: str | None) -> Served:
        """The run that a request names, or the only one; 400 if it names none of several."""
        if name is not None:
            return self.named(name)
        if len(self._served) > 1:
            raise ApiError(
                400,
                f"model: there are several, so a request must name one: {', '.join(self._served)}",
                param="model",
                code="model_missing",
            )
        return next(iter(self._served.values()))


def public_names(labels: Mapping[str, Path], aliases: Mapping[str, str]) -> dict[str, str]:
    """The public name of each label of a run.

    aliases: by a run's path as it was given, or its label. UsageError for an unknown run, and for a name used twice.
    """
    names = {label: label for label in labels}
    for run, alias in aliases.items():
        found = [label for label, path in labels.items() if run == label or Path(run) == path]
        if not found:
            raise UsageError(f"--name {run}={alias}: {run} is not among the runs: {', '.join(labels)}")
        if not alias.strip() or not alias.isprintable():
            raise UsageError(f"--name {run}={alias}: give a name that can be printed")
        names[found[0]] = alias
    for name in names.values():
        if list(names.values()).count(name) > 1:
            raise UsageError(f"two runs have the name {name}: give another with --name RUN=ALIAS")
    return names


def _no_continuations(model: Model) -> str | None:
    """Why a model has no next token; None if it has one."""
    found = model.run.model
    if isinstance(found, Encoder):
        return "an encoder reads both sides and has no next token; it has /v1/embeddings, /fill and /score"
    if found.units is not None:
        return (
            f"a mixture by {found.units[0]} has no distribution over the next token; it has /score and "
            f"/surprisal by {' and '.join(found.units)}"
        )
    return None


def _has_vectors(model: Model) -> bool:
    return isinstance(model.run.model, Encoder) or is_neural(model.run.model)
