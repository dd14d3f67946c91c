"""Compiled loops over the bytes of lines that count, number or look up words at the speed of memory.

A table of words is `slots`, (a power of two, 2) uint64, open addressing with linear probing, at most half full:
a key, 0 if the slot is free, and twice the word's number, plus one for a long word. The key of a word of up to
eight bytes is these bytes, the first one lowest; it is unique, since words contain no NUL.
The key of a longer word is a hash, so its bytes are compared with those in `pool`, where those of word i are
`pool[starts[i]:starts[i + 1]]`.
"""

import numpy as np

from lmkit.jit import kernel

BEFORE, BETWEEN, AFTER = 0, 1, 2
"""The places of white space in a line (`lmkit.residual.LineCode.places`)."""
LONGEST_RUN = 64
"""Runs of up to this many spaces are counted by length; other white space is listed."""

BATCH = 64
"""Words to read before looking them up together, so that the waits for their slots overlap."""

PADDING = 16
"""Line feeds after the text, which end its last word and allow reading eight bytes anywhere in it."""

# Odd constants with well-distributed bits, from splitmix64 (Steele, Lea and Flood, 2014).
_MIX = np.uint64(0x9E3779B97F4A7C15)
_STEP = np.uint64(0xBF58476D1CE4E5B9)
_LOW_BITS = np.uint64(0x0101010101010101)
_HIGH_BITS = np.uint64(0x8080808080808080)
_PAST_SPACE = np.uint64(0x2121212121212121)
_ZERO, _ONE = np.uint64(0), np.uint64(1)
_SHORT = 8
"""Bytes of the longest word whose bytes are its key."""


@kernel
def is_gap(byte: int) -> bool:
    """Whether a byte is white space for KenLM (`lmkit.corpus.words.WHITE_SPACE`)."""
    return byte <= 32 and (byte == 32 or byte == 10 or byte == 9 or byte == 13 or byte == 0)


@kernel
def eight_bytes(packs: np.ndarray, start: int) -> np.uint64:
    """The bytes from `start` on, the first one lowest. packs: the text as uint64."""
    pack, shift = start >> 3, np.uint64((start & 7) << 3)
    # A shift by 64 is undefined, hence two.
    return (packs[pack] >> shift) | ((packs[pack + 1] << _ONE) << (np.uint64(63) - shift))


@kernel
def first_control(pack: np.uint64) -> np.uint64:
    """The lowest bit of the first byte of 32 or less; 0 if there is none.

    Subtraction borrows only past such a byte, so the lowest remaining high bit is that of the first one
    (Anderson, Bit Twiddling Hacks, "hasless").
    """
    found = (pack - _PAST_SPACE) & ~pack & _HIGH_BITS
    return (found & (~found + _ONE)) >> np.uint64(7)


@kernel
def mixed(hashed: np.uint64, pack: np.uint64) -> np.uint64:
    """Update a hash with eight more bytes."""
    hashed = (hashed ^ pack) * _STEP
    return hashed ^ (hashed >> np.uint64(32))


@kernel
def read_word(data: np.ndarray, packs: np.ndarray, start: int) -> tuple[int, np.uint64]:
    """The end and the key of the word that begins at `start`, read eight bytes at a time."""
    end = start
    hashed = _ZERO
    pack = eight_bytes(packs, end)
    control = first_control(pack)
    while control == _ZERO:
        hashed = mixed(hashed, pack)
        end += 8
        pack = eight_bytes(packs, end)
        control = first_control(pack)
    below = control - _ONE
    length = int(np.int64(((below & _LOW_BITS) * _LOW_BITS) >> np.uint64(56)))
    if not is_gap(data[end + length]):
        return read_word_by_bytes(data, packs, start)
    if end == start:
        return end + length, pack & below
    end += length
    if end - start == _SHORT:
        return end, eight_bytes(packs, start)
    return end, max(mixed(hashed, pack & below), _ONE)


@kernel
def read_word_by_bytes(data: np.ndarray, packs: np.ndarray, start: int) -> tuple[int, np.uint64]:
    """The same, for a word with control characters."""
    end = start
    hashed, pack = _ZERO, _ZERO
    while not is_gap(data[end]):
        pack |= np.uint64(data[end]) << np.uint64(((end - start) & 7) << 3)
        end += 1
        if (end - start) & 7 == 0:
            hashed = mixed(hashed, pack)
            pack = _ZERO
    if end - start < _SHORT:
        return end, pack
    if end - start == _SHORT:
        return end, eight_bytes(packs, start)
    return end, max(mixed(hashed, pack), _ONE)


@kernel
def first_slot(key: np.uint64, size: int) -> int:
    """The start of the search for a key in a table of `size` slots."""
    spread = key * _MIX
    return int(np.int64((spread ^ (spread >> np.uint64(32))) & np.uint64(size - 1)))


@kernel
def find(
    data: np.ndarray,
    start: int,
    end: int,
    key: np.uint64,
    slot: int,
    slots: np.ndarray,
    pool: np.ndarray,
    starts: np.ndarray,
) -> int:
    """The slot of the word `data[start:end]`, or the free slot for it; the search begins at `slot`."""
    length = end - start
    is_long = np.uint64(length > _SHORT)
    while slots[slot, 0] != _ZERO:
        if slots[slot, 0] == key and slots[slot, 1] & _ONE == is_long:
            if length <= _SHORT:
                return slot
            word = np.int64(slots[slot, 1] >> _ONE)
            first = starts[word]
            if starts[word + 1] - first == length:
                same = 0
                while same < length and pool[first + same] == data[start + same]:
                    same += 1
                if same == length:
                    return slot
        slot = (slot + 1) & (len(slots) - 1)
    return slot


@kernel
def fetch(keys: np.ndarray, used: int, slots: np.ndarray, places: np.ndarray, touched: np.ndarray) -> None:
    """The starts of the searches for some keys; all these slots are read at once, not one after another."""
    for i in range(used):
        places[i] = first_slot(keys[i], len(slots))
    for i in range(used):
        touched[i] = slots[places[i], 0]


@kernel
def count_lines(
    packs: np.ndarray,
    stop: int,
    position: int,
    place: int,
    words: int,
    slots: np.ndarray,
    pool: np.ndarray,
    starts: np.ndarray,
    counts: np.ndarray,
    runs: np.ndarray,
    first_runs: np.ndarray,
    odd: np.ndarray,
) -> tuple[int, int, int, int]:
    """Count the words of lines joined by line feeds, and the white space around them, until an array is full.

    packs: (stop + padding,) bytes as uint64. position, place: where to continue, initially 0
    and BEFORE. words: number of words in the table; starts, counts: (capacity + 1,), (capacity,) int64. pool has
    room for the rest of the text. runs: (3, LONGEST_RUN + 1) int64, the counts of runs of spaces at each place, by
    length; first_runs: their first positions. odd: (rows, 3) int64: place, start and end of other white space.
    Returns position (past `stop` when all is done), place, words and rows of `odd` used.
    """
    data = packs.view(np.uint8)
    num_odd = 0
    word_starts, word_ends = np.empty(BATCH, np.int64), np.empty(BATCH, np.int64)
    keys, touched, places = np.empty(BATCH, np.uint64), np.empty(BATCH, np.uint64), np.empty(BATCH, np.int64)
    room = min(len(counts), len(slots) // 2)
    while position <= stop and words + BATCH <= room and num_odd + BATCH <= len(odd):
        used = int(np.int64(0))  # for a 0, numba would compile `fetch` once more
        for _ in range(BATCH):
            gap = position
            only_spaces = True
            while data[position] != 10 and is_gap(data[position]):
                only_spaces = only_spaces and data[position] == 32
                position += 1
            ends_line = data[position] == 10
            where = AFTER if ends_line and place == BETWEEN else place
            length = position - gap
            if only_spaces and length <= LONGEST_RUN:
                if runs[where, length] == 0:
                    first_runs[where, length] = gap
                runs[where, length] += 1
            else:
                odd[num_odd, 0], odd[num_odd, 1], odd[num_odd, 2] = where, gap, position
                num_odd += 1
            if ends_line:
                position += 1
                place = BEFORE
                if position > stop:
                    break
            else:
                word_starts[used] = position
                position, keys[used] = read_word(data, packs, position)
                word_ends[used] = position
                used += 1
                place = BETWEEN
        fetch(keys, used, slots, places, touched)
        for i in range(used):
            start, end = word_starts[i], word_ends[i]
            slot = find(data, start, end, keys[i], places[i], slots, pool, starts)
            if slots[slot, 0] == _ZERO:
                slots[slot, 0] = keys[i]
                slots[slot, 1] = np.uint64(2 * words + (end - start > _SHORT))
                first = starts[words]
                for j in range(end - start):
                    pool[first + j] = data[start + j]
                starts[words + 1] = first + end - start
                counts[words] = 0
                words += 1
            counts[np.int64(slots[slot, 1] >> _ONE)] += 1
    return position, place, words, num_odd


@kernel
def look_up_lines(
    packs: np.ndarray,
    stop: int,
    slots: np.ndarray,
    pool: np.ndarray,
    starts: np.ndarray,
    first_id: int,
    unknown: int,
    end_of_line: int,
    ids: np.ndarray,
    line_ends: np.ndarray,
) -> int:
    """Write the ids of lines joined by line feeds, and the end of each line in them; return the number of ids.

    Word i of the table has the id first_id + i. ids: (stop + 1,) int32; line_ends: (lines,) int64.
    """
    data = packs.view(np.uint8)
    word_starts, word_ends = np.empty(BATCH, np.int64), np.empty(BATCH, np.int64)
    indices = np.empty(BATCH, np.int64)
    keys, touched, places = np.empty(BATCH, np.uint64), np.empty(BATCH, np.uint64), np.empty(BATCH, np.int64)
    position, num_ids, line = int(np.int64(0)), 0, 0  # for a 0, numba would compile `read_word` once more
    while position <= stop:
        used = int(np.int64(0))  # for a 0, numba would compile `fetch` once more
        while used < BATCH and position <= stop:
            if data[position] == 10:
                ids[num_ids] = end_of_line
                num_ids += 1
                line_ends[line] = num_ids
                line += 1
                position += 1
            elif is_gap(data[position]):
                position += 1
            else:
                word_starts[used] = position
                position, keys[used] = read_word(data, packs, position)
                word_ends[used] = position
                indices[used] = num_ids
                num_ids += 1
                used += 1
        fetch(keys, used, slots, places, touched)
        for i in range(used):
            slot = find(data, word_starts[i], word_ends[i], keys[i], places[i], slots, pool, starts)
            known = slots[slot, 0] != _ZERO
            ids[indices[i]] = first_id + np.int64(slots[slot, 1] >> _ONE) if known else unknown
    return num_ids


@kernel
def move_slots(old: np.ndarray, new: np.ndarray) -> None:
    """Fill an empty, larger table with the slots of another."""
    for i in range(len(old)):
        if old[i, 0] != _ZERO:
            slot = first_slot(old[i, 0], len(new))
            while new[slot, 0] != _ZERO:
                slot = (slot + 1) & (len(new) - 1)
            new[slot, 0], new[slot, 1] = old[i, 0], old[i, 1]
