"""Export n-gram models to ARPA files, the text format that SRILM, KenLM and most other programs read."""

import bz2
import contextlib
import gzip
import logging
import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np

from lmkit.errors import ModelError, PluginError
from lmkit.files import new_file
from lmkit.mapped import let_go
from lmkit.notes import NOTE
from lmkit_ngram import stupid_backoff
from lmkit_ngram.arpa_text import DAMAGED, ROOM_FOR_NUMBERS, WRONG_NUMBER, write_ngrams, write_unigrams
from lmkit_ngram.arpa_tokenizer import note_of
from lmkit_ngram.arpa_words import END, SPACE, START, UNKNOWN, changed, renamed
from lmkit_ngram.queries import Grams, as_grams
from lmkit_ngram.table import NgramTable

if TYPE_CHECKING:
    from lmkit.contracts import Vocabulary
    from lmkit.runs import LoadedRun

CHUNK = 1 << 22
"""Bytes of text per block."""
GZIP_LEVEL, XZ_PRESET = 6, 1
"""With higher levels, files of numbers are hardly smaller but take much longer."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Names:
    """The names of the unigrams. pool: the bytes of all names, uint8; starts: the start of each, and the end."""

    pool: np.ndarray
    starts: np.ndarray
    longest: int

    @classmethod
    def of(cls, names: Sequence[bytes]) -> Self:
        starts = np.zeros(len(names) + 1, np.int64)
        np.cumsum([len(name) for name in names], out=starts[1:])
        return cls(np.frombuffer(b"".join(names), np.uint8), starts, max(map(len, names)))

    def longest_line(self, order: int) -> int:
        """The largest number of bytes in a line of n-grams."""
        return order * (self.longest + 1) + ROOM_FOR_NUMBERS


def write_arpa(run: "LoadedRun", file: Path, *, overwrite: bool = False) -> None:
    """Write the n-grams of a run's model, compressed if the file's name ends in .gz, .bz2 or .xz.

    The file is written atomically. Raises UsageError when it exists, PluginError when the tokenizer cannot
    spell its ids, ModelError when the model is damaged.
    """
    model: Any = run.model
    names = word_names(run.tokenizer.symbols(), run.tokenizer.vocabulary)
    alpha, quantized = model.stored.alpha, model.stored.packed is not None
    if quantized:
        log.log(
            NOTE, "the model is quantized: the file has its probabilities of 8 bits, not those of the counts"
        )
    table = model.table if alpha is None else stupid_backoff.for_files(model.table, alpha)
    file.parent.mkdir(parents=True, exist_ok=True)
    with (
        new_file(file, overwrite=overwrite) as plain,
        _compressed(plain, file.suffix.lower()) as target,
    ):
        if note := note_of(run, alpha, quantized=quantized):
            target.writelines(note.lines())
        write_table(table, names, run.tokenizer.vocabulary, target)


def word_names(symbols: Sequence[bytes], vocabulary: "Vocabulary") -> list[bytes]:
    """The names of a vocabulary's ids, and of `<s>` after them, in an ARPA file.

    symbols: of each id. Raises PluginError when one is empty, contains white space or belongs to two ids.
    """
    special = {vocabulary.eos_id: END} | (
        {} if vocabulary.unk_id is None else {vocabulary.unk_id: UNKNOWN[0]}
    )
    words = [special.get(i, symbol) for i, symbol in enumerate(symbols)]
    names = [special.get(i, renamed(symbol)) for i, symbol in enumerate(symbols)]
    if told := changed(words, names):
        log.log(NOTE, "ordinary words with names reserved in ARPA files are renamed: %s", told)
    if split := sum(len(name.decode().split()) > 1 for name in names):
        log.log(
            NOTE,
            "%s words contain white space that lmkit and lmplz treat as letters (form feed, no-break space); "
            "KenLM's query and Python binding, or other readers, may split them there", f"{split:,}",
        )  # fmt: skip
    names.append(START)
    if len(set(names)) < len(names) or any(not name or name.translate(None, SPACE) != name for name in names):
        raise PluginError(
            "the tokenizer's symbols do not fit an ARPA file: one is empty, contains white space or belongs "
            "to two ids; report it to the tokenizer's author"
        )
    return names


def write_table(
    table: NgramTable, names: Sequence[bytes], vocabulary: "Vocabulary", target: IO[bytes]
) -> None:
    """Write the n-grams of a table, a chunk of text at a time.

    names: of each unigram, with `<s>` last. As in lmplz, `<unk>`, `<s>` and `</s>` come first, and all except the
    longest n-grams have a backoff. Without an unknown id there is no `<unk>`, and readers add one.
    """
    counts = "".join(f"ngram {k}={size}\n" for k, size in enumerate(table.sizes(), 1))
    target.write(f"\\data\\\n{counts}".encode())
    grams, spelt = as_grams(table, vocabulary.eos_id), Names.of(names)
    for order in range(1, table.order + 1):
        log.info("writing %s n-grams of order %d", f"{table.sizes()[order - 1]:,}", order)
        target.write(f"\n\\{order}-grams:\n".encode())
        texts = (
            _unigrams(table, grams, spelt, vocabulary) if order == 1 else _ngrams(table, grams, spelt, order)
        )
        for text in texts:
            target.write(text)
        let_go(table.words, table.children, table.log_probs, table.backoffs)
    target.write(b"\n\\end\\\n")


def _unigrams(
    table: NgramTable, grams: Grams, names: Names, vocabulary: "Vocabulary"
) -> Iterator[memoryview]:
    first = [i for i in (vocabulary.unk_id, table.start, vocabulary.eos_id) if i is not None]
    rest = np.setdiff1d(np.arange(table.vocab_size), first)
    ids = np.concatenate([first, rest]).astype(np.int32)
    buffer = np.empty(CHUNK + names.longest_line(1), np.uint8)
    place = 0
    while place < len(ids):
        place, size = write_unigrams(
            ids, place, names.pool, names.starts, grams.log_probs, grams.backoffs, table.order > 1, buffer
        )
        yield _made(buffer, size)


def _ngrams(table: NgramTable, grams: Grams, names: Names, order: int) -> Iterator[memoryview]:
    longest = names.longest_line(order)
    buffer, context = np.empty(CHUNK + longest, np.uint8), np.empty(longest, np.uint8)
    path = np.array(table.offsets[:order], np.int64)
    while path[-1] < table.offsets[order]:
        size = write_ngrams(
            order, table.offsets[order], grams.words, grams.children, grams.log_probs, grams.backoffs,
            order < table.order, names.pool, names.starts, path, context, buffer,
        )  # fmt: skip
        yield _made(buffer, size)


def _made(buffer: np.ndarray, size: int) -> memoryview:
    if size == WRONG_NUMBER:
        raise ModelError(
            "a probability or a backoff of the model is NaN, so it is not written: train it again"
        )
    if size == DAMAGED:
        raise ModelError("the n-grams of the model are damaged: restore it or train it again")
    return buffer[:size].data


def _compressed(file: BinaryIO, suffix: str) -> contextlib.AbstractContextManager[IO[bytes]]:
    """Compress the text for a file with this suffix."""
    if suffix == ".xz":
        return lzma.open(file, "wb", preset=XZ_PRESET)
    if suffix == ".bz2":
        return bz2.open(file, "wb")
    if suffix == ".gz":
        # Without name and time, so that equal models give equal files.
        return gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0)  # pyright: ignore[reportReturnType]
    return contextlib.nullcontext(file)
