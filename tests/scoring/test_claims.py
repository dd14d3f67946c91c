"""A tokenizer that drops text and pays nothing for it is found out, and never scores better than an honest one."""

import numpy as np
import pytest
import torch

from lmkit.contracts import Encoding, Tokenizer, Vocabulary
from lmkit.corpus.readers import Text
from lmkit.errors import PluginError
from lmkit.options import choose
from lmkit.scoring import claims
from lmkit.scoring.claims import made_up, variants, violation
from lmkit.scoring.line_code import LineCoder
from lmkit.scoring.measured_lines import RawLine
from lmkit.scoring.score import evaluate
from lmkit.testing.samples import random_bigram

TRAIN = ["the cat sat on the mat", "The dog  sat, and ran", "a cat and a dog", "\tthe café"] * 5
TEST = ["the cat  sat", "a Zyx sat on the dog", "THE café ", "the mat the mat"] * 3
LINES = [*TRAIN[:4], *TEST[:4], "", "  "]


def honest(name: str = "word", **options) -> Tokenizer:
    chosen = choose("tokenizer", {"name": name, **options}, "tokenizer")
    return chosen.load().fit(TRAIN, chosen.options)


class Free(Tokenizer):
    """The ids of words, lower-cased, and residual bits of `price` for each line."""

    def __init__(self, price: float = 0.0, *, exact: bool = True, lossless: bool = False) -> None:
        self.inner = honest(min_count=1)
        self.vocabulary = self.inner.vocabulary
        self.price = price
        self.exact = exact  # pyright: ignore[reportAttributeAccessIssue]
        self.lossless = lossless  # pyright: ignore[reportAttributeAccessIssue]

    @classmethod
    def fit(cls, lines, options):
        raise NotImplementedError

    def encode(self, line):
        return Encoding(self.inner.ids(line.lower()), self.inner.encode(line).spans)

    def decode(self, ids):
        return self.inner.decode(ids)

    def residual_bits(self, line, ids):
        return self.price

    def save(self, directory): ...

    @classmethod
    def load(cls, directory, options):
        raise NotImplementedError


class Bucket(Free):
    """Without an unknown id: unknown words share an ordinary one."""

    def __init__(self) -> None:
        super().__init__()
        inner = self.vocabulary
        self.vocabulary = Vocabulary(inner.size, inner.eos_id, None, "bucket")


CHEATS = {
    "free": lambda: Free(),
    "free, called lossless": lambda: Free(lossless=True),
    "free, not called exact": lambda: Free(exact=False),
    "one bit a line": lambda: Free(1.0),
    "eight bits a line": lambda: Free(8.0),
    "negative": lambda: Free(-5.0),
    "not a number": lambda: Free(float("nan")),
    "no unknown id": Bucket,
}


@pytest.mark.parametrize("name", CHEATS)
def test_lines_of_the_same_ids_that_pay_too_little_are_found(name):
    """The sum of 2^-bits over lines with the same ids is above one, whatever is claimed."""
    tokenizer = CHEATS[name]()
    assert any(violation(tokenizer, variants(tokenizer, line), made_up(line)) for line in LINES)


@pytest.mark.parametrize("name", ["word", "char", "byte", "sentencepiece"])
def test_honest_tokenizers_pass(name):
    """No variant of any line shows the built-ins to pay too little."""
    tokenizer = honest(name, **({"vocab_size": 300, "threads": 1} if name == "sentencepiece" else {}))
    for line in LINES:
        assert violation(tokenizer, variants(tokenizer, line), made_up(line)) is None


@pytest.mark.parametrize("name", CHEATS)
def test_a_tokenizer_that_pays_too_little_gains_nothing(name, caplog):
    """Under one model its bits are more than those of the honest tokenizer, and its bits per byte are withheld."""
    cheat = CHEATS[name]()
    lm = random_bigram(cheat.vocabulary)
    score = evaluate(lm, cheat, Text.from_lines(TEST), signature="s")
    true = honest(min_count=1)
    fair = evaluate(random_bigram(true.vocabulary), true, Text.from_lines(TEST), signature="s")
    assert score.bits is not None
    assert fair.bits is not None
    assert score.bits > fair.bits
    assert score.bits_per_byte is None
    said = [record for record in caplog.records if "claims to restore every line" in record.getMessage()]
    assert len(said) == cheat.exact


def test_a_claim_is_tested_on_the_text_too(monkeypatch):
    """What no variant shows is seen in the first line that differs from the text of its ids at no cost."""

    class DropsFives(Free):
        def __init__(self):
            super().__init__()
            self.inner = honest("byte")
            self.vocabulary = self.inner.vocabulary

        def encode(self, line):
            return self.inner.encode(line.replace("5", ""))

    tokenizer = DropsFives()
    assert violation(tokenizer, variants(tokenizer, "the cat"), made_up("the cat")) is None
    coder = LineCoder(tokenizer)
    for line, escaped in (("the cat", False), ("the 5 cats", True), ("the cat", False)):
        ids = tokenizer.ids(line)
        code = coder.code(RawLine(line, len(line), 2, False), ids, np.full(len(ids) + 1, -1.0))
        assert code.escaped == escaped


def test_a_novelty_that_is_no_probability_is_refused():
    """It would make bits negative."""
    tokenizer = honest()
    for novelty in (-0.1, 1.0, float("nan")):
        tokenizer.novelty = novelty
        with pytest.raises(PluginError, match="novelty"):
            LineCoder(tokenizer)


def test_the_code_of_tokens_sums_to_one():
    """Over all next tokens, known and unknown, 2^-bits is one with a novelty and without."""
    tokenizer = honest()
    row = random_bigram(tokenizer.vocabulary).table[0].double()
    for novelty in (0.0, 0.2):
        tokenizer.novelty = novelty
        coder = LineCoder(tokenizer)
        unknown = torch.arange(len(row)).numpy() == tokenizer.vocabulary.unk_id
        bits = coder.model_bits(row.numpy(), np.flatnonzero(unknown))
        assert (2.0**-bits).sum() == pytest.approx(1)


def test_of_a_very_long_line_a_part_is_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim is tested on thousands of variants of a line, so that a line of a megabyte is not tested whole."""
    tokenizer = honest(min_count=1)
    longest: list[int] = []

    def watched(_: Tokenizer, line: str, **__: object) -> list[str]:
        longest.append(len(line))
        return [line]

    monkeypatch.setattr(claims, "variants", watched)
    line = "the cat " * 10_000
    claims.Claim().test(tokenizer, line, tokenizer.ids(line))
    assert longest == [claims.LONGEST_TESTED]
