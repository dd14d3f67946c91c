"""Choose the next token of many rows at once, by the decoder of `lmkit generate`."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn, Self

import torch
from torch import Tensor

from lmkit.contracts import Decoder, LanguageModel, State, Vocabulary
from lmkit.errors import PluginError
from lmkit.option_owners import DEFAULT_DECODER
from lmkit.options import choose


@lru_cache(maxsize=64)
def sampler(temperature: float, top_p: float) -> Decoder:
    """The decoder with these options, `lmkit generate`'s default; PluginError if it draws for one prompt only."""
    chosen = choose(
        "decoder", {"name": DEFAULT_DECODER, "temperature": temperature, "top_p": top_p}, "decoder"
    )
    decoder = chosen.load()(chosen.options)
    if not decoder.takes_generators:
        raise PluginError(f"the decoder {DEFAULT_DECODER} cannot continue several prompts at once")
    return decoder


def next_tokens(
    decoder: Decoder,
    vocabulary: Vocabulary,
    log_probs: Tensor,
    generators: Sequence[torch.Generator],
    forbidden: frozenset[int],
) -> list[int]:
    """One token for each row of log-probabilities (rows, vocabulary), which are not computed again.

    generators: of equal blocks of rows. A decoder sees only a model, so it sees one whose state is its distribution.
    """
    hypotheses = decoder.generate(
        _Distribution(vocabulary),
        log_probs,
        max_tokens=1,
        forbid_ids=forbidden,
        generator=generators,  # pyright: ignore[reportArgumentType] (`takes_generators`)
    )
    return [hypothesis.ids[0] for hypothesis in hypotheses]


class _Distribution(LanguageModel):
    """A model of one step: its state is the distribution of the next token."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    def next_log_probs(self, state: State) -> Tensor:
        assert isinstance(state, Tensor)
        return state

    def initial_state(self, batch_size: int, *, start: bool = True) -> NoReturn:
        raise NotImplementedError("its state is given")

    def advance(self, ids: Tensor, state: State) -> NoReturn:
        raise NotImplementedError("it has one step")

    def save(self, directory: Path) -> NoReturn:
        raise NotImplementedError("it is not a trained model")

    @classmethod
    def load(cls, directory: Path, options: Any, vocabulary: Vocabulary) -> Self:
        raise NotImplementedError("it is not a trained model")
