"""The built-in tokenizers, cells and models pass the suite."""

import pytest

from lmkit.testing import Check, checks


@pytest.mark.parametrize(
    "check", [c for c in checks("tokenizer", "cell", "model") if c.part.plugin.builtin], ids=str
)
def test_conformance(check: Check) -> None:
    """Each rule for its kind holds for each built-in."""
    check()
