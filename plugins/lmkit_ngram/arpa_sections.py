"""Read ARPA files as arrays of numbered words, and report every fault with its line."""

import codecs
import logging
import math
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NoReturn

import numpy as np

from lmkit.corpus.compression import EXPANSION_FLOOR, SUFFIXES, blocks
from lmkit.corpus.decoding import is_utf8
from lmkit.errors import DataError, ModelError
from lmkit.notes import NOTE
from lmkit_ngram import arpa_note, arpa_parse
from lmkit_ngram.arpa_note import Note
from lmkit_ngram.arpa_words import SPACE
from lmkit_ngram.options import MOST_WORDS

LONGEST_LINE = 1 << 24
"""Bytes; longer than any n-gram."""
LONGEST_PREFACE = 1 << 16
"""Maximum number of bytes before the counts."""
LONGEST_SHOWN = 60
"""Maximum number of bytes of a line in a message."""

_COMPRESSED = "it is compressed, but its name does not end in {}: rename it"
_OTHERS = {
    b"mmap lm http://kheafield.com/code": "a binary file of KenLM's build_binary, which cannot be "
    "read back; give the ARPA file that it was created from",
    b"SRILM_BINARY": "a binary file of SRILM; write it as ARPA first: ngram -lm FILE -write-lm FILE.arpa",
    b"blmt": "a binary file of IRSTLM; write it as ARPA first: compile-lm FILE FILE.arpa --text=yes",
    b"Qblmt": "a quantised binary file of IRSTLM; write it as ARPA first: compile-lm FILE FILE.arpa --text=yes",
    b"iARPA": "an intermediate file of IRSTLM; write it as ARPA first: compile-lm FILE FILE.arpa --text=yes",
    b"\x1f\x8b": _COMPRESSED.format(".gz"),
    b"BZh": _COMPRESSED.format(".bz2"),
    b"\xfd7zXZ\0": _COMPRESSED.format(".xz"),
    b"\x28\xb5\x2f\xfd": _COMPRESSED.format(".zst"),
}
"""The first bytes of files of other formats, and the remedy."""
_COUNT = re.compile(rb"ngram\s+([0-9]{1,20})\s*=\s*([0-9]{1,20})")
_FAULTS = {
    arpa_parse.NO_NUMBER: "a log-probability or a backoff is not a finite number",
    arpa_parse.POSITIVE: "a log-probability is above 0",
    arpa_parse.TOO_FEW: "it has too few words",
    arpa_parse.TOO_MANY: "it has too many fields",
    arpa_parse.NO_WORD: "a word is not among the unigrams",
}


log = logging.getLogger(__name__)


@dataclass
class Section:
    """The n-grams of one order, in the order of the file.

    rows: (n, order) int32, words by their number. log_probs, backoffs: (n,) float32.
    """

    rows: np.ndarray
    log_probs: np.ndarray
    backoffs: np.ndarray


@dataclass
class Arpa:
    """A whole file. names: the unigrams' words, all different and in UTF-8; sections: order by order.

    note: lmkit's note before the n-grams, if there is one.
    """

    names: list[bytes]
    sections: list[Section]
    note: Note | None


def read_sections(path: Path, max_expansion: float, encoding: str = "utf-8") -> Arpa:
    """The n-grams of an ARPA file, decompressed if its name ends in .gz, .bz2, .xz or .zst.

    Memory is allocated for the lines read, not for the counts in the header. Raises ModelError, with the line.
    """
    source = Source(path, max_expansion, encoding)
    note = _read_preface(source)
    counts = _read_counts(source, max_expansion)
    names, unigrams = _read_unigrams(source, counts)
    sections = [unigrams]
    if len(counts) > 1:
        index = WordIndex(names)
        sections += [_read_ngrams(source, counts, order, index) for order in range(2, len(counts) + 1)]
    _expect(source, b"\\end\\")
    source.drain()
    if useless := np.count_nonzero(sections[-1].backoffs):
        log.log(
            NOTE,
            "unused backoffs of n-grams of the highest order are ignored: %s",
            f"{useless:,}",
        )
    return Arpa(names, sections, note)


class Source:
    """The bytes of a file, block by block. data[at:] is not read yet; line: the number of lines read."""

    def __init__(self, path: Path, max_expansion: float, encoding: str) -> None:
        self.path = path
        self.data = b""
        self.at = 0
        self.line = 0
        self._blocks = _content(path, max_expansion, encoding)
        self._ended = False

    def more(self) -> bool:
        """Read another block; False at the end of the file."""
        block = next(self._blocks, None)
        if block is None:
            self._ended = True
            return False
        self.data, self.at = self.data[self.at :] + block, 0
        if len(self.data) - len(block) > LONGEST_LINE:
            raise ModelError(
                f"{self.path}: line {self.line + 1}: longer than {LONGEST_LINE >> 20} MiB, so this is not an ARPA file"
            )
        return True

    def complete(self) -> int:
        """The end of the last complete line of the data."""
        return len(self.data) if self._ended else self.data.rfind(b"\n") + 1

    def next_line(self) -> bytes | None:
        """The next line without white space around it; None at the end of the file."""
        while (end := self.data.find(b"\n", self.at)) < 0 and self.more():
            pass
        if end < 0 and self.at == len(self.data):
            return None
        end = len(self.data) if end < 0 else end
        line = self.data[self.at : end]
        self.at = min(end + 1, len(self.data))
        self.line += 1
        return line.strip(SPACE)

    def full_line(self) -> bytes | None:
        """The next line that is not blank."""
        while (line := self.next_line()) is not None and not line:
            pass
        return line

    def drain(self) -> None:
        """Read to the end, so that checksums of compressed files are checked."""
        for _ in self._blocks:
            pass

    def refuse(self, problem: str, line: bytes | None) -> NoReturn:
        """Raise ModelError for the last line; None: for the end of the file."""
        if line is None:
            raise ModelError(
                f"{self.path}: line {self.line + 1}: the file ends, {problem}; get the complete file again"
            )
        shown = line[:LONGEST_SHOWN].decode(errors="replace") + ("..." if len(line) > LONGEST_SHOWN else "")
        raise ModelError(f"{self.path}: line {self.line}: {problem}: {shown!r}; fix the file or get it again")


def _content(path: Path, max_expansion: float, encoding: str) -> Generator[bytes]:
    """The blocks of the reader of compressed text, in UTF-8, with its errors as ModelErrors."""
    try:
        raw = _checked(path, blocks(path, max_expansion=max_expansion))
        yield from raw if is_utf8(encoding) else _in_utf8(path, raw, encoding)
    except DataError as error:
        raise ModelError(str(error)) from None


def _checked(path: Path, found: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks of a file; ModelError if the first begins like another format."""
    start = next(found, b"")
    for magic, problem in _OTHERS.items():
        if start.startswith(magic):
            raise ModelError(f"{path}: {problem}")
    yield from chain([start], found)


def _in_utf8(path: Path, raw: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for block in raw:
            yield decoder.decode(block).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise ModelError(f"{path}: it is not {encoding} ({error}); give another --encoding") from None


def _read_preface(source: Source) -> Note | None:
    r"""lmkit's note before the line `\data\`, which is also read."""
    room, packed, note = LONGEST_PREFACE, [], None
    while (line := source.next_line()) is not None:
        line = line.removeprefix(b"\xef\xbb\xbf")
        if line == b"\\data\\":
            return note and replace(note, packed=b"".join(packed))
        if note is None and line.startswith(arpa_note.PREFIX):
            note = _parse_note(source, line)
            room += 2 * sum(note.files.values())  # base64 takes 4/3
        elif note is not None and line.startswith(arpa_note.PACKED_PREFIX):
            packed.append(line[len(arpa_note.PACKED_PREFIX) :])
        room -= len(line) + 1
        if room < 0:
            break
    raise ModelError(f"{source.path}: no line \\data\\, so this is not an ARPA file; check the path")


def _parse_note(source: Source, line: bytes) -> Note:
    try:
        return arpa_note.parse(line)
    except ValueError as error:
        raise ModelError(
            f"{source.path}: line {source.line}: lmkit's note is damaged ({error}); get the file again, or delete the "
            "lines that begin with '# lmkit' and give --tokenizer"
        ) from None


def _read_counts(source: Source, max_expansion: float) -> list[int]:
    r"""The counts of each order in the header; the line `\1-grams:` is also read."""
    size = source.path.stat().st_size
    largest = float(size)
    if source.path.suffix.lower() in SUFFIXES:
        largest = max(EXPANSION_FLOOR, size * max_expansion) if max_expansion else math.inf
    counts: list[int] = []
    while (line := source.full_line()) is not None and (found := _COUNT.fullmatch(line)):
        order, count = int(found[1]), int(found[2])
        if order != len(counts) + 1 or order > MOST_WORDS:
            source.refuse(f"orders must be 1, 2, 3 and so on, up to {MOST_WORDS}", line)
        counts.append(count)
        # An n-gram needs its words and a digit, each with a separator.
        if sum(n * 2 * (k + 1) for k, n in enumerate(counts, 1)) > largest + 1:
            source.refuse(f"a file of {size:,} bytes has no room for this many n-grams", line)
    if not counts or line != b"\\1-grams:":
        source.refuse("expected 'ngram 1=...' or, after the last of these, '\\1-grams:'", line)
    return counts


def _expect(source: Source, marker: bytes) -> None:
    line = source.full_line()
    if line != marker:
        source.refuse(f"expected '{marker.decode()}'", line)


def _read_unigrams(source: Source, counts: list[int]) -> tuple[list[bytes], Section]:
    names: list[bytes] = []
    parts: list[tuple[np.ndarray, ...]] = []
    for text, end, place, left in _pieces(source, counts, 1):
        room = _room(end, place, 1)
        spans, lines = np.empty((room, 2), np.int64), np.empty(room, np.int64)
        numbers = np.empty(room, np.float32), np.empty(room, np.float32)
        found, status = arpa_parse.parse_unigrams(
            text, place, end, len(counts) > 1, left[0], spans, lines, *numbers
        )
        names += [source.data[first:last] for first, last in spans[:found].tolist()]
        parts.append((lines[:found], *(array[:found].copy() for array in numbers)))
        _settle(source, place, status, found, left, counts, 1)
    lines, log_probs, backoffs = map(np.concatenate, zip(*parts, strict=True))
    _check_names(source, names, lines)
    return names, Section(np.arange(len(names), dtype=np.int32)[:, None], log_probs, backoffs)


def _check_names(source: Source, names: list[bytes], lines: np.ndarray) -> None:
    """Raise ModelError for a word that is not UTF-8, and for one that occurs twice."""
    seen: set[bytes] = set()
    for number, name in enumerate(names):
        if name in seen:
            source.line = int(lines[number])
            source.refuse("a word occurs twice in the unigrams", name)
        if not name.isascii():
            try:
                name.decode()
            except UnicodeDecodeError:
                shown = name[:LONGEST_SHOWN].decode(errors="backslashreplace")
                raise ModelError(
                    f"{source.path}: line {lines[number]}: the word '{shown}' is not UTF-8; give the file's encoding, "
                    "such as --encoding latin-1, or convert it: iconv -f LATIN1 -t UTF-8"
                ) from None
        seen.add(name)


class WordIndex:
    """Finds the number of a word by its bytes, for kernels."""

    def __init__(self, names: list[bytes]) -> None:
        self.starts = np.zeros(len(names) + 1, np.int64)
        np.cumsum([len(name) for name in names], out=self.starts[1:])
        self.pool = np.frombuffer(b"".join(names), np.uint8)
        # A third to two thirds of the slots are used.
        self.slots = np.zeros(1 << (3 * len(names) // 2).bit_length(), np.uint64)
        self.seed = np.random.default_rng().integers(1 << 63, dtype=np.uint64)
        arpa_parse.index_words(self.pool, self.starts, self.slots, self.seed)


def _read_ngrams(source: Source, counts: list[int], order: int, index: WordIndex) -> Section:
    _expect(source, b"\\%d-grams:" % order)
    parts: list[tuple[np.ndarray, ...]] = []
    for text, end, place, left in _pieces(source, counts, order):
        room = _room(end, place, order)
        arrays = np.empty((room, order), np.int32), np.empty(room, np.float32), np.empty(room, np.float32)
        found, status = arpa_parse.parse_ngrams(
            text, place, end, order < len(counts), left[0],
            index.pool, index.starts, index.slots, index.seed, *arrays,
        )  # fmt: skip
        parts.append(tuple(array[:found].copy() for array in arrays))
        _settle(source, place, status, found, left, counts, order)
    return Section(*map(np.concatenate, zip(*parts, strict=True)))


def _pieces(
    source: Source, counts: list[int], order: int
) -> Iterator[tuple[np.ndarray, int, np.ndarray, list[int]]]:
    r"""A section's text piece by piece: bytes, end of complete lines, place and lines (`parse_unigrams`), rows left.

    It ends before the line that begins with a backslash.
    """
    left = [counts[order - 1]]
    while True:
        end = source.complete()
        place = np.array([source.at, source.line], np.int64)
        yield np.frombuffer(source.data, np.uint8), end, place, left
        if source.at < end:
            return
        if not source.more() and source.at == len(source.data):
            _check_count(source, counts, order, left[0])
            source.refuse("before '\\end\\'", None)


def _settle(
    source: Source, place: np.ndarray, status: int, found: int, left: list[int], counts: list[int], order: int
) -> None:
    """Move the source to the position of a kernel; ModelError when a fault stopped it."""
    left[0] -= found
    source.at, source.line = int(place[0]), int(place[1])
    if status == arpa_parse.MARKER:
        _check_count(source, counts, order, left[0])
    elif status == arpa_parse.UNCOUNTED:
        _refuse_count(source, counts, order, "more")
    elif status != arpa_parse.NEEDS_MORE:
        end = source.data.find(b"\n", source.at)
        line = source.data[source.at : end if end >= 0 else None].strip(SPACE)
        source.refuse(_FAULTS[status], line.split()[0] if status == arpa_parse.NO_WORD else line)


def _check_count(source: Source, counts: list[int], order: int, left: int) -> None:
    if left:
        source.line += 1  # the line at which they end
        _refuse_count(source, counts, order, f"only {counts[order - 1] - left:,}")


def _refuse_count(source: Source, counts: list[int], order: int, have: str) -> NoReturn:
    raise ModelError(
        f"{source.path}: line {source.line}: the header promises {counts[order - 1]:,} n-grams of order {order}, "
        f"but there are {have}; fix the file or get it again"
    )


def _room(end: int, place: np.ndarray, order: int) -> int:
    """The largest number of n-grams in a text: each needs its words and a digit, each with a separator."""
    return max(0, end - int(place[0])) // (2 * (order + 1)) + 1
