"""Words between white space, split exactly as KenLM splits them."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import repeat
from pathlib import Path
from typing import Self

import numpy as np

from lmkit.contracts import Encoding, Tokenizer, Vocabulary
from lmkit.corpus.words import shown
from lmkit_tokenizers import files
from lmkit_tokenizers.options import WordOptions
from lmkit_tokenizers.residual import GapCounter, LineCode, SpellingCode
from lmkit_tokenizers.text import gaps, word_chunks, word_spans

EOS, UNK = 0, 1
FIRST = 2
"""The id of the most frequent word."""

LARGEST_VOCABULARY = 1 << 34
"""Bytes of a list of words."""

log = logging.getLogger(__name__)


class WordTokenizer(Tokenizer):
    """Ids: 0 is `</s>`, 1 the unknown word, then words by falling count, ties by code points.

    Words are separated by NUL, tab, line feed, carriage return and space, nothing else. `<unk>`, `<s>` and
    `</s>` in a text are ordinary words. What ids drop is paid for by `residual_bits`.
    """

    def __init__(self, words: Sequence[bytes], spelling: SpellingCode, spaces: LineCode) -> None:
        """words: in the order of their ids and the form of `lmkit.corpus.words.hidden`."""
        self._words = words
        self._ids = {word: i for i, word in enumerate(words, FIRST)}
        self._spelling = spelling
        self._spaces = spaces
        print_ = files.fingerprint("word", (shown(word) for word in words))
        self.vocabulary = Vocabulary(len(words) + FIRST, EOS, UNK, print_)

    @classmethod
    def fit(cls, lines: Iterable[str], options: WordOptions) -> Self:
        """One pass; what is held is the counts of types."""
        counts: Counter[bytes] = Counter()
        spaces = GapCounter()
        for line in lines:
            for words in word_chunks(line):
                counts.update(words)
            spaces.add(gaps(line))
        ranked = sorted(counts, key=lambda word: (-counts[word], shown(word)))
        frequent = sum(count >= options.min_count for count in counts.values())
        kept = min(frequent, options.vocab_size - FIRST)
        if not kept:
            log.warning("no word occurs %d times: every word is unknown; lower min_count", options.min_count)
        log.info("the vocabulary has %d of %d words", kept, len(ranked))
        return cls(ranked[:kept], SpellingCode.fit(ranked[kept:]), spaces.code())

    def ids(self, line: str) -> np.ndarray:
        parts = [
            np.fromiter(map(self._ids.get, words, repeat(UNK)), np.int32, len(words))
            for words in word_chunks(line)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.int32), *parts])

    def encode(self, line: str) -> Encoding:
        return Encoding(self.ids(line), word_spans(line))

    def decode(self, ids: Sequence[int]) -> str:
        """Words joined by one space."""
        return " ".join(self._spell(i) for i in ids if i != EOS)

    def residual_bits(self, line: str, ids: np.ndarray) -> float:
        """White space by three frozen tables, unknown words by a byte bigram fitted on the types cut off."""
        bits = self._spaces.bits(gaps(line))
        if not (ids == UNK).any():
            return bits
        start = 0
        for words in word_chunks(line):
            unknown = np.flatnonzero(ids[start : start + len(words)] == UNK)
            bits += self._spelling.bits([words[i] for i in unknown])
            start += len(words)
        return bits

    def save(self, directory: Path) -> None:
        words = b"".join(shown(word) + b"\n" for word in self._words)
        (directory / "words.txt").write_bytes(words)
        residual = {"spaces": self._spaces.to_table(), "spelling": self._spelling.to_table()}
        files.write_json(directory / "residual.json", residual)
        files.write_header(directory, "word", self.vocabulary)

    @classmethod
    def load(cls, directory: Path, options: WordOptions) -> Self:
        header = files.read_header(directory, "word")
        words = _read_words(directory / "words.txt", header["size"] - FIRST)
        path = directory / "residual.json"
        table = files.read_json(path)
        try:
            if not isinstance(table, dict):
                raise ValueError("it is no table")
            spaces = LineCode.from_table(table.get("spaces"))
            spelling = SpellingCode.from_table(table.get("spelling"))
        except ValueError as error:
            raise files.damaged(path, str(error)) from error
        tokenizer = cls(words, spelling, spaces)
        files.check_header(directory, header, tokenizer.vocabulary)
        return tokenizer

    def _spell(self, i: int) -> str:
        return "\ufffd" if i == UNK else shown(self._words[i - FIRST]).decode()


def _read_words(path: Path, expected: int) -> list[bytes]:
    data = files.read_bytes(path, LARGEST_VOCABULARY)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise files.damaged(path, f"byte {error.start} is not UTF-8") from error
    words = [word for chunk in word_chunks(text) for word in chunk]
    if b"".join(shown(word) + b"\n" for word in words) != data:
        raise files.damaged(path, "it is not one word a line")
    if len(words) != expected:
        raise files.damaged(path, f"it has {len(words)} words, its header says {expected}")
    if len(set(words)) != len(words):
        raise files.damaged(path, "a word stands in it twice")
    return words
