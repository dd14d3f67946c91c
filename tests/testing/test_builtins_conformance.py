"""The built-in tokenizers, cells and models pass the suite."""

import pytest

from lmkit.testing import Check, checks

MADE_OF_RUNS = ("lmkit:interpolated", "lmkit:interpolated-strings", "lmkit:cached")
"""They learn from no text, which the suite would have them do; tests/interpolated has their rules."""
NEED_EXTRAS = ("lmkit:hf", "lmkit:jieba", "lmkit:transformers")
"""Their libraries are optional; tests/tokenizers and tests/transformers check them where they are installed."""

CHECKS = [
    check
    for check in checks("tokenizer", "cell", "model")
    if check.part.plugin.builtin and check.part.long_name not in MADE_OF_RUNS + NEED_EXTRAS
]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_conformance(check: Check) -> None:
    """Each rule for its kind holds for each built-in."""
    check()
