"""Names of tokens: bytes of divided letters, names that never collide, texts that arrive token by token."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from lmkit.contracts import Encoding, Tokenizer, Vocabulary
from lmkit.errors import PluginError

pytest.importorskip("starlette")

from lmkit.serve.spelling import Growing, Piece, Speller, finite
from lmkit.serve.texts import Entry, Writer


class ByteTokens(Tokenizer):
    """Tokens of some bytes, as in byte-level BPE: id 0 is the end, then `tokens`."""

    tokens = (b"a", b" b", b"\xe4\xb8", b"\xad", b" \xe4", b"\xb8\xad", b"b", b"a")
    letters = ("a", "\u0120b", "ä¸", "\u0143", "\u0120ä", "¸\u0143", "b", "a_")

    def __init__(self, *, tells: bool = True) -> None:
        self.vocabulary = Vocabulary(len(self.tokens) + 1, 0, None, "bytes")
        self.tells = tells

    def encode(self, line: str) -> Encoding:
        raise NotImplementedError

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(self.tokens[i - 1] for i in ids if i).decode(errors="replace")

    def symbols(self) -> list[bytes]:
        if not self.tells:
            raise PluginError("no spellings")
        return [b"</s>", *(letter.encode() for letter in self.letters)]

    def residual_bits(self, line: str, ids: np.ndarray) -> float:
        return 0.0

    def save(self, directory: Path) -> None: ...

    @classmethod
    def fit(cls, lines: Iterable[str], options: Any) -> Self:
        return cls()

    @classmethod
    def load(cls, directory: Path, options: Any) -> Self:
        return cls()


def names(speller: Speller, ids: Sequence[int]) -> list[tuple[str, int]]:
    return [(piece.name, piece.place) for piece in speller.read_ids(ids, pieces=True).pieces]


def test_bytes_of_a_letter_that_tokens_divide() -> None:
    """Two bytes and one, or a space and one byte and two: each token has its own bytes and the letter's place."""
    speller = Speller(ByteTokens())
    assert names(speller, [1, 3, 4, 2]) == [("a", 0), ("bytes:\\xe4\\xb8", 1), ("bytes:\\xad", 1), (" b", 3)]
    assert names(speller, [1, 5, 6]) == [("a", 0), ("bytes:\\x20\\xe4", 2), ("bytes:\\xb8\\xad", 2)]
    assert speller.read_ids([1, 5, 6], pieces=True).text == "a 中"


def test_a_tokenizer_that_does_not_tell_its_bytes() -> None:
    """The bytes of the letter are divided in turn, so that the tokens together are still the text."""
    assert names(Speller(ByteTokens(tells=False)), [1, 3, 4]) == [
        ("a", 0), ("bytes:\\xe4", 1), ("bytes:\\xb8\\xad", 1),
    ]  # fmt: skip


def test_names_of_a_place_do_not_collide() -> None:
    """The token itself keeps its name, first among equals; another one of that name is spelled in bytes."""
    speller = Speller(ByteTokens())
    own = Piece(1, "a", "a", 0, True)
    found = speller.alternatives(own, -1.0, [(8, -1.0), (7, -0.5), (1, -1.0), (0, finite(-np.inf))])
    assert list(found.items()) == [("b", -0.5), ("a", -1.0), ("bytes:\\x61", -1.0), ("\n", -9999.0)]


def test_an_incomplete_letter_waits() -> None:
    """A letter is told with its last byte; one that stays incomplete adds no text."""
    growing = Growing(Speller(ByteTokens()), [1])
    assert growing.add(3) == []
    assert [piece.text for piece in growing.add(4)] == ["", "中"]
    assert growing.add(3) == []
    assert [(piece.name, piece.text) for piece in growing.finish()] == [("bytes:\\xe4\\xb8", "")]
    going_on = Growing(Speller(ByteTokens()), [1, 3])
    assert [(piece.name, piece.text) for piece in going_on.add(4)] == [("bytes:\\xad", "中")]


@pytest.mark.parametrize("stop", ["b a", " ba", "b", "ab", "a b b", "x"])
@pytest.mark.parametrize("every", [1, 2, 5])
def test_a_stop_string_across_tokens(stop: str, every: int) -> None:
    """However the chunks are cut, the text is that before the stop string, and nothing of it is told too early."""
    ids = [1, 2, 1, 2, 7, 1, 2]
    whole = ByteTokens().decode(ids)
    writer = Writer(Speller(ByteTokens()), [], logprobs=True, stops=[stop])
    text, tokens, ended = "", [], False
    for number, token in enumerate(ids, 1):
        ended = writer.add(Entry(token, -1.0))
        if ended or number % every == 0:
            chunk = writer.take("stop" if ended else None)
            text += chunk.text
            assert chunk.logprobs is not None
            tokens += chunk.logprobs["tokens"]
        if ended:
            break
    if not ended:
        chunk = writer.take("length")
        text += chunk.text
        assert chunk.logprobs is not None
        tokens += chunk.logprobs["tokens"]
    assert text == (whole[: whole.index(stop)] if stop in whole else whole)
    assert ended == (stop in whole)
    assert "".join(tokens) == text
