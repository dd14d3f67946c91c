"""The state of a recurrent model in the place where transformers' `generate` keeps keys and values."""

from typing import NoReturn

from torch import Tensor

from lmkit import states
from lmkit.errors import UsageError
from lmkit.states import State


class LmkitCache:
    """The states after some tokens, one a row; the model updates it in place, as transformers' caches are.

    state: of the model, None before the first tokens. length: the places read of each row, padding included, by which
    `generate` knows which of its ids are new. A copy (`copy.deepcopy`) continues one text in several ways.
    """

    is_compileable = False
    is_linear = (
        False,
    )  # if it were, `generate` would hand over all ids again where it continues from a cache

    def __init__(self) -> None:
        self.state: State | None = None
        self.length = 0

    def update(self, state: State, places: int) -> None:
        """Keep the state after this many more places."""
        self.state = state
        self.length += places

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.length

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep the rows of these numbers, in this order: those of the best beams."""
        if self.state is not None:
            self.state = states.take(self.state, beam_idx.long())

    batch_select_indices = reorder_cache

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row, for several continuations of one prompt."""
        if self.state is not None:
            self.state = states.apply(lambda leaf: leaf.repeat_interleave(repeats, 0), self.state)

    def crop(self, max_length: int) -> NoReturn:
        raise UsageError(
            "the state of an lmkit model cannot forget its last tokens: generate without assistance"
        )
