"""Chinese words as jieba finds them, in text without spaces between words."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from lmkit.contracts import Encoding, Tokenizer, Vocabulary
from lmkit.errors import ModelError
from lmkit.residual import ResidualCounter, WordResidual
from lmkit.runs import read_json
from lmkit_tokenizers import tokenizer_files as files
from lmkit_tokenizers.jieba_segmenter import segmenter
from lmkit_tokenizers.options import JiebaOptions
from lmkit_tokenizers.text import encoded

EOS, UNK = 0, 1
FIRST = 2
"""The id of the most frequent word."""
LARGEST_VOCABULARY = 1 << 34
"""Maximum bytes of a list of words."""
_SPACED = "\u2e80"
"""Letters before this code point belong to scripts with spaces between words (Latin, Greek, Cyrillic, ...)."""


class JiebaTokenizer(Tokenizer):
    """Ids: 0 is `</s>`, 1 the unknown word, then the words of the training text by descending count, ties by letters.

    A punctuation mark is a word, and so is a Latin word or a number. White space separates words and has no id;
    `residual_bits` covers it and the spellings of unknown words. `unit` is "token", since a "word" of lmkit is what
    white space separates; `surprisal --by word` gives one record a word of jieba.
    """

    exact: ClassVar[bool] = True

    def __init__(self, words: Sequence[str], residual: WordResidual, *, hmm: bool) -> None:
        """words: in the order of their ids."""
        self._words = list(words)
        self._ids = {word: i for i, word in enumerate(self._words, FIRST)}
        self._residual = residual
        self._hmm = hmm
        self.novelty = residual.novelty
        parts = [segmenter().digest, str(hmm), *self._words]
        print_ = files.fingerprint("jieba", (part.encode() for part in parts))
        self.vocabulary = Vocabulary(len(self._words) + FIRST, EOS, UNK, print_)

    @classmethod
    def fit(cls, lines: Iterable[str], options: JiebaOptions) -> Self:
        seen = ResidualCounter()
        for line in lines:
            seen.add(line, _cut(line, options.hmm)[1])
        words = _frequent(seen.words, options.min_count)[: options.vocab_size - FIRST]
        return cls(words, seen.code(words), hmm=options.hmm)

    def extended(self, lines: Iterable[str], options: JiebaOptions, most: int) -> Self:
        """The codes for what ids leave out, and their rate of new words, are unchanged."""
        counts = Counter(word for line in lines for word in _cut(line, self._hmm)[0] if word not in self._ids)
        new = _frequent(counts, options.min_count)[:most]
        return type(self)([*self._words, *new], self._residual, hmm=self._hmm)

    def encode(self, line: str) -> Encoding:
        words, spans = _cut(line, self._hmm)
        return Encoding(np.array([self._ids.get(word, UNK) for word in words], np.int32), spans.copy())

    def decode(self, ids: Sequence[int]) -> str:
        """Words without spaces, except between two that end and begin with letters of scripts with spaces."""
        text = ""
        for i in ids:
            if i != EOS:
                word = "\ufffd" if i == UNK else self._words[i - FIRST]
                text += f" {word}" if _spaced(text[-1:]) and _spaced(word[0]) else word
        return text

    def residual_bits(self, line: str, ids: np.ndarray) -> float:
        """White space by three frozen tables, unknown words by n-grams of bytes, fitted on words that occur once."""
        return self._residual.bits(line, _cut(line, self._hmm)[1], ids == UNK)

    def spelling_bits(self, line: str, ids: np.ndarray) -> np.ndarray:
        unknown = ids == UNK
        if not unknown.any():
            return np.zeros(0)
        return self._residual.spelling_bits(line, _cut(line, self._hmm)[1], unknown)

    def symbols(self) -> list[bytes]:
        """The words."""
        return [b"</s>", b"<unk>", *(word.encode() for word in self._words)]

    def save(self, directory: Path) -> None:
        (directory / "words.txt").write_bytes("".join(f"{word}\n" for word in self._words).encode())
        files.write_json(directory / "residual.json", self._residual.to_table())
        cut = segmenter()
        files.write_header(
            directory, "jieba", self.vocabulary, hmm=self._hmm, jieba=cut.version, segmentation=cut.digest
        )

    @classmethod
    def load(cls, directory: Path, options: JiebaOptions) -> Self:
        """Load the files of `save`; ModelError if they are damaged, or if this jieba cuts text differently."""
        header = files.read_header(directory, "jieba")
        hmm, version = header.get("hmm"), header.get("jieba")
        if not isinstance(hmm, bool) or not isinstance(version, str):
            raise files.damaged(directory / files.HEADER, "it does not say how jieba cut the text")
        if header.get("segmentation") != segmenter().digest:
            raise ModelError(
                f"{directory}: its words were cut by jieba {version} with another dictionary than that of this jieba "
                f"{segmenter().version}; install that version, or train again"
            )
        path = directory / "words.txt"
        try:
            words = files.read_bytes(path, LARGEST_VOCABULARY).decode().split("\n")
        except UnicodeDecodeError as error:
            raise files.damaged(path, f"byte {error.start} is not UTF-8") from error
        if words.pop() or not all(words) or len(set(words)) < len(words):
            raise files.damaged(path, "it does not have one word per line, each once")
        path = directory / "residual.json"
        try:
            residual = WordResidual.from_table(read_json(path))
        except ValueError as error:
            raise files.damaged(path, str(error)) from error
        tokenizer = cls(words, residual, hmm=hmm)
        files.check_header(directory, header, tokenizer.vocabulary)
        return tokenizer


@lru_cache(maxsize=256)  # scoring asks for a line's ids, residual and spellings one after another
def _cut(line: str, hmm: bool) -> tuple[list[str], np.ndarray]:
    encoded(line)  # DataError if it is not text
    return segmenter().words(line, hmm=hmm)


def _frequent(counts: Counter[str], min_count: int) -> list[str]:
    """The words that occur often enough: by descending count, ties by letters."""
    return sorted((w for w, n in counts.items() if n >= min_count), key=lambda word: (-counts[word], word))


def _spaced(character: str) -> bool:
    return character.isalnum() and character < _SPACED
