"""The contract of a decoder, which chooses continuations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lmkit.contracts.models import LanguageModel
from lmkit.states import State

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Hypothesis:
    """A continuation. log_prob is its log-probability under the model, not under a truncated distribution."""

    ids: tuple[int, ...]
    log_prob: float


class Decoder(ABC):
    """A way to choose continuations; it sees a model only through the LanguageModel contract."""

    deterministic: ClassVar[bool] = False
    """Whether equal states always give equal hypotheses, so that several must come from one row."""
    takes_generators: ClassVar[bool] = False
    """Whether `generator` may be a list, one for each equal block of rows. Then several prompts are continued at once,
    each as if it were the only one; else they are continued one after another."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def generate(
        self,
        model: LanguageModel,
        state: State,
        *,
        max_tokens: int,
        stop_ids: frozenset[int] = frozenset(),
        forbid_ids: frozenset[int] = frozenset(),
        generator: torch.Generator | None = None,
        on_token: Callable[[int, int], None] | None = None,
    ) -> list[Hypothesis]:
        """Continue every row of `state` (batch b); the hypotheses of row 0 first, each row's best first.

        A row ends after a token of `stop_ids`, which is the last of its ids, or after `max_tokens`. Tokens of
        `forbid_ids` and the unknown id are never emitted. generator: the only source of randomness.
        on_token: called as on_token(row, id) for each token as soon as it is final, if the decoder can.
        """
