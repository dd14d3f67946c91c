"""The built-in decoders pass the suite."""

import pytest

from lmkit.testing import Check, checks


@pytest.mark.parametrize("check", checks("lmkit:greedy", "lmkit:sample", "lmkit:beam"), ids=str)
def test_conformance(check: Check) -> None:
    """Each rule for decoders holds for each built-in."""
    check()
