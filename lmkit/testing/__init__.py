"""The conformance suite: checks of the contract of every part, for authors of plugins.

In the tests of a plugin, which must be installed:

    @pytest.mark.parametrize("check", checks("my-distribution:*"), ids=str)
    def test_conformance(check):
        check()

or, without pytest: `lmkit plugins check 'my-distribution:*'`.
"""

from lmkit.testing.results import Failure
from lmkit.testing.samples import BigramTable, random_bigram
from lmkit.testing.sources import Place
from lmkit.testing.suite import Check, checks, checks_of

__all__ = ["BigramTable", "Check", "Failure", "Place", "checks", "checks_of", "random_bigram"]
