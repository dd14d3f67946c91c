"""Kernels that split a text into windows, find the n-grams of a part, and place them in a model."""

import numpy as np

from lmkit.jit import kernel
from lmkit_ngram.intrinsics import prefetch

AHEAD = 24
"""Number of entries to prefetch ahead."""
END = 0
"""Fills a row of a window after `<s>`; words in rows are ids plus one."""


@kernel
def part_of(word: int, left: int, first: np.ndarray, slices: np.ndarray) -> int:
    """The part of contexts that end in `left`, `word` (`part_plan.Plan`)."""
    number = slices[word]
    if number == 1:
        return int(first[word])
    # A multiplicative hash (Knuth, The Art of Computer Programming 3, 6.4).
    mixed = ((np.uint64(left) * np.uint64(2654435769)) & np.uint64(0xFFFFFFFF)) >> np.uint64(8)
    return int(first[word]) + int(mixed % np.uint64(number))


@kernel
def windows(
    tokens: np.ndarray,
    skip: int,
    eos_id: int,
    start_id: int,
    first: np.ndarray,
    slices: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    rows: np.ndarray,
) -> None:
    """Write the window that ends at each token from `skip` on into `rows`, grouped by part.

    A row begins with the last word of the window's context, the word that follows it, and the word before it; then
    the others, from right to left, up to `<s>`: row[:k] is an n-gram of k words, for each k from 2.
    tokens: int32; those before `skip` are only words before. starts: (words,), to which the numbers of the first
    words of lines are added, whose context is `<s>`; they get no row. ends[p] becomes the end of part p in `rows`.
    """
    ends[:] = 0
    for i in range(skip, len(tokens)):
        if i == 0 or tokens[i - 1] == eos_id:
            starts[tokens[i]] += 1
        else:
            ends[part_of(tokens[i - 1], _before(tokens, i - 2, eos_id, start_id), first, slices)] += 1
    total = 0
    for part in range(len(ends)):
        count = ends[part]
        ends[part] = total
        total += count
    for i in range(skip, len(tokens)):
        if i == 0 or tokens[i - 1] == eos_id:
            continue
        part = part_of(tokens[i - 1], _before(tokens, i - 2, eos_id, start_id), first, slices)
        row = rows[ends[part]]
        ends[part] += 1
        row[0] = tokens[i - 1] + 1
        row[1] = tokens[i] + 1
        column = 2
        while column < len(row):
            word = _before(tokens, i - column, eos_id, start_id)
            row[column] = word + 1
            column += 1
            if word == start_id:
                break
        row[column:] = END


@kernel
def _before(tokens: np.ndarray, i: int, eos_id: int, start_id: int) -> int:
    """The word at position i of a line's words, or `<s>` before the first of them."""
    return start_id if i < 0 or tokens[i] == eos_id else tokens[i]


@kernel
def bucket_rows(rows: np.ndarray, positions: np.ndarray, starts: np.ndarray) -> None:
    """Fill positions with the beginnings of rows, by first word; those of word w begin at starts[w].

    rows: (number, order) int32. starts: (words + 1,) int64, zeros.
    """
    for i in range(len(rows)):
        starts[rows[i, 0] + 1] += 1
    for word in range(1, len(starts)):
        starts[word] += starts[word - 1]
    places = starts[:-1].copy()
    for i in range(len(rows)):
        word = rows[i, 0]
        positions[places[word]] = i * rows.shape[1]
        places[word] += 1


@kernel
def distinct_rows(
    rows: np.ndarray,
    row_counts: np.ndarray,
    positions: np.ndarray,
    spans: np.ndarray,
    to_rows: np.ndarray,
    to_spans: np.ndarray,
    counts: np.ndarray,
) -> int:
    """Write each different row once, in order, with its number; return how many there are.

    row_counts: (rows,) the number of each; empty: all are one.
    spans: those of `suffix_sort.sort_buckets`, which count END as a word; to_spans do not.
    """
    order = rows.shape[1]
    words = rows.reshape(-1)
    last = -1
    for slot in range(len(positions)):
        if slot + AHEAD < len(positions):
            prefetch(words, positions[slot + AHEAD])
        place = positions[slot]
        shared = spans[slot] & 255
        available = np.int64(spans[slot] >> 8)
        if words[place + available - 1] == END:
            available -= 1
        if shared < available:
            last += 1
            for i in range(order):
                to_rows[last, i] = words[place + i]
            to_spans[last] = shared | (available << 8)
            counts[last] = 0
        counts[last] += row_counts[place // order] if len(row_counts) else 1
    return last + 1


@kernel
def node_sizes(spans: np.ndarray, sizes: np.ndarray) -> None:
    """Add the number of n-grams of each order to sizes: (order + 1,)."""
    for i in range(len(spans)):
        for length in range(max((spans[i] & 255) + 1, 2), (spans[i] >> 8) + 1):
            sizes[length] += 1


@kernel
def fill_nodes(
    rows: np.ndarray,
    spans: np.ndarray,
    row_counts: np.ndarray,
    firsts: np.ndarray,
    words: np.ndarray,
    lefts: np.ndarray,
    parents: np.ndarray,
    counts: np.ndarray,
    raw: np.ndarray,
) -> None:
    """The n-grams of sorted rows: last and first word, suffix, adjusted and raw count (`part_count.Nodes`).

    raw: empty if these are not needed.
    """
    here = firsts - 1
    for i in range(len(rows)):
        available = spans[i] >> 8
        for length in range(max((spans[i] & 255) + 1, 2), available + 1):
            here[length] += 1
            node = here[length]
            words[node] = rows[i, 1] - 1
            counts[node] = 0
            if len(raw):
                raw[node] = 0
            if length == 2:
                lefts[node] = rows[i, 0] - 1
                parents[node] = rows[i, 1] - 1
            else:
                lefts[node] = rows[i, length - 1] - 1
                parents[node] = here[length - 1]
                counts[here[length - 1]] += 1  # one more word before it
        # The longest n-gram of a row has the highest order or begins with `<s>`: its count is raw.
        counts[here[available]] += row_counts[i]
        if len(raw):
            for length in range(2, available + 1):
                raw[here[length]] += row_counts[i]


@kernel
def context_keys(
    lefts: np.ndarray,
    parents: np.ndarray,
    ranks: np.ndarray,
    first: int,
    last: int,
    bits: int,
    keys: np.ndarray,
) -> None:
    """Keys that order the contexts of the n-grams first .. last - 1: first word, rank of the context without it."""
    for node in range(first, last):
        keys[node - first] = (np.uint64(lefts[node]) << np.uint64(bits)) | np.uint64(ranks[parents[node]])


@kernel
def arrange(
    keys: np.ndarray,
    nodes: np.ndarray,
    words: np.ndarray,
    counts: np.ndarray,
    raw: np.ndarray,
    parents: np.ndarray,
    limit: int,
    context_limit: int,
    first: int,
    ranks: np.ndarray,
    places: np.ndarray,
    shortest: bool,
    to_words: np.ndarray,
    to_suffixes: np.ndarray,
    to_counts: np.ndarray,
    children: np.ndarray,
    lost: np.ndarray,
) -> tuple[int, int, int]:
    """Write the n-grams of one order by context, from `first` on; return their number, and those of contexts.

    keys: sorted, equal for n-grams of one context. nodes: the n-gram of each key, by last word in each context.
    parents: of each n-gram, by node, the one without its first word; shortest: these are words. N-grams with raw counts
    up to `limit` are dropped, and contexts with raw counts up to `context_limit`; lost gets the sum of the counts
    dropped in each context. ranks: of all contexts, by node. places: of kept n-grams, by node, shorter ones included;
    -1 for others.
    children: n-grams of context i are children[i] .. children[i + 1] - 1. The last result counts all contexts.
    """
    at = first
    kept = 0
    rank = 0
    begin = 0
    while begin < len(keys):
        end = begin
        total = 0
        while end < len(keys) and keys[end] == keys[begin]:
            if end + 2 * AHEAD < len(keys):
                far = nodes[end + 2 * AHEAD]
                prefetch(parents, far)
                prefetch(raw, far)
                prefetch(ranks, far)
                prefetch(words, far)
                near = nodes[end + AHEAD]
                prefetch(counts, near)
                prefetch(places, near)
                if not shortest:
                    prefetch(places, int(parents[near]))
            total += raw[nodes[end]]
            ranks[nodes[end]] = rank
            end += 1
        dropped = 0
        children[kept] = at
        for i in range(begin, end):
            node = nodes[i]
            if raw[node] > limit:
                to_words[at] = words[node]
                to_suffixes[at] = parents[node] if shortest else places[parents[node]]
                to_counts[at] = counts[node]
                places[node] = at
                at += 1
            else:
                dropped += counts[node]
                places[node] = -1
        if total > context_limit:
            lost[kept] = dropped
            kept += 1
        rank += 1
        begin = end
    children[kept] = at
    return at - first, kept, rank


@kernel
def scatter(
    contexts: np.ndarray,
    first: int,
    sizes: np.ndarray,
    backoffs: np.ndarray,
    to_sizes: np.ndarray,
    to_backoffs: np.ndarray,
) -> None:
    """Copy the sizes and backoffs of a part's contexts to their places in a segment, which begins at `first`."""
    for i in range(len(contexts)):
        to_sizes[contexts[i] - first] = sizes[i]
        to_backoffs[contexts[i] - first] = backoffs[i]


@kernel
def place(
    contexts: np.ndarray,
    sizes: np.ndarray,
    children: np.ndarray,
    first_context: int,
    words: np.ndarray,
    suffixes: np.ndarray,
    log_probs: np.ndarray,
    to_words: np.ndarray,
    to_suffixes: np.ndarray,
    to_log_probs: np.ndarray,
    ids: np.ndarray,
) -> None:
    """Copy the n-grams of a part's contexts to their places in a segment of a model.

    contexts: their ids. children: of the segment's contexts, from `first_context` on; the segment's first n-gram is
    children[0]. ids: gets the id of each n-gram, if it is not empty.
    """
    i = 0
    for which in range(len(contexts)):
        at = children[contexts[which] - first_context]
        for _ in range(sizes[which]):
            slot = at - children[0]
            to_words[slot] = words[i]
            to_suffixes[slot] = suffixes[i]
            to_log_probs[slot] = log_probs[i]
            if len(ids):
                ids[i] = at
            at += 1
            i += 1


@kernel
def send(
    words: np.ndarray,
    children: np.ndarray,
    last_words: np.ndarray,
    eos_id: int,
    first: np.ndarray,
    slices: np.ndarray,
    places: np.ndarray,
    contexts: np.ndarray,
) -> None:
    """Append the ids of a segment's n-grams to the contexts of the parts that continue them.

    words, children: as for `place`. last_words: of the segment's contexts. places: where each part's next id goes.
    """
    for which in range(len(last_words)):
        for ngram in range(children[which], children[which + 1]):
            word = words[ngram - children[0]]
            if word != eos_id:
                part = part_of(int(word), last_words[which], first, slices)
                contexts[places[part]] = ngram
                places[part] += 1
