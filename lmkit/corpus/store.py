"""The token store: a text as flat, memory-mapped ids with its line and document boundaries, written once."""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

import numpy as np

from lmkit import strict_json
from lmkit.blame import described, remedy_for
from lmkit.corpus.line_blocks import block_ids, check_integers, line_sizes
from lmkit.corpus.prefetch import read_ahead
from lmkit.corpus.readers import Line, LineBlock, TextLike
from lmkit.corpus.split import Part
from lmkit.corpus.store_files import ARRAYS, LINE_ARRAYS, check, content_hash, dtype_of, mapped
from lmkit.errors import DataError, PluginError, reason_of
from lmkit.files import place_folder, user_cache, write_text
from lmkit.mapped import let_go
from lmkit.notes import NOTE

if TYPE_CHECKING:
    from lmkit.contracts import Progress, Tokenizer, Vocabulary

FORMAT = 2
"""Version 2 counts words between KenLM's white space only."""
_HEADER = "store.json"
_FLUSH = 1 << 20
"""Tokens to collect before a write."""
WAIT = 2.0
"""Seconds of waiting for another process before a note."""

log = logging.getLogger(__name__)


class TokenStore:
    """Every token of a text, including the `</s>` of each line.

    tokens: (num_tokens,) uint16 if the vocabulary fits, else int32.
    line_ends: (num_lines,) int64, the end of each line in `tokens`, exclusive.
    line_bytes, line_words: (num_lines,) int64, of the raw line without its line end, not normalised.
    document_starts: int64, the lines that begin a document.
    fingerprint: equal for equal contents under one vocabulary.
    weights: (num_tokens,) float32, how much each token counts in the loss of training; None: all the same.
    """

    tokens: np.ndarray
    line_ends: np.ndarray
    line_bytes: np.ndarray
    line_words: np.ndarray
    document_starts: np.ndarray
    fingerprint: str
    weights: np.ndarray | None = None

    def __init__(self, arrays: dict[str, np.ndarray], fingerprint: str) -> None:
        self.tokens = arrays["tokens"]
        self.line_ends = arrays["line_ends"]
        self.line_bytes = arrays["line_bytes"]
        self.line_words = arrays["line_words"]
        self.document_starts = arrays["document_starts"]
        self.fingerprint = fingerprint
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        """Keeps the temporary folder of a store without a cache while the store is used."""

    @property
    def num_tokens(self) -> int:
        return len(self.tokens)

    @property
    def num_lines(self) -> int:
        return len(self.line_ends)

    def lines(self) -> Iterator[np.ndarray]:
        """The ids of each line, including `</s>`."""
        start = 0
        for end in self.line_ends.tolist():
            yield self.tokens[start:end]
            start = end

    def counts(self, size: int) -> np.ndarray:
        """(size,) int64: how often each id below `size` occurs, in memory bounded by a part of the tokens."""
        found = np.zeros(size, np.int64)
        for start in range(0, self.num_tokens, _FLUSH):
            found += np.bincount(self.tokens[start : start + _FLUSH], minlength=size)
            let_go(self.tokens)
        return found

    @classmethod
    def from_lines(cls, lines: Iterable[np.ndarray], vocabulary: "Vocabulary") -> Self:
        """A store in memory, one document; each line's ids end with `</s>`. The raw counts are zero."""
        rows = list(lines)
        ends = np.cumsum([len(row) for row in rows], dtype=np.int64)
        arrays = {
            "tokens": np.concatenate(rows).astype(dtype_of(vocabulary))
            if rows
            else np.empty(0, dtype_of(vocabulary)),
            "line_ends": ends,
            "line_bytes": np.zeros(len(rows), np.int64),
            "line_words": np.zeros(len(rows), np.int64),
            "document_starts": np.zeros(min(1, len(rows)), np.int64),
        }
        return cls(arrays, content_hash(arrays, vocabulary))

    @classmethod
    def build(
        cls,
        text: TextLike,
        tokenizer: "Tokenizer",
        *,
        cache: Path | None = None,
        progress: "Progress | None" = None,
    ) -> Self:
        """The store of a text, from the cache if it is there.

        cache: a folder; None is the user's cache folder. If it cannot be written, the store is in a temporary
        folder until it is no longer used. Raises DataError for a problem with the text, or when the disk is full.
        """
        parts = ((0, part) for part in text.blocks())
        return cls._build([text], parts, text.describe(), tokenizer, cache, progress)[0]

    @classmethod
    def build_parts(
        cls,
        train: Part,
        valid: Part,
        tokenizer: "Tokenizer",
        *,
        cache: Path | None = None,
        progress: "Progress | None" = None,
    ) -> tuple[Self, Self]:
        """The stores of both parts of a text, which is read only once; otherwise as `build`."""
        whole = train.division
        stores = cls._build([train, valid], whole, whole.text.describe(), tokenizer, cache, progress)
        return stores[0], stores[1]

    @classmethod
    def _build(
        cls,
        texts: Sequence[TextLike],
        parts: Iterable[tuple[int, Line | LineBlock]],
        name: str,
        tokenizer: "Tokenizer",
        cache: Path | None,
        progress: "Progress | None",
    ) -> list[Self]:
        """The stores of texts. parts: the lines of all, each with the index of its text; name: of all together."""
        vocabulary = tokenizer.vocabulary
        folder, temporary = _writable(cache)
        targets = [folder / _key(text, vocabulary) for text in texts]
        with contextlib.ExitStack() as stack:
            for text, target in zip(texts, targets, strict=True):
                stack.enter_context(_locked(target.with_name(f"{target.name}.lock"), text.describe()))
            stores = [cls._open(target, vocabulary) for target in targets]
            missing = {place: targets[place] for place, store in enumerate(stores) if store is None}
            if missing:
                ahead = read_ahead(parts)
                shown = progress(ahead, total=None, label=f"tokenizing {name}") if progress else ahead
                try:
                    _write(missing, shown, tokenizer)
                except OSError as error:
                    raise DataError(
                        f"{folder}: cannot write the tokens: {reason_of(error)}; free some space there"
                    ) from None
                for place, target in missing.items():
                    stores[place] = cls._open(target, vocabulary)
        found = [store for store in stores if store is not None]
        assert len(found) == len(texts), "a store that was written can be read"
        for store in found:
            store._folder = temporary
        return found

    @classmethod
    def _open(cls, target: Path, vocabulary: "Vocabulary") -> Self | None:
        """The store in a folder of the cache; None if there is none, or if it is damaged."""
        if not target.exists():
            return None
        try:
            header = json.loads((target / _HEADER).read_text("utf-8"))
            arrays = {name: mapped(target / name, header["lengths"][name], vocabulary) for name in ARRAYS}
            fingerprint = str(header["fingerprint"])
            check(arrays, vocabulary, fingerprint)
            return cls(arrays, fingerprint)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.log(NOTE, "%s: the cached tokens are damaged (%s); tokenizing again", target, error)
            return None


class _Writer:
    """Appends lines to the files of a store."""

    def __init__(self, folder: Path, tokenizer: "Tokenizer") -> None:
        self.vocabulary = tokenizer.vocabulary
        self._tokenizer = tokenizer
        self._eos = np.array([self.vocabulary.eos_id], np.int32)
        self._files: dict[str, IO[bytes]] = {name: (folder / name).open("wb") for name in ARRAYS}
        self._pending: list[np.ndarray] = []
        self._columns = {name: array("q") for name in LINE_ARRAYS}
        self._lengths = dict.fromkeys(ARRAYS, 0)
        self._num_lines = self._num_tokens = 0
        self._line_bytes = self._line_words = 0
        """Of the pieces of an unfinished line."""

    def add(self, part: Line | LineBlock) -> None:
        """Append a line, or several."""
        if part.starts_document:
            self._columns["document_starts"].append(self._num_lines)
        if isinstance(part, Line):
            self._line(part)
        else:
            self._block(part)

    def finish(self) -> dict[str, int]:
        """Write the remaining tokens to disk; return the lengths of the arrays."""
        self._flush()
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        return self._lengths

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _line(self, line: Line) -> None:
        ids = self._tokenizer.ids(line.text)
        check_integers(self._tokenizer, ids)
        self._append(ids)
        self._line_bytes += line.num_bytes
        self._line_words += line.num_words
        if line.continues:
            return
        self._append(self._eos)
        self._columns["line_ends"].append(self._num_tokens)
        self._columns["line_bytes"].append(self._line_bytes)
        self._columns["line_words"].append(self._line_words)
        self._num_lines += 1
        self._line_bytes = self._line_words = 0

    def _block(self, block: LineBlock) -> None:
        num_bytes, num_words = line_sizes(block.raw)
        ids, ends = block_ids(self._tokenizer, block.raw)
        for name, values in (
            ("line_ends", self._num_tokens + ends),
            ("line_bytes", num_bytes),
            ("line_words", num_words),
        ):
            self._columns[name].frombytes(values.astype(np.int64).tobytes())
        self._num_lines += len(ends)
        self._append(ids)

    def _append(self, ids: np.ndarray) -> None:
        self._pending.append(ids)
        self._num_tokens += len(ids)
        if self._num_tokens - self._lengths["tokens"] >= _FLUSH:
            self._flush()

    def _flush(self) -> None:
        tokens = np.concatenate(self._pending) if self._pending else np.empty(0, np.int32)
        self._pending = []
        if len(tokens) and not (tokens.min() >= 0 and tokens.max() < self.vocabulary.size):
            raise PluginError(
                f"{described(self._tokenizer)} gave the ids {tokens.min()} to {tokens.max()}, but its vocabulary has "
                f"{self.vocabulary.size}; {remedy_for(self._tokenizer)}"
            )
        self._put("tokens", tokens.astype(dtype_of(self.vocabulary)))
        for name, column in self._columns.items():
            self._put(name, np.frombuffer(column, np.int64) if column else np.empty(0, np.int64))
            self._columns[name] = array("q")

    def _put(self, name: str, values: np.ndarray) -> None:
        self._files[name].write(values.tobytes())
        self._lengths[name] += len(values)


def _write(
    targets: dict[int, Path], parts: Iterable[tuple[int, Line | LineBlock]], tokenizer: "Tokenizer"
) -> None:
    """Write stores under their locks. targets: by the index of their texts; lines of other texts are skipped."""
    with contextlib.ExitStack() as stack:
        writers = {
            place: stack.enter_context(_new_store(target, tokenizer)) for place, target in targets.items()
        }
        for place, part in parts:
            if place in writers:
                writers[place].add(part)


@contextlib.contextmanager
def _new_store(target: Path, tokenizer: "Tokenizer") -> Iterator[_Writer]:
    """A store to write, in a hidden folder that is renamed once it is complete on disk."""
    hidden = target.with_name(f".{target.name}")
    shutil.rmtree(hidden, ignore_errors=True)  # left behind by a killed process
    hidden.mkdir()
    try:
        writer = _Writer(hidden, tokenizer)
        try:
            yield writer
            lengths = writer.finish()
        finally:
            writer.close()
        vocabulary = tokenizer.vocabulary
        arrays = {name: mapped(hidden / name, lengths[name], vocabulary) for name in ARRAYS}
        header = {"format": FORMAT, "lengths": lengths, "fingerprint": content_hash(arrays, vocabulary)}
        write_text(hidden / _HEADER, strict_json.dumps(header))
        if target.exists():
            shutil.rmtree(target)  # damaged
        place_folder(hidden, target)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise


@contextlib.contextmanager
def _locked(path: Path, text: str) -> Iterator[None]:
    """Hold a lock; wait while another process has it."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=WAIT)
    except Timeout:
        log.log(NOTE, "another process is writing the tokens of %s; waiting until it is done", text)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _writable(cache: Path | None) -> tuple[Path, "tempfile.TemporaryDirectory[str] | None"]:
    """The cache folder, or a temporary one with a warning."""
    folder = cache or user_cache("tokens")
    if folder is None:
        problem = "there is no cache folder, since the system knows no home of this user (set XDG_CACHE_HOME)"
    else:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder, None
        except OSError as error:
            problem = f"{folder}: cannot be written ({reason_of(error)})"
    log.warning("%s; the tokens are not cached, so every run tokenizes again", problem)
    temporary = tempfile.TemporaryDirectory(prefix="lmkit-tokens-")
    return Path(temporary.name), temporary


def _key(text: TextLike, vocabulary: "Vocabulary") -> str:
    parts = [str(FORMAT), text.fingerprint(), vocabulary.fingerprint]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:40]
