"""Text that is told while its tokens come is the whole text, whatever the tokenizer."""

from typing import cast

import numpy as np
import pytest

from lmkit.contracts import Decoder, Hypothesis, Tokenizer
from lmkit.errors import PluginError
from lmkit.generation import Generation, Settings
from lmkit.generation.text import EVERY, GrowingText, decode_lines, prompt_ids
from lmkit.options import choose
from lmkit.testing.samples import VOCABULARY, random_bigram

LINES = ["the cat sat on the mat", "床前明月光，疑是地上霜。", "naïve café 👩‍👩‍👧 x", "  two  spaces ", ""]


@pytest.fixture(scope="module", params=["word", "char", "byte", "sentencepiece"])
def tokenizer(request):
    """Each built-in tokenizer, fitted on lines with characters of one to four bytes."""
    table = {"name": request.param} | ({"vocab_size": 300} if request.param == "sentencepiece" else {})
    chosen = choose("tokenizer", table, "tokenizer")
    return chosen.load().fit(iter(LINES * 20), chosen.options)


def told(tokenizer, prompt: str, ids: list[int]) -> tuple[list[str], str]:
    """The pieces that are told of a continuation, and its whole text."""
    before = prompt_ids(tokenizer, prompt)
    pieces: list[str] = []
    growing = GrowingText(tokenizer, before, pieces.append)
    for token in ids:
        growing.add(token)
    text = decode_lines(tokenizer, [*before, *ids])[len(decode_lines(tokenizer, before)) :]
    growing.finish(text)
    return pieces, text


@pytest.mark.parametrize("prompt", ["", "the ca", "the cat ", "床前", "one\ntwo", "end\n", "\ufffd"])
def test_any_tokens_add_up(tokenizer, prompt):
    """Random tokens, among them broken characters and line ends, give the pieces of the whole text."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        ids = rng.integers(0, tokenizer.vocabulary.size, 60)
        ids[rng.random(60) < 0.1] = tokenizer.vocabulary.eos_id
        pieces, text = told(tokenizer, prompt, ids.tolist())
        assert "".join(pieces) == text
        assert all(pieces)


def test_real_text_comes_as_it_is_made(tokenizer):
    """Each character is told once its last byte is there: no piece has half of one, and none waits for the end."""
    ids = tokenizer.ids(f"{LINES[1]} {LINES[2]}").tolist()
    pieces, text = told(tokenizer, "", ids)
    assert "".join(pieces) == text
    assert "\ufffd" not in text
    assert len(pieces) >= min(len(ids), len(text)) / 4


def test_long_lines_cost_little():
    """A line of 5,000 tokens is decoded for fewer than 128 times as many tokens, not 2,500 times."""

    class Counting:
        vocabulary = VOCABULARY
        decoded = 0

        def decode(self, ids):
            self.decoded += len(ids)
            return "x" * len(ids)

    tokenizer = Counting()
    pieces: list[str] = []
    growing = GrowingText(cast(Tokenizer, tokenizer), [], pieces.append)
    for _ in range(5000):
        growing.add(4)
    growing.finish("x" * 5000)
    assert "".join(pieces) == "x" * 5000
    assert tokenizer.decoded < 5000 * EVERY / 2 * 2


def test_a_tokenizer_that_changes_its_mind_is_at_fault():
    """What is on the screen cannot be taken back: an error names the tokenizer."""

    class Capitals:
        vocabulary = VOCABULARY

        def decode(self, ids):
            return ("a" if len(ids) < 2 else "A") * len(ids)

    pieces: list[str] = []
    growing = GrowingText(cast(Tokenizer, Capitals()), [], pieces.append)
    growing.add(4)
    growing.add(4)
    with pytest.raises(PluginError, match="Capitals decodes a prefix"):
        growing.finish("AA")
    assert pieces == ["a"]


class Late(Decoder):
    """Gives one text, and says nothing of it before."""

    deterministic = True

    def generate(self, model, state, **settings):
        return [Hypothesis((4, 5), -1.0)]


def test_a_decoder_that_tells_nothing_is_shown_at_its_end(tokenizer):
    """Where on_token is never called, the whole text is one piece."""

    pieces: list[str] = []
    model = random_bigram()
    model.vocabulary = tokenizer.vocabulary
    (found,) = Generation(model, tokenizer, Late(None), Settings()).one("", pieces.append)
    assert pieces == [found.text]
