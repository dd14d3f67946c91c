"""The interpolated model: p(token) = sum over parts of weight * p_part(token), with its parts in its run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from lmkit import runs, strict_json
from lmkit.contracts import LanguageModel, Vocabulary
from lmkit.errors import ModelError, UsageError
from lmkit.states import State
from lmkit_interpolated.parts import PARTS, copy_run

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lmkit.contracts import FitContext
    from lmkit.corpus.store import TokenStore

WEIGHTS = "weights.json"
MOST_PARTS = 100


class InterpolatedModel(LanguageModel):
    """Parts with weights that sum to one; a state is the tuple of the parts' states.

    If some parts are reset at every line and others are not, the mixture is reset like the others, and those parts
    are reset after each `</s>`. Torch is imported only for parts that need it, which models of counts do not.
    """

    def __init__(self, options: Any, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.parts: list[runs.LoadedRun] = []
        self.models: list[LanguageModel] = []
        self.weights: list[float] = []

    @classmethod
    def combine(cls, parts: Sequence[runs.LoadedRun], weights: Sequence[float]) -> Self:
        """The mixture of runs. Raises UsageError for runs that cannot be mixed, with the reason."""
        check(parts)
        return cls(None, parts[0].model.vocabulary)._filled(parts, weights)

    def _filled(self, parts: Sequence[runs.LoadedRun], weights: Sequence[float]) -> Self:
        return self._of(parts, [cast(LanguageModel, part.model) for part in parts], weights)

    def with_parts(self, change: Callable[[LanguageModel], LanguageModel]) -> LanguageModel:
        models = [cast(LanguageModel, part.model).with_parts(change) for part in self.parts]
        return InterpolatedModel(None, self.vocabulary)._of(self.parts, models, self.weights)

    def _of(
        self, parts: Sequence[runs.LoadedRun], models: list[LanguageModel], weights: Sequence[float]
    ) -> Self:
        self.parts = list(parts)
        self.weights = list(weights)
        self.normalized = all(model.normalized for model in models)
        self.reset_policy = common_policy([model.reset_policy for model in models])
        if self.reset_policy != "line":
            from lmkit.adaptation.wrapper import carried_over_lines

            models = [carried_over_lines(model) for model in models]
        self.models = models
        with np.errstate(divide="ignore"):
            self._log_weights = np.log(self.weights)
        return self

    def fit(self, corpus: TokenStore, run: FitContext) -> None:
        raise UsageError(
            "a mixture is made of trained runs, not of text: lmkit interpolate RUN RUN --data valid.txt --out DIR"
        )

    @property
    def device(self) -> torch.device:
        """The device of the mixing in float64, on the CPU, since not every accelerator has that type."""
        import torch

        return torch.device("cpu")

    def place(self, device: torch.device) -> Self:
        """Move the parts."""
        for model in self.models:
            model.place(device)
        return self

    def parameter_count(self) -> int:
        return len(self.weights) + sum(model.parameter_count() for model in self.models)

    def initial_state(self, batch_size: int, *, start: bool = True) -> State:
        return tuple(model.initial_state(batch_size, start=start) for model in self.models)

    def next_log_probs(self, state: State) -> Tensor:
        return self._mixed([m.next_log_probs(s) for m, s in zip(self.models, state, strict=True)])

    def advance(self, ids: Tensor, state: State) -> State:
        return tuple(m.advance(ids.to(m.device), s) for m, s in zip(self.models, state, strict=True))

    def key(self, state: State) -> Tensor | None:
        """The features of the first part that has some."""
        return _first(model.key(part) for model, part in zip(self.models, state, strict=True))

    def log_probs(self, ids: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, State]:
        scores, _, state = self.keyed_log_probs(ids, state, reset=reset)
        return scores, state

    def keyed_log_probs(
        self, ids: Tensor, state: State, *, reset: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, State]:
        scores, keys, found = [], [], []
        for model, before in zip(self.models, state, strict=True):
            part, key, after = model.keyed_log_probs(
                ids.to(model.device), before, reset=None if reset is None else reset.to(model.device)
            )
            scores.append(part)
            keys.append(key)
            found.append(after)
        return self._mixed(scores), _first(keys), tuple(found)

    def line_log_probs(self, ids: np.ndarray) -> np.ndarray | None:
        """None unless every part has a fast way."""
        if self.reset_policy != "line":
            return None
        scores = [model.line_log_probs(ids) for model in self.models]
        found = [part for part in scores if part is not None]
        if len(found) < len(scores):
            return None
        return np.logaddexp.reduce(np.stack(found) + self._log_weights[:, None])

    def _mixed(self, scores: Sequence[Tensor]) -> Tensor:
        """log of the weighted mean of probabilities, in float64."""
        import torch

        total = torch.stack([score.cpu().double() for score in scores])
        weights = torch.from_numpy(self._log_weights).view(-1, *[1] * (total.dim() - 1))
        return torch.logsumexp(total + weights, 0)

    def save(self, directory: Path) -> None:
        save_parts(directory, self.parts, {"weights": self.weights})

    @classmethod
    def load(cls, directory: Path, options: Any, vocabulary: Vocabulary) -> Self:
        weights = read_weights(directory)["weights"]
        parts = [runs.load_run(directory / PARTS / str(place)) for place in range(len(weights))]
        if any(part.model.vocabulary.fingerprint != vocabulary.fingerprint for part in parts):
            raise ModelError(f"{directory / PARTS}: a part has another vocabulary than the run; restore it")
        return cls(options, vocabulary)._filled(parts, weights)


def save_parts(directory: Path, parts: Sequence[runs.LoadedRun], table: dict[str, Any]) -> None:
    """Copy the runs of a mixture, and write the table of its weights."""
    for place, part in enumerate(parts):
        copy_run(part, directory / PARTS / str(place))
    (directory / WEIGHTS).write_text(strict_json.dumps(table) + "\n", encoding="utf-8")


def read_weights(directory: Path) -> dict[str, Any]:
    """The table of a mixture's weights; ModelError unless they are numbers that sum to 1."""
    path = directory / WEIGHTS
    table = runs.read_json(path)
    weights = table.get("weights")
    if not isinstance(weights, list) or not 0 < len(weights) <= MOST_PARTS:
        raise ModelError(f"{path}: 'weights' must be a list of 1 to {MOST_PARTS} numbers; restore the file")
    if not all(type(w) is float and 0 <= w <= 1 for w in weights) or abs(sum(weights) - 1) > 1e-6:
        raise ModelError(f"{path}: the weights do not sum to 1; restore the file")
    return table


def _first(keys: Iterable[Tensor | None]) -> Tensor | None:
    return next((key for key in keys if key is not None), None)


def check(parts: Sequence[runs.LoadedRun]) -> None:
    """Raise UsageError unless the runs can be mixed: causal, normalized, over one vocabulary, with equal resets."""

    def refuse(run: runs.LoadedRun, why: str) -> UsageError:
        return UsageError(f"{run.directory}: {why}")

    for part in parts:
        if not isinstance(part.model, LanguageModel):
            raise refuse(part, "an encoder has no causal probabilities to mix; leave it out")
        if not part.model.normalized:
            raise refuse(part, "its scores do not sum to one, so they cannot be mixed; leave it out")
        if part.model.units is not None:
            raise refuse(part, "it has no probabilities of tokens; mix its parts, or give --by line")
        if part.model.vocabulary.fingerprint != parts[0].model.vocabulary.fingerprint:
            sizes = [one.model.vocabulary.size for one in (part, parts[0])]
            raise refuse(
                part,
                f"it has another vocabulary (of {sizes[0]:,}) than {parts[0].directory} ({sizes[1]:,}); mix the "
                "probabilities of words with --by word, or train both on the same text with one --tokenizer, "
                "--vocab-size and --min-count (1 by default for n-grams)",
            )
    common_policy([cast(LanguageModel, part.model).reset_policy for part in parts])


def common_policy(policies: Sequence[str]) -> str:
    """The mixture's reset policy; UsageError if some parts are reset at documents and others never."""
    wider = set(policies) - {"line"}
    if len(wider) > 1:
        raise UsageError(
            "some of the runs are reset at every document and others never (--reset); mix runs with the same --reset"
        )
    return wider.pop() if wider else "line"
