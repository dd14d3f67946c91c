"""Validation: the loss of a model on the validation text of its run, and its bits per byte."""

from collections.abc import Iterator
from dataclasses import dataclass

from lmkit.contracts import Encoder, LanguageModel
from lmkit.corpus.store import TokenStore
from lmkit.scoring.directions import in_direction
from lmkit.scoring.stream import Sentence, score_lines
from lmkit.scoring.text_code import TextCode


@dataclass(frozen=True)
class ValidationScore:
    """loss: in nats per token. bits_per_byte: that of `lmkit eval`; None if it is withheld."""

    loss: float
    bits_per_byte: float | None = None


def validate(
    model: LanguageModel | Encoder, store: TokenStore, code: TextCode | None = None
) -> ValidationScore:
    """Score a stored text, read as one stream; of an encoder, the loss is the mean of its directions.

    code: that of the text, for bits per byte and for ids as `lmkit eval` reads them; for models of one direction.
    """
    starts = set(store.document_starts.tolist())
    nats, bits, tokens = 0.0, 0.0, 0
    for direction, causal in model.directions.items():
        rows = [store.lines() if code is None else code.lines(store.lines()) for _ in range(2)]
        lines: Iterator[Sentence] = (Sentence(ids, place in starts) for place, ids in enumerate(rows[0]))
        scored = zip(score_lines(causal, in_direction(lines, direction)), rows[1], strict=True)
        for place, (scores, ids) in enumerate(scored):
            nats -= float(scores.sum())
            tokens += len(ids)
            if code is not None:
                bits += code.line_bits(place, ids, scores)
    return ValidationScore(nats / tokens, None if code is None else code.bits_per_byte(bits))
