"""Words between white space, split exactly as KenLM splits them."""

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from lmkit.contracts import Encoding, Tokenizer, Vocabulary
from lmkit.corpus.words import hidden, shown
from lmkit.errors import UsageError
from lmkit.residual import WordResidual, gaps
from lmkit.runs import read_json
from lmkit_tokenizers import tokenizer_files as files
from lmkit_tokenizers import word_counts
from lmkit_tokenizers.options import WordOptions
from lmkit_tokenizers.text import encoded, word_chunks, word_spans
from lmkit_tokenizers.vocabulary_file import read_vocabulary
from lmkit_tokenizers.word_counts import WordCounts

if TYPE_CHECKING:
    from lmkit_tokenizers.word_table import WordTable

EOS, UNK = 0, 1
FIRST = 2
"""The id of the most frequent word."""

_END = b"\xfd"
"""The end of a line among words: no word in the form of `hidden` has this byte."""
WORDS_A_LINE = 1000
"""Words of a vocabulary per line of text."""
LARGEST_VOCABULARY = 1 << 34
"""Maximum bytes of a list of words."""

log = logging.getLogger(__name__)


class WordTokenizer(Tokenizer):
    """Ids: 0 is `</s>`, 1 the unknown word, then words by descending count, ties by code points.

    Words are separated by NUL, tab, line feed, carriage return and space, nothing else. `<unk>`, `<s>` and
    `</s>` in a text are ordinary words; only `unk_word`, if given, is the unknown word. `residual_bits`
    covers everything that ids drop, including the spellings of unknown words.
    """

    exact: ClassVar[bool] = True
    unit: ClassVar[str] = "word"

    def __init__(self, words: Sequence[bytes], residual: WordResidual, unk_word: str | None = None) -> None:
        """words: in the order of their ids and the form of `lmkit.corpus.words.hidden`, without unk_word."""
        self.unk_word = unk_word
        self._words = words
        self._ids = {_END: EOS} | {word: i for i, word in enumerate(words, FIRST)}
        self._residual = residual
        self.novelty = residual.novelty
        self._table: WordTable | None = None
        self._bytes = 0
        """The bytes of all lines so far: from some size on, a table is faster."""
        print_ = files.fingerprint("word", _in_form(shown, words))
        self.vocabulary = Vocabulary(len(words) + FIRST, EOS, UNK, print_)

    @classmethod
    def fit(cls, lines: Iterable[str], options: WordOptions) -> Self:
        """One pass, with the counts of types in memory. UsageError if unk_word is not one word."""
        unk_word = _one_word(options.unk_word)
        listed = None if options.file is None else read_vocabulary(Path(options.file))
        counted = word_counts.count_words(lines)
        if listed is not None:
            return cls._of_list([word for word in listed if word != unk_word], counted, options)
        most = options.vocab_size - FIRST
        # One more than fits, since the unknown word may be among them.
        numbers, words = counted.most_frequent(options.min_count, most + 1)
        kept = [i for i, word in enumerate(words) if word != unk_word][:most]
        words = [words[i] for i in kept]
        if not words and len(counted.counts):
            log.warning("no word occurs %d times: every word is unknown; lower min_count", options.min_count)
        log.info("the vocabulary has %d of %d words", len(words), len(counted.counts))
        tokenizer = cls(_in_form(hidden, words), counted.residual(numbers[kept]), options.unk_word)
        tokenizer._bytes = word_counts.LARGE if counted.large else 0
        return tokenizer

    @classmethod
    def _of_list(cls, words: list[bytes], counted: WordCounts, options: WordOptions) -> Self:
        """The tokenizer of given words, with the codes for what they leave out of the text."""
        known = set(words)
        spellings = counted.spell(np.arange(len(counted.counts)))
        kept = np.array([i for i, word in enumerate(spellings) if word in known], np.int64)
        log.info("the text has %d of the %d words of %s", len(kept), len(words), options.file)
        return cls(_in_form(hidden, words), counted.residual(kept), options.unk_word)

    def ids(self, line: str) -> np.ndarray:
        table = self._table_after(len(line))
        if table is not None:
            return table.ids(encoded(line).replace(b"\n", b" "), FIRST, UNK, EOS)[0][:-1]
        parts = [
            np.fromiter(map(self._ids.get, words, repeat(UNK)), np.int32, len(words))
            for words in word_chunks(line)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.int32), *parts])

    def block_ids(self, raw: bytes) -> tuple[np.ndarray, np.ndarray]:
        table = self._table_after(len(raw))
        if table is not None:
            return table.ids(raw, FIRST, UNK, EOS)
        words = _words_and_ends(raw)
        ids = np.fromiter(map(self._ids.get, words, repeat(UNK)), np.int32, len(words))
        return ids, np.flatnonzero(ids == EOS) + 1

    def _table_after(self, num_bytes: int) -> "WordTable | None":
        """The compiled table, if it pays off for the text so far and this many more bytes."""
        if self._table is None:
            self._bytes += num_bytes
            if not word_counts.is_large(self._bytes):
                return None
            from lmkit_tokenizers.word_table import WordTable

            self._table = WordTable.of(_in_form(shown, self._words))
        return self._table

    def symbols(self) -> list[bytes]:
        """The words."""
        return [b"</s>", b"<unk>", *_in_form(shown, self._words)]

    @classmethod
    def from_symbols(cls, symbols: Sequence[bytes], options: WordOptions) -> Self:
        """The words, with ids in this order, and codes fitted on a text with each word once."""
        rest = iter(symbols)
        lines = (b" ".join(part).decode() for part in iter(lambda: list(islice(rest, WORDS_A_LINE)), []))
        counted = word_counts.count_words(lines)
        fitted = counted.residual(np.arange(len(counted.counts)))
        # A list of words does not show the rate of new words.
        return cls(_in_form(hidden, symbols), WordResidual(fitted.spelling, fitted.spaces, None))

    def extended(self, lines: Iterable[str], options: WordOptions, most: int) -> Self:
        """The codes for what ids leave out, and their rate of new words, are unchanged."""
        counted = word_counts.count_words(lines)
        _, words = counted.most_frequent(options.min_count, len(counted.counts))
        unk_word, known = _one_word(self.unk_word), set(_in_form(shown, self._words))
        new = [word for word in words if word not in known and word != unk_word][:most]
        return type(self)([*self._words, *_in_form(hidden, new)], self._residual, self.unk_word)

    def encode(self, line: str) -> Encoding:
        return Encoding(self.ids(line), word_spans(line))

    def decode(self, ids: Sequence[int]) -> str:
        """Words joined by one space."""
        return " ".join(self._spell(i) for i in ids if i != EOS)

    def residual_bits(self, line: str, ids: np.ndarray) -> float:
        """White space by three frozen tables, unknown words by n-grams of bytes, fitted on words that occur once."""
        return self._residual.spaces.bits(gaps(line)) + float(self.spelling_bits(line, ids).sum())

    def spelling_bits(self, line: str, ids: np.ndarray) -> np.ndarray:
        if not (ids == UNK).any():
            return np.zeros(0)
        bits, start = [], 0
        for words in word_chunks(line):
            unknown = np.flatnonzero(ids[start : start + len(words)] == UNK)
            bits.append(self._residual.spelling.bits([words[i] for i in unknown]))
            start += len(words)
        return np.concatenate(bits)

    def block_residual(self, raw: bytes, ids: np.ndarray, ends: np.ndarray) -> np.ndarray:
        table = np.zeros((len(ends), 2))
        unknown = np.flatnonzero(ids == UNK)
        if len(unknown):
            words = _words_and_ends(raw)
            bits = self._residual.spelling.bits([words[i] for i in unknown.tolist()])
            table[:, 1] = np.bincount(np.searchsorted(ends, unknown, side="right"), bits, len(ends))
        table[:, 0] = self._residual.spaces.block_bits(raw, np.diff(ends, prepend=0) - 1) + table[:, 1]
        return table

    def save(self, directory: Path) -> None:
        words = b"".join(word + b"\n" for word in _in_form(shown, self._words))
        (directory / "words.txt").write_bytes(words)
        residual = self._residual.to_table() | {"novelty": self.novelty}
        files.write_json(directory / "residual.json", residual)
        unk_word = {} if self.unk_word is None else {"unk_word": self.unk_word}
        files.write_header(directory, "word", self.vocabulary, **unk_word)

    @classmethod
    def load(cls, directory: Path, options: WordOptions) -> Self:
        header = files.read_header(directory, "word")
        words = _read_words(directory / "words.txt", header["size"] - FIRST)
        path = directory / "residual.json"
        try:
            residual = WordResidual.from_table(read_json(path))
        except ValueError as error:
            raise files.damaged(path, str(error)) from error
        unk_word = header.get("unk_word")
        if not isinstance(unk_word, str | None):
            raise files.damaged(directory / files.HEADER, "its unk_word is not a string")
        tokenizer = cls(words, residual, unk_word)
        files.check_header(directory, header, tokenizer.vocabulary)
        return tokenizer

    def _spell(self, i: int) -> str:
        return "\ufffd" if i == UNK else shown(self._words[i - FIRST]).decode()


def _words_and_ends(raw: bytes) -> list[bytes]:
    """The words of lines joined by line feeds, in the form of `hidden`, with _END after each line."""
    return hidden(raw.replace(b"\n", b" " + _END + b" ") + b" " + _END).split()


def _one_word(unk_word: str | None) -> bytes | None:
    """The UTF-8 of an unk_word; UsageError unless it is one word."""
    if unk_word is None:
        return None
    raw = encoded(unk_word)
    if b"".join(hidden(raw).split()) != hidden(raw) or not raw:
        raise UsageError(
            f"--unk-word {unk_word!r}: not one word; give one without white space, such as <unk>"
        )
    return raw


def _in_form(form: Callable[[bytes], bytes], words: Sequence[bytes]) -> list[bytes]:
    """`hidden` or `shown` words, all at once: no word has a space in it."""
    return form(b" ".join(words)).split(b" ") if words else []


def _read_words(path: Path, expected: int) -> list[bytes]:
    data = files.read_bytes(path, LARGEST_VOCABULARY)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise files.damaged(path, f"byte {error.start} is not UTF-8") from error
    words = [word for chunk in word_chunks(text) for word in chunk]
    if b"".join(shown(word) + b"\n" for word in words) != data:
        raise files.damaged(path, "it does not have one word per line")
    if len(words) != expected:
        raise files.damaged(path, f"it has {len(words)} words, but its header has {expected}")
    if len(set(words)) != len(words):
        raise files.damaged(path, "a word occurs twice")
    return words
