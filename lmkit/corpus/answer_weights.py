"""How much each token of a text counts in training, if the answers of the distance task count more."""

from typing import TYPE_CHECKING

import numpy as np

from lmkit.corpus.distances import PREFIX
from lmkit.corpus.readers import TextLike
from lmkit.corpus.store import TokenStore
from lmkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmkit.contracts import Tokenizer


def check_answers(sources: "Sequence[str]", weight: float) -> None:
    """UsageError for a weight of answers if no source has answers."""
    if weight != 1 and not any(name.startswith(PREFIX) for name in sources):
        raise UsageError(
            f"--answer-weight {weight:g} weighs the answers of the distance task, and {', '.join(sources)} has none: "
            f"train on {PREFIX}zh or {PREFIX}en, or leave it out"
        )


def answer_weights(text: TextLike, store: TokenStore, tokenizer: "Tokenizer", weight: float) -> np.ndarray:
    """(num_tokens,) float32: `weight` for tokens that contain a character of an answer, 1 for all others.

    store: the tokens of this text.
    """
    weights = np.ones(store.num_tokens, np.float32)
    place = 0
    for line in text:
        encoding = tokenizer.encode(line.text)
        if line.answer is not None:
            first, last = encoding.tokens_of(*line.answer)
            weights[place + first : place + last] = weight
        place += len(encoding.ids) + (not line.continues)
    assert place == store.num_tokens, "the store has the tokens of this text"
    return weights
