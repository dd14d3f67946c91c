"""A warning for a text that a model can hardly read."""

import logging

MOSTLY = 0.5
"""From this share of unknown tokens on, figures are about the unknown token, not about the text."""

log = logging.getLogger(__name__)


def warn_if_mostly_unknown(unknown: int, tokens: int) -> None:
    """Say that half of a text's tokens or more are unknown. tokens: without those that end lines."""
    if unknown and unknown >= MOSTLY * tokens:
        log.warning(
            "%s of the text's %s tokens are unknown to the model: it was trained on other text, or on text that was "
            "cut into other tokens (lmkit import arpa has --tokenizer)",
            f"{unknown:,}", f"{tokens:,}",
        )  # fmt: skip
