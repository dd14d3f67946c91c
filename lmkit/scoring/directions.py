"""The causal models that a model is trained and scored as: itself, or the two of a bidirectional encoder."""

from collections.abc import Iterable, Iterator

import numpy as np

from lmkit.contracts import LanguageModel
from lmkit.scoring.stream import Sentence

FORWARD, BACKWARD = "forward", "backward"


def causal_models(model: object) -> dict[str, LanguageModel]:
    """By direction; none for an encoder that is not made of causal models."""
    if isinstance(model, LanguageModel):
        return {FORWARD: model}
    both = {FORWARD: getattr(model, "forward_lm", None), BACKWARD: getattr(model, "backward_lm", None)}
    return {name: found for name, found in both.items() if found is not None}


def from_the_end(rows: np.ndarray) -> np.ndarray:
    """What a line's tokens have, from its end, `</s>` still last; twice, it is as it was."""
    return np.concatenate([rows[:-1][::-1], rows[-1:]])


def in_direction(lines: Iterable[Sentence], direction: str) -> Iterator[Sentence]:
    """The lines as the model of a direction reads them."""
    if direction == FORWARD:
        return iter(lines)
    return (Sentence(from_the_end(line.ids), line.starts_document) for line in lines)
