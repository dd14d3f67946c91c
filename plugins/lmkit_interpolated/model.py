"""The interpolated model: p(token) = sum over parts of weight * p_part(token), with its parts in its run."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from torch import Tensor

from lmkit import runs, states, strict_json
from lmkit.contracts import LanguageModel, Vocabulary
from lmkit.errors import ModelError, UsageError
from lmkit.states import State

if TYPE_CHECKING:
    from lmkit.contracts import FitContext
    from lmkit.corpus.store import TokenStore

WEIGHTS = "weights.json"
PARTS = "parts"
MOST_PARTS = 100


class InterpolatedModel(LanguageModel):
    """Parts with weights that sum to one; a state is the tuple of the parts' states.

    If some parts are reset at every line and others are not, the mixture is reset like the others, and those parts
    are reset after each `</s>`.
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
        self.parts = list(parts)
        self.models = [cast(LanguageModel, part.model) for part in parts]
        self.weights = list(weights)
        self.normalized = all(model.normalized for model in self.models)
        self.reset_policy = common_policy([model.reset_policy for model in self.models])
        self._log_weights = torch.tensor(self.weights, dtype=torch.float64).log()
        return self

    def fit(self, corpus: "TokenStore", run: "FitContext") -> None:
        raise UsageError(
            "a mixture is made of trained runs, not of text: lmkit interpolate RUN RUN --data valid.txt --out DIR"
        )

    @property
    def device(self) -> torch.device:
        """The device of the mixing in float64, on the CPU, since not every accelerator has that type."""
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
        ends = ids == self.vocabulary.eos_id
        found = []
        for model, before in zip(self.models, state, strict=True):
            after = model.advance(ids.to(model.device), before)
            found.append(self._line_ended(model, ends, after))
        return tuple(found)

    def log_probs(self, ids: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, State]:
        if ids.shape[1] == 0:
            return torch.zeros(ids.shape, dtype=torch.float64, device=self.device), state
        ends = ids == self.vocabulary.eos_id
        scores, found = [], []
        for model, before in zip(self.models, state, strict=True):
            anew = reset
            if self._resets_itself(model):
                anew = torch.zeros_like(ends) if reset is None else reset.clone()
                anew[:, 1:] |= ends[:, :-1]
            part, after = model.log_probs(
                ids.to(model.device), before, reset=None if anew is None else anew.to(model.device)
            )
            scores.append(part)
            found.append(self._line_ended(model, ends[:, -1], after))
        return self._mixed(scores), tuple(found)

    def _resets_itself(self, model: LanguageModel) -> bool:
        return model.reset_policy == "line" and self.reset_policy != "line"

    def _line_ended(self, model: LanguageModel, ends: Tensor, after: State) -> State:
        """The state of a part after tokens of which the last ends a line in the rows of `ends`."""
        if not self._resets_itself(model) or not bool(ends.any()):
            return after
        return states.where(ends.to(model.device), model.initial_state(len(ends)), after)

    def _mixed(self, scores: Sequence[Tensor]) -> Tensor:
        """log of the weighted mean of probabilities, in float64."""
        total = torch.stack([score.cpu().double() for score in scores])
        weights = self._log_weights.view(-1, *[1] * (total.dim() - 1))
        return torch.logsumexp(total + weights, 0)

    def save(self, directory: Path) -> None:
        for place, part in enumerate(self.parts):
            for name in runs.travelling(part.directory, part.manifest):
                target = directory / PARTS / str(place) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(part.directory / name, target)
        (directory / WEIGHTS).write_text(
            strict_json.dumps({"weights": self.weights}) + "\n", encoding="utf-8"
        )

    @classmethod
    def load(cls, directory: Path, options: Any, vocabulary: Vocabulary) -> Self:
        path = directory / WEIGHTS
        weights = runs.read_json(path).get("weights")
        if not isinstance(weights, list) or not 0 < len(weights) <= MOST_PARTS:
            raise ModelError(
                f"{path}: 'weights' must be a list of 1 to {MOST_PARTS} numbers; restore the file"
            )
        if not all(type(w) is float and 0 <= w <= 1 for w in weights) or abs(sum(weights) - 1) > 1e-6:
            raise ModelError(f"{path}: the weights do not sum to 1; restore the file")
        parts = [runs.load_run(directory / PARTS / str(place)) for place in range(len(weights))]
        if any(part.model.vocabulary.fingerprint != vocabulary.fingerprint for part in parts):
            raise ModelError(f"{directory / PARTS}: a part has another vocabulary than the run; restore it")
        return cls(options, vocabulary)._filled(parts, weights)


def check(parts: Sequence[runs.LoadedRun]) -> None:
    """Raise UsageError unless the runs can be mixed: causal, normalized, over one vocabulary, with equal resets."""

    def refuse(run: runs.LoadedRun, why: str) -> UsageError:
        return UsageError(f"{run.directory}: {why}")

    for part in parts:
        if not isinstance(part.model, LanguageModel):
            raise refuse(part, "an encoder has no causal probabilities to mix; leave it out")
        if not part.model.normalized:
            raise refuse(part, "its scores do not sum to one, so they cannot be mixed; leave it out")
        if part.model.vocabulary.fingerprint != parts[0].model.vocabulary.fingerprint:
            sizes = [one.model.vocabulary.size for one in (part, parts[0])]
            raise refuse(
                part,
                f"it has another vocabulary (of {sizes[0]:,}) than {parts[0].directory} ({sizes[1]:,}); train both on "
                "the same text with one --tokenizer, --vocab-size and --min-count (1 by default for n-grams)",
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
