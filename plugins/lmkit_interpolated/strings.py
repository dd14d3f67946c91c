"""The mixture of models with different tokenizers: a weighted mean of their probabilities of each word, or line."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np

from lmkit import runs
from lmkit.contracts import LanguageModel, Vocabulary
from lmkit.corpus.readers import Line
from lmkit.errors import ModelError, UsageError
from lmkit.scoring.strings import EVENTS, WordTokens, mixed, string_scores
from lmkit_interpolated.model import WEIGHTS, read_weights, save_parts
from lmkit_interpolated.parts import PARTS

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lmkit.contracts import FitContext
    from lmkit.corpus.store import TokenStore
    from lmkit.scoring.measured_lines import RawLine
    from lmkit.states import State


class StringMixture(LanguageModel):
    """Parts with weights that sum to one, which are mixed by word or by line (`lmkit.scoring.strings`).

    The tokens of the mixture are bytes, but it has no distribution over the next one: the first byte of a word, or
    the end of a line that is one event, has the probability of the event. Each part keeps its own resets.
    """

    def __init__(self, options: Any, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.parts: list[runs.LoadedRun] = []
        self.weights: list[float] = []
        self.by = "word"

    @classmethod
    def combine(
        cls, parts: Sequence[runs.LoadedRun], weights: Sequence[float], by: str, vocabulary: Vocabulary
    ) -> Self:
        """The mixture of runs; vocabulary: that of bytes. Raises UsageError for runs that cannot be mixed."""
        check(parts, by)
        return cls(None, vocabulary)._filled(parts, weights, by)

    def _filled(self, parts: Sequence[runs.LoadedRun], weights: Sequence[float], by: str) -> Self:
        self.parts, self.weights, self.by = list(parts), list(weights), by
        self.units = ("word", "line") if by == "word" else ("line",)
        self.normalized = all(_causal(part).normalized for part in parts)
        policies = {_causal(part).reset_policy for part in parts}
        self.reset_policy = next(policy for policy in ("never", "document", "line") if policy in policies)
        with np.errstate(divide="ignore"):
            self._log_weights = np.log(np.array(self.weights))
        return self

    def text_log_probs(
        self, text: Iterable[Line], *, batch_size: int, window: int, independent: bool
    ) -> "Iterator[tuple[RawLine, np.ndarray]]":
        scored = (
            string_scores(
                _causal(part), part.tokenizer, lines, self.by,
                batch_size=batch_size, window=window, independent=independent,
            )
            for part, lines in zip(self.parts, itertools.tee(text, len(self.parts)), strict=True)
        )  # fmt: skip
        for scores in zip(*scored, strict=True):
            line = scores[0].line
            yield line, _by_byte(line.text, mixed(scores, self._log_weights), spread=self.by == "word")

    @property
    def device(self) -> "torch.device":
        return _causal(self.parts[0]).device

    def place(self, device: "torch.device") -> Self:
        """Move the parts."""
        for part in self.parts:
            _causal(part).place(device)
        return self

    def parameter_count(self) -> int:
        return len(self.weights) + sum(part.model.parameter_count() for part in self.parts)

    def initial_state(self, batch_size: int, *, start: bool = True) -> "State":
        self._refuse()

    def next_log_probs(self, state: "State") -> "Tensor":
        self._refuse()

    def advance(self, ids: "Tensor", state: "State") -> "State":
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UsageError(
            f"a mixture by {self.by} has no probabilities of the next token: it works in eval, compare, surprisal "
            "and interpolate; for other commands, mix runs of one vocabulary without --by, or use one of its parts"
        )

    def fit(self, corpus: "TokenStore", run: "FitContext") -> None:
        raise UsageError(
            "a mixture is made of trained runs, not of text: lmkit interpolate RUN RUN valid.txt --by word --out DIR"
        )

    def save(self, directory: Path) -> None:
        save_parts(directory, self.parts, {"weights": self.weights, "by": self.by})

    @classmethod
    def load(cls, directory: Path, options: Any, vocabulary: Vocabulary) -> Self:
        table = read_weights(directory)
        if table.get("by") not in EVENTS:
            raise ModelError(f"{directory / WEIGHTS}: 'by' must be word or line; restore the file")
        weights = table["weights"]
        parts = [runs.load_run(directory / PARTS / str(place)) for place in range(len(weights))]
        for part in parts:
            if not isinstance(part.model, LanguageModel):
                raise ModelError(f"{part.directory}: an encoder is no part of a mixture; restore the folder")
        return cls(options, vocabulary)._filled(parts, weights, table["by"])


def check(parts: Sequence[runs.LoadedRun], by: str) -> None:
    """Raise UsageError unless the runs can be mixed as strings: causal, normalized, with strings for events."""
    for part in parts:
        if not isinstance(part.model, LanguageModel):
            raise UsageError(f"{part.directory}: an encoder has no causal probabilities to mix; leave it out")
        if not part.model.normalized:
            raise UsageError(
                f"{part.directory}: its scores do not sum to one, so they cannot be mixed; leave it out"
            )
        if part.model.units is not None and by == "word":
            raise UsageError(
                f"{part.directory}: a mixture by word or line is no part of one by word; mix its parts, or "
                "give --by line"
            )
        if by == "word":
            try:
                WordTokens(part.tokenizer)
            except UsageError as error:
                raise UsageError(f"{part.directory}: {error}") from error


def _causal(part: runs.LoadedRun) -> LanguageModel:
    assert isinstance(part.model, LanguageModel)
    return part.model


def _by_byte(text: str, events: np.ndarray, *, spread: bool) -> np.ndarray:
    """(bytes + 1,) log-probabilities of a line: an event's at its first byte, and the end's at `</s>`.

    spread: if the line is one event, its bytes and its end have equal parts of it.
    """
    raw = text.encode()
    scores = np.zeros(len(raw) + 1)
    if len(events) == 1:
        if spread and raw:
            scores += events[0] / len(scores)
        else:
            scores[-1] = events[0]
        return scores
    lengths = [len(word) + 1 for word in raw.split(b" ")]
    scores[np.cumsum([0, *lengths[:-1]])] = events[:-1]
    scores[-1] = events[-1]
    return scores
