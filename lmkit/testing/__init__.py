"""The conformance suite: checks of the contract of every part, for authors of plugins.

In the tests of a plugin, which must be installed:

    @pytest.mark.parametrize("check", checks("my-distribution:*"), ids=str)
    def test_conformance(check):
        check()

or, without pytest: `python -m lmkit.testing 'my-distribution:*'`.
"""

from lmkit.testing.samples import BigramTable, random_bigram
from lmkit.testing.suite import Check, checks, checks_of

__all__ = ["BigramTable", "Check", "checks", "checks_of", "random_bigram"]
