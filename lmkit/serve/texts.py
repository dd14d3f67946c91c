"""Write the text of a continuation in chunks, with the log-probabilities of its tokens, up to a stop string."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lmkit.serve.spelling import Growing, Piece, Speller, finite


class Entry(NamedTuple):
    """A token, its log-probability (None for a marker of the beginning), and the likeliest tokens of its place."""

    id: int
    log_prob: float | None
    top: Sequence[tuple[int, float]] = ()


@dataclass
class Chunk:
    """The next part of a choice. tokens: how many were generated in it. logprobs: as in OpenAI's completions."""

    text: str = ""
    logprobs: dict[str, list[Any]] | None = None
    finish_reason: str | None = None
    tokens: int = 0


@dataclass
class Table:
    """The log-probabilities of a chunk."""

    tokens: list[str] = field(default_factory=list)
    token_logprobs: list[float | None] = field(default_factory=list)
    top_logprobs: list[dict[str, float] | None] = field(default_factory=list)
    text_offset: list[int] = field(default_factory=list)

    def add(self, speller: Speller, piece: Piece, entry: Entry, skip: str = "") -> None:
        """A token and its place."""
        self.tokens.append(piece.name)
        self.text_offset.append(piece.place)
        if entry.log_prob is None:
            self.token_logprobs.append(None)
            self.top_logprobs.append(None)
            return
        own = finite(entry.log_prob)
        top = [(token, finite(value)) for token, value in entry.top]
        self.token_logprobs.append(own)
        self.top_logprobs.append(speller.alternatives(piece, own, top, skip=skip))

    def to_json(self) -> dict[str, list[Any]]:
        """As clients read it."""
        return {
            "tokens": self.tokens,
            "token_logprobs": self.token_logprobs,
            "top_logprobs": self.top_logprobs,
            "text_offset": self.text_offset,
        }


class Writer:
    """The text of a continuation whose tokens arrive one by one.

    before: the ids of the prompt's last line. at: the place of the first letter. skip: see `Growing`. logprobs: whether
    they are asked for. stops: strings that end the text, which does not contain them.
    """

    def __init__(
        self,
        speller: Speller,
        before: Sequence[int],
        *,
        at: int = 0,
        skip: str = "",
        logprobs: bool = False,
        stops: Sequence[str] = (),
    ) -> None:
        self._speller = speller
        self._growing = Growing(speller, before, at, skip)
        self._first_skip = skip
        self._logprobs, self._stops = logprobs, stops
        self._longest_stop = max(map(len, stops), default=0)
        self._plain: list[int] = []
        """Tokens whose text is found with that of the next chunk, if nothing is asked about each."""
        self._waiting: deque[Entry] = deque()
        """Tokens of an incomplete letter."""
        self._ready: deque[tuple[Piece, Entry]] = deque()
        self._written = ""
        """The text so far, if there are stops."""
        self._length = self._told = self._tokens = 0
        """The characters of the text so far and of its chunks, and the tokens of the next chunk."""
        self._cut: int | None = None

    def add(self, entry: Entry) -> bool:
        """Add a token; return whether a stop string is complete."""
        self._tokens += 1
        if not (self._logprobs or self._stops):
            self._plain.append(entry.id)
            return False
        self._waiting.append(entry)
        self._put(self._growing.add(entry.id))
        return self._cut is not None

    def end(self, entry: Entry) -> None:
        """Add the token that ends the text and has no letters."""
        self._tokens += 1
        self._finish()
        if self._logprobs or self._stops:
            place = self._growing.at
            self._ready.append((Piece(entry.id, "", "", place, self._growing.starts_line), entry))

    def take(self, finish_reason: str | None) -> Chunk:
        """What can be told now; with a reason, everything."""
        tokens, self._tokens = self._tokens, 0
        if not (self._logprobs or self._stops):
            text = self._growing.text_of(self._plain)
            self._plain = []
            return Chunk(text, None, finish_reason, tokens)
        if finish_reason is not None:
            self._finish()
        limit = self._limit(final=finish_reason is not None)
        text, table = "", Table()
        while self._ready:
            piece, entry = self._ready[0]
            if finish_reason is None and self._told + len(piece.text) > limit:
                break
            self._ready.popleft()
            piece = self._within(piece, limit)
            text += piece.text
            self._told += len(piece.text)
            if self._logprobs:
                table.add(self._speller, piece, entry, self._first_skip)
            self._first_skip = ""
        return Chunk(text, table.to_json() if self._logprobs else None, finish_reason, tokens)

    def _finish(self) -> None:
        if self._waiting:
            self._put(self._growing.finish())

    def _put(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            self._ready.append((piece, self._waiting.popleft()))
            self._length += len(piece.text)
            if self._stops and self._cut is None:
                searched = max(0, len(self._written) - self._longest_stop + 1)
                self._written += piece.text
                found = [at for stop in self._stops if (at := self._written.find(stop, searched)) >= 0]
                self._cut = min(found, default=None)

    def _limit(self, *, final: bool) -> int:
        """The characters that may be told: not those that may begin a stop string."""
        if self._cut is not None:
            return self._cut
        if final or not self._stops:
            return self._length
        for size in range(min(self._longest_stop - 1, self._length), 0, -1):
            end = self._written[-size:]
            if any(stop.startswith(end) for stop in self._stops):
                return self._length - size
        return self._length

    def _within(self, piece: Piece, limit: int) -> Piece:
        """The part of a token before the end of the text."""
        if self._cut is None or (self._told + len(piece.text) <= limit and self._told < limit):
            return piece
        text = piece.text[: max(0, limit - self._told)]
        place = min(piece.place, self._growing.at - (self._length - limit))
        return piece._replace(name=text, text=text, place=place)
