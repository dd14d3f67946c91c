"""Spell tokens as clients read them: the text that each adds, its place, and the bytes of divided letters."""

import codecs
import math
import re
from collections.abc import Sequence
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np

from lmkit.contracts import Tokenizer
from lmkit.errors import PluginError
from lmkit.generation.text import INCOMPLETE, LINE_END, decode_lines, prompt_ids
from lmkit.pipelines.spelling import pieces_of

MARKER = "</s>"
"""The spelling of the end of text, `eos_token` of /tokenizer_info."""
IMPOSSIBLE = -9999.0
"""The log-probability of zero, since JSON has no infinity."""
LONGEST_LINE, KEPT = 512, 256
"""A line longer than this is decoded from its last tokens on, so that long texts take linear time."""

_BYTES = re.compile(rb"(?:<0x[0-9A-F]{2}>)+")


class Piece(NamedTuple):
    """A token in a text.

    name: its spelling for clients. text: the whole letters that it adds. place: its first letter, in characters of the
    text. starts_line: whether it is the first of a line.
    """

    id: int
    name: str
    text: str
    place: int
    starts_line: bool


class Reading(NamedTuple):
    """A prompt: its ids, their pieces in order (empty unless asked for), and its text."""

    ids: list[int]
    pieces: list[Piece]
    text: str


class Speller:
    """Spells the tokens of a tokenizer; it is used by one thread."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.eos = tokenizer.vocabulary.eos_id
        self.unk = tokenizer.vocabulary.unk_id
        self._names: dict[tuple[int, bool], str] = {}
        self._raw: dict[int, bytes | None] = {}

    def read(self, text: str, *, pieces: bool) -> Reading:
        """A prompt of text: `</s>` stands between its lines, and unknown words keep their spelling."""
        if not pieces:
            return Reading(prompt_ids(self.tokenizer, text), [], text)
        found: list[Piece] = []
        at, blank = 0, ""
        for number, line in enumerate(text.split(LINE_END)):
            if number:
                # The white space of a line without tokens belongs to its end, that of the last line to the end before.
                end = blank + LINE_END
                found.append(
                    Piece(self.eos, end, end, at - 1, bool(blank) or not found or found[-1].id == self.eos)
                )
            encoding = self.tokenizer.encode(line)
            blank = "" if len(encoding.ids) else line
            found += self._of_line(line, encoding.ids.tolist(), encoding.spans, at)
            at += len(line) + 1
        if blank and found:
            found[-1] = found[-1]._replace(name=found[-1].name + blank, text=found[-1].text + blank)
        return Reading([piece.id for piece in found], found, text)

    def _of_line(self, line: str, ids: list[int], spans: np.ndarray, at: int) -> list[Piece]:
        """The pieces of a line that begins at a place of the text."""
        found: list[Piece] = []
        chunks, starts, ends = pieces_of(line, spans), spans[:, 0].tolist(), spans[:, 1].tolist()
        first = 0
        for place in range(1, len(ids) + 1):
            if place < len(ids) and starts[place] < max(ends[first:place]):
                continue  # it shares a letter with the one before
            chunk = "".join(chunks[first:place])
            found += self.divided(ids[first:place], chunk, at, starts_line=not first)
            at += len(chunk)
            first = place
        return found

    def read_ids(self, ids: Sequence[int], *, pieces: bool) -> Reading:
        """A prompt of ids."""
        if not pieces:
            return Reading(list(ids), [], "")
        growing = Growing(self)
        found = [piece for token in ids for piece in growing.add(token)] + growing.finish()
        return Reading(list(ids), found, "".join(piece.text for piece in found))

    def divided(self, ids: Sequence[int], chunk: str, at: int, *, starts_line: bool) -> list[Piece]:
        """The pieces of one token, or of several that share letters, which together add a chunk of text."""
        if len(ids) == 1:
            return [Piece(ids[0], chunk, chunk, at + _lead(chunk), starts_line)]
        letters = codecs.getincrementaldecoder("utf-8")("replace")
        found, before = [], 0
        for place, (token, raw) in enumerate(zip(ids, self._parts(ids, chunk), strict=True)):
            text = chunk if place + 1 == len(ids) else ""
            lead = len(raw) - len(raw.lstrip())
            offset = at + min(before + (lead if lead < len(raw) else 0), max(len(chunk) - 1, 0))
            found.append(Piece(token, name_of(raw), text, offset, starts_line and not place))
            before += len(letters.decode(raw))
        return found

    def _parts(self, ids: Sequence[int], chunk: str) -> list[bytes]:
        """The bytes of tokens that share letters; if the tokenizer does not tell them, one each in turn."""
        known = [self.raw(token) for token in ids]
        parts = [part for part in known if part is not None]
        if len(parts) == len(ids):
            joined = b"".join(parts).decode("utf-8", "replace")
            if joined and chunk.endswith(joined):
                return [chunk[: len(chunk) - len(joined)].encode() + parts[0], *parts[1:]]
        whole = chunk.encode()
        last = len(ids) - 1
        return [*(whole[place : place + 1] for place in range(last)), whole[last:]]

    def raw(self, token: int) -> bytes | None:
        """The bytes that a token adds after another one; None if the tokenizer does not tell them."""
        if token not in self._raw:
            self._raw[token] = self._find_raw(token)
        return self._raw[token]

    def _find_raw(self, token: int) -> bytes | None:
        text = self._after(token)
        if INCOMPLETE not in text or token == self.unk:
            return text.encode()
        if self._symbols is None:
            return None
        symbol = self._symbols[token]
        for found in (symbol, _of_notation(symbol), _of_byte_letters(symbol)):
            # Programs differ in how many U+FFFD stand for a divided letter.
            if found is not None and _short(found.decode("utf-8", "replace")) == _short(text):
                return found
        return None

    @cached_property
    def _symbols(self) -> list[bytes] | None:
        try:
            return self.tokenizer.symbols()
        except PluginError:
            return None

    @cached_property
    def _some_token(self) -> int:
        """A token with a text that no later token changes."""
        size = self.tokenizer.vocabulary.size
        ids = (token for token in range(size) if token not in (self.eos, self.unk))
        plain = (t for t in ids if (text := self.tokenizer.decode([t])).strip() and INCOMPLETE not in text)
        return next(plain, self.eos)

    def _after(self, token: int) -> str:
        """The text that a token adds to a line after another token."""
        whole = self.tokenizer.decode([self._some_token, token])
        return whole[len(self.tokenizer.decode([self._some_token])) :]

    def name(self, token: int, *, starts_line: bool) -> str:
        """The spelling of a token that might stand in a place."""
        key = (token, starts_line)
        if key not in self._names:
            self._names[key] = self._find_name(token, starts_line)
        return self._names[key]

    def _find_name(self, token: int, starts_line: bool) -> str:
        if token == self.eos:
            return LINE_END
        text = self.tokenizer.decode([token]) if starts_line else self._after(token)
        if INCOMPLETE in text and token != self.unk and (raw := self.raw(token)) is not None:
            return name_of(raw)
        return text

    def alternatives(
        self, own: Piece, log_prob: float, top: Sequence[tuple[int, float]], *, skip: str = ""
    ) -> dict[str, float]:
        """The likeliest tokens of a place and its own one, by their different names, the likeliest first.

        skip: white space that a name does not repeat, since the text has it already.
        """
        found = {own.name: log_prob}
        for token, value in top:
            if token == own.id:
                continue
            name = self.name(token, starts_line=own.starts_line).removeprefix(skip)
            if name in found:
                name = _escaped(name.encode())
            if name in found:
                name = f"token_id:{token}"
            found[name] = value
        # A stable order: of equal ones, the token itself is first.
        return dict(sorted(found.items(), key=lambda item: -item[1]))


class Growing:
    """The pieces of tokens that arrive one by one.

    before: the ids of the line so far. at: the place of the next letter. skip: a space that the text before has
    already, and the first token would repeat.
    """

    def __init__(self, speller: Speller, before: Sequence[int] = (), at: int = 0, skip: str = "") -> None:
        self._speller = speller
        self._line = list(before)
        self._shown = self._text()
        self._pending: list[int] = []
        self._pending_starts_line = False
        # The bytes of an incomplete letter at the end of the text before, whose pieces were given with it.
        while self._shown.endswith(INCOMPLETE) and self._line[-1] != speller.unk and len(self._pending) < 4:
            self._pending.insert(0, self._line.pop())
            self._shown = self._text()
        self._given = len(self._pending)
        self._line += self._pending
        self.at = at
        self.skip = skip

    @property
    def starts_line(self) -> bool:
        """Whether the next token is the first of a line."""
        return not self._line

    def add(self, token: int) -> list[Piece]:
        """The pieces that this token completes: none while a letter is incomplete."""
        if token == self._speller.eos:
            return [*self.finish(), self._end_line()]
        self._push(token)
        text = self._text()
        if text.endswith(INCOMPLETE) and token != self._speller.unk:
            return []
        return self._pieces(self._new(text))

    def text_of(self, tokens: Sequence[int]) -> str:
        """The text that these tokens add, without pieces, which takes one decoding a line."""
        found = ""
        for place, token in enumerate(tokens):
            if token == self._speller.eos:
                found += self._end_line().text
                continue
            self._push(token)
            if place + 1 == len(tokens) or tokens[place + 1] == self._speller.eos:
                text = self._text()
                whole = text if token == self._speller.unk else text.rstrip(INCOMPLETE)
                found += self._new(whole)
                if whole == text:
                    self._pending = []
        return found

    def finish(self) -> list[Piece]:
        """The pieces of the tokens that wait for more of a letter; if it stays incomplete, they add no text."""
        raws = [self._speller.raw(token) or INCOMPLETE.encode() for token in self._pending]
        try:
            return self._pieces(b"".join(raws).decode()) if raws else []
        except UnicodeDecodeError:
            found = [
                Piece(token, name_of(raw), "", self.at, self._pending_starts_line and not place)
                for place, (token, raw) in enumerate(zip(self._pending, raws, strict=True))
            ]
            self._pending = []
            return self._without_given(found)

    def _push(self, token: int) -> None:
        if not self._pending:
            self._pending_starts_line = not self._line
            if len(self._line) > LONGEST_LINE:
                self._line = self._line[-KEPT:]
                self._shown = self._speller.tokenizer.decode(self._line)
        self._line.append(token)
        self._pending.append(token)

    def _text(self) -> str:
        """The text of the line."""
        return self._speller.tokenizer.decode(self._line)

    def _new(self, text: str) -> str:
        """What the text of the line has more than before, without a space that is there already."""
        new, self._shown = text[len(self._shown) :], max(text, self._shown, key=len)
        if new and self.skip:
            new, self.skip = new.removeprefix(self.skip), ""
        return new

    def _pieces(self, chunk: str) -> list[Piece]:
        """The pieces of the pending tokens, which together add a chunk."""
        found = self._speller.divided(self._pending, chunk, self.at, starts_line=self._pending_starts_line)
        self._pending = []
        self.at += len(chunk)
        return self._without_given(found)

    def _without_given(self, found: list[Piece]) -> list[Piece]:
        given, self._given = self._given, 0
        return found[given:]

    def _end_line(self) -> Piece:
        found = Piece(self._speller.eos, LINE_END, LINE_END, self.at, not self._line)
        self._line, self._shown, self._pending, self._given, self.skip = [], "", [], 0, ""
        self.at += 1
        return found


def name_of(raw: bytes) -> str:
    """The spelling of bytes: their text, or `bytes:\\xe4` if they are a piece of a letter."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return _escaped(raw)


def dropped_space(tokenizer: Tokenizer, prompt: str, ids: Sequence[int]) -> str:
    """The space at the end of a prompt, if the ids of its last line drop it and the next word repeats it."""
    return " " if prompt.endswith(" ") and not tokenizer.decode(ids).endswith(" ") else ""


def detokenized(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of ids; `</s>` alone is spelled, since clients look for the spelling of the end."""
    return MARKER if list(ids) == [tokenizer.vocabulary.eos_id] else decode_lines(tokenizer, ids)


def tokenized(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text; that of `</s>` alone is the end, whose id clients look for."""
    return [tokenizer.vocabulary.eos_id] if text == MARKER else prompt_ids(tokenizer, text)


def finite(log_prob: float) -> float:
    """A log-probability as JSON can write it."""
    return log_prob if log_prob > -math.inf else IMPOSSIBLE


def _escaped(raw: bytes) -> str:
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def _lead(text: str) -> int:
    """The characters of white space before the first letter; 0 without letters."""
    rest = text.lstrip()
    return len(text) - len(rest) if rest else 0


def _short(text: str) -> str:
    return re.sub(f"{INCOMPLETE}+", INCOMPLETE, text)


def _of_notation(symbol: bytes) -> bytes | None:
    """The bytes of `<0xE4><0xB8>`."""
    if not _BYTES.fullmatch(symbol):
        return None
    return bytes(int(found, 16) for found in re.findall(rb"<0x(..)>", symbol))


@cache
def _byte_letters() -> dict[str, int]:
    """The letters for bytes of byte-level BPE (Radford et al., 2019): themselves if printable, others from U+0100."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + n): byte for n, byte in enumerate(others)}


def _of_byte_letters(symbol: bytes) -> bytes | None:
    letters = _byte_letters()
    text = symbol.decode("utf-8", "replace")
    return bytes(letters[letter] for letter in text) if all(letter in letters for letter in text) else None
