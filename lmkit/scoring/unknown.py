"""Warn of the tokens of a text that a model does not know."""

import logging

MOSTLY = 0.5
"""From this share of unknown tokens on, a score is about the unknown token, not about the text."""

log = logging.getLogger(__name__)


def warn_of_unknown(unknown: int, tokens: int, lines: int, *, effect: str = "") -> None:
    """Warn of unknown tokens once: of any if there is an `effect`, or else if they are half of the text.

    tokens: all that were scored, including the `</s>` of each of the lines. effect: "each ...".
    """
    mostly = unknown > 0 and unknown >= MOSTLY * (tokens - lines)
    if not mostly and not (unknown and effect):
        return
    reasons = [effect] if effect else []
    if mostly:
        reasons.append(
            "the model was trained on other text, or with another tokenization (lmkit import arpa has "
            "--tokenizer)"
        )
    count = f"{unknown:,} of {tokens:,} tokens, including line ends,"
    log.warning("%s are unknown to the model: %s", count, "; ".join(reasons))
