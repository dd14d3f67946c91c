"""The compiled loop over spellings gives the probabilities that numpy gives, symbol by symbol."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lmkit.spelling import BOUNDARY, ORDER, SYMBOLS, SpellingCode

WORDS = st.lists(
    st.text(st.characters(exclude_characters="\0\t\n\r ", exclude_categories=("Cs",)), max_size=9)
)


@settings(deadline=None)  # the first call compiles
@given(WORDS, WORDS.filter(bool))
def test_bits_are_those_of_the_probabilities(fitted: list[str], words: list[str]) -> None:
    """Each word costs the sum of -log2 p of its bytes and its end, whatever is asked for with it."""
    code = SpellingCode.fit([word.encode() for word in fitted if word])
    raw = [word.encode() for word in words]
    wanted = []
    for word in raw:
        symbols = [BOUNDARY] * (ORDER - 1) + [*word, BOUNDARY]
        keys = [
            sum(symbol * SYMBOLS**power for power, symbol in enumerate(reversed(symbols[at : at + ORDER])))
            for at in range(len(word) + 1)
        ]
        wanted.append(-np.log2(code.probabilities(np.array(keys, np.int64))).sum())
    np.testing.assert_allclose(code.bits(raw), wanted, rtol=1e-12)
