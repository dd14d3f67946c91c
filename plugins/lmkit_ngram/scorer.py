"""Score many lines fast: one look-up per word in a hash table, alternating between sixteen places of the text.

A look-up in a large table mostly waits for memory. Each of the lanes prefetches the cache line that it needs next,
and meanwhile the other lanes take their steps. The places may be in one line: a lane that begins within a line first
reads the words before it, as many as a context has, so that its state is that of a single walk.
"""

from typing import Any

import numpy as np

from lmkit.jit import kernel
from lmkit.specs import MOST_IDS
from lmkit_ngram.intrinsics import prefetch
from lmkit_ngram.queries import DAMAGED, NOTHING, SOUND, Grams, score_rows, shorter, state_after
from lmkit_ngram.threads import available, parts, side_by_side

LANES = 16
"""Places of the text that are scored alternately: enough to hide the wait for memory."""
PIECE = 3
"""Minimum number of words of a lane, per word of the longest n-grams: a context before it is read a second time."""
SPACE = 2
"""Slots of the hash table for each n-gram in it."""
MARGIN = 4096
"""Slots after the last start of a search; random keys never fill this many in a row."""
BREAK_EVEN = 0.2
"""From this many words to score per n-gram of the model on, the hash table saves more time than it costs."""
LEAST = 1 << 16
"""Minimum number of words per thread."""
AHEAD = 64
"""Number of n-grams whose slots are prefetched."""

SLOT = np.dtype([("key", "u8"), ("next", "i4"), ("log_prob", "f4")], align=True)
"""An entry by state and word, the key: the next state and the log10 probability."""
EMPTY = np.uint64(2**64 - 1)
"""The key of an empty slot; no state and word that fit 31 bits each have it."""
LANE = np.dtype(
    [
        ("key", "u8"),
        *((name, "i8") for name in ("position", "first", "end", "state", "slot")),
        ("cost", "f4"),
    ],
    align=True,
)
"""A place of the text: the word to look up, the piece to score, the position of the look-up and its cost so far."""
NODE = np.dtype([("suffix", "i4"), ("backoff", "f4")], align=True)
"""For each context: the state to back off to, and the cost. The last is for no context."""


class StreamScorer:
    """The log-probabilities of lines, first by a walk, and by the hash table once enough words are scored."""

    def __init__(self, grams: Grams) -> None:
        self._grams = grams
        self._slots: np.ndarray | None = None
        self._nodes = np.empty(0, NODE)
        self._walked = 0

    @property
    def table_built(self) -> bool:
        return self._slots is not None

    def score(self, ids: np.ndarray, threads: int | None = None) -> np.ndarray | None:
        """(tokens,) float32, log10 p of each word of whole lines; None when the arrays are damaged.

        ids: (tokens,) int32 of the vocabulary, including the `</s>` of each line. threads: maximum number, by default
        that of the processors, which takes a microsecond to find out.
        """
        total = len(self._grams.words)
        # A slot has room for a link of 31 bits.
        if self._slots is None and total <= MOST_IDS and self._walked + len(ids) > BREAK_EVEN * total:
            slots = np.empty(SPACE * total + MARGIN, SLOT)
            self._nodes = np.empty(self._grams.contexts + 1, NODE)
            if fill_slots(self._grams, slots, self._nodes) == DAMAGED:
                return None
            self._slots = slots
        self._walked += len(ids)
        scores = np.empty(len(ids), np.float32)
        if len(ids) < LEAST:
            return scores if self._score(ids, scores) == SOUND else None
        pieces = self._pieces(ids, min(threads or available(), len(ids) // LEAST + 1))
        calls = (lambda a=a, b=b: self._score(ids[a:b], scores[a:b]) for a, b in pieces)
        codes = side_by_side(calls, len(pieces))
        return scores if all(code == SOUND for code in codes) else None

    def _score(self, ids: np.ndarray, scores: np.ndarray) -> int:
        if self._slots is None:
            start, reset = np.array([self._grams.start]), np.zeros((1, len(ids)), np.bool_)
            return score_rows(self._grams, ids[None], reset, start, scores[None])
        grams = self._grams
        lanes = np.empty(max(1, min(LANES, len(ids) // (PIECE * grams.order))), LANE)
        start = grams.contexts if grams.start == NOTHING else grams.start
        longest = grams.order - 1
        score_lanes(start, longest, self._slots, self._nodes, grams.eos_id, ids, lanes, scores)
        return SOUND

    def _pieces(self, ids: np.ndarray, count: int) -> list[tuple[int, int]]:
        """The ids in this many ranges, each of whole lines."""
        pieces, first = [], 0
        for _, end in parts(0, len(ids), count):
            last = line_end(ids, max(first, end), self._grams.eos_id)
            pieces.append((first, last))
            first = last
        return pieces


@kernel
def line_end(ids: np.ndarray, position: int, eos_id: int) -> int:
    """The first position from this one on that begins a line, or the length of the text."""
    while 0 < position < len(ids) and ids[position - 1] != eos_id:
        position += 1
    return position


@kernel
def key_of(state: int, word: Any) -> Any:
    """64 mixed bits of a state and a word; no other pair has the same."""
    pair = np.uint64(state) << np.uint64(32) | np.uint64(word)
    # Products with odd numbers (which mix bits well) and exclusive ors with shifted bits are invertible.
    pair *= np.uint64(0x9E3779B97F4A7C15)
    pair ^= pair >> np.uint64(32)
    return pair * np.uint64(0xD6E8FEB86659FD93)


@kernel
def slot_of(key: Any, num_slots: int) -> int:
    """The start of the search for a key: its upper half, scaled to the table, so that higher keys come later."""
    scaled = (key >> np.uint64(32)) * np.uint64(num_slots - MARGIN) >> np.uint64(32)
    return np.int64(scaled)  # pyright: ignore[reportReturnType]  (int() would leave it unsigned here)


@kernel
def fill_slots(grams: Grams, slots: np.ndarray, nodes: np.ndarray) -> int:
    """SOUND, with every n-gram in `slots` and every context in `nodes`, or DAMAGED.

    Single words follow the empty context, which has the last number and contains every word. All entries are checked
    here, so later code need not check them. Keys ascend from slot to slot, except for empty ones: a search ends at
    the first higher key, even in a rather full table.
    """
    for i in range(len(slots)):
        slots[i].key = EMPTY
    waiting = np.empty((AHEAD, 2), np.int64)  # state and n-gram of those to insert
    filled = 0
    none = grams.contexts
    nodes[none].suffix, nodes[none].backoff = none, np.float32(0)
    # `<s>` is the last single word, even if no words follow it.
    for word in range(grams.start if grams.start != NOTHING else len(grams.words) - 1):
        waiting[0, 0], waiting[0, 1] = none, word
        if put(grams, slots, waiting, 1) == DAMAGED:
            return DAMAGED
    for state in range(grams.contexts):
        suffix = shorter(grams.suffixes, state)
        first, last = grams.children[state], grams.children[state + 1]
        if suffix == DAMAGED or first <= state or last < first or last > len(grams.words):
            return DAMAGED
        nodes[state].suffix = none if suffix == NOTHING else suffix
        nodes[state].backoff = grams.backoffs[state]
        before = -1
        for ngram in range(first, last):
            word = grams.words[ngram]
            if word <= before:  # equal keys would fill the table with one long run
                return DAMAGED
            before = word
            prefetch(slots, slot_of(key_of(state, word), len(slots)))
            waiting[filled, 0], waiting[filled, 1] = state, ngram
            filled += 1
            if filled == AHEAD:
                if put(grams, slots, waiting, filled) == DAMAGED:
                    return DAMAGED
                filled = 0
    return put(grams, slots, waiting, filled)


@kernel
def put(grams: Grams, slots: np.ndarray, waiting: np.ndarray, count: int) -> int:
    """SOUND, with `count` n-grams in their slots, or DAMAGED."""
    for i in range(count):
        state, ngram = waiting[i]
        word = ngram if state == grams.contexts else grams.words[ngram]
        following = grams.start
        if word != grams.eos_id:
            following = skip_childless(grams, state_after(grams.suffixes, grams.contexts, ngram))
        if following == DAMAGED:
            return DAMAGED
        if following == NOTHING:
            following = grams.contexts
        key = key_of(state, word)
        slot = slot_of(key, len(slots))
        while slots[slot].key < key:
            slot += 1
        end = slot
        while slots[end].key != EMPTY:
            end += 1
        if end + 1 == len(slots):  # the last stays empty, to end every search
            return DAMAGED
        for moved in range(end, slot, -1):
            slots[moved] = slots[moved - 1]
        slots[slot].key = key
        slots[slot].next = following
        slots[slot].log_prob = grams.log_probs[ngram]
    return SOUND


@kernel
def skip_childless(grams: Grams, state: int) -> int:
    """The state without words that have no effect: those of contexts without children and cost."""
    while (
        state > NOTHING and grams.children[state] == grams.children[state + 1] and grams.backoffs[state] == 0
    ):
        state = shorter(grams.suffixes, state)
    return state


@kernel
def begin_lane(lane: Any, ids: np.ndarray, start: int, longest: int, nothing: int, eos_id: int) -> None:
    """Put a lane before its first word: at the beginning of the line, or `longest` words earlier without context."""
    position = max(lane.first - longest, 0)
    lane.state = nothing
    for before in range(lane.first - 1, position - 1, -1):
        if ids[before] == eos_id:
            position = before + 1
            lane.state = start
            break
    if position == 0:
        lane.state = start
    lane.position, lane.cost = position, np.float32(0)


@kernel
def score_lanes(
    start: int,
    longest: int,
    slots: np.ndarray,
    nodes: np.ndarray,
    eos_id: int,
    ids: np.ndarray,
    lanes: np.ndarray,
    scores: np.ndarray,
) -> None:
    """Fill scores with the log10 probability of each word of lines.

    ids: (tokens,) int32, including the `</s>` of each line; they are cut into one piece per lane. longest: words of
    the longest context. scores: (tokens,) float32; backoffs are added from the longest context on, which rounds
    differently from `score_rows`. lanes: room for them; unfinished ones are moved to the front.
    """
    live = 0
    for i in range(len(lanes)):
        lane: Any = lanes[live]
        lane.first, lane.end = len(ids) * i // len(lanes), len(ids) * (i + 1) // len(lanes)
        if lane.first == lane.end:
            continue
        begin_lane(lane, ids, start, longest, len(nodes) - 1, eos_id)
        lane.key = key_of(lane.state, ids[lane.position])
        lane.slot = slot_of(lane.key, len(slots))
        prefetch(slots, lane.slot)
        live += 1
    turn = 0
    while live > 0:
        if turn >= live:
            turn = 0
        lane: Any = lanes[turn]
        slot, key, position = lane.slot, lane.key, lane.position
        held: Any = slots[slot]
        while held.key < key:
            slot += 1
            held = slots[slot]
        node: Any = nodes[lane.state]
        # No branch, since it would be unpredictable: the score of a word that is not found here is overwritten
        # from a shorter context.
        found = held.key == key
        if position >= lane.first:
            scores[position] = lane.cost + held.log_prob
        lane.cost = np.float32(0) if found else lane.cost + node.backoff
        state = held.next if found else node.suffix
        position += found
        if position == lane.end:
            live -= 1
            lanes[turn] = lanes[live]
            continue
        lane.position, lane.state = position, state
        lane.key = key_of(state, ids[position])
        lane.slot = slot_of(lane.key, len(slots))
        prefetch(slots, lane.slot)
        prefetch(nodes, state)
        turn += 1
