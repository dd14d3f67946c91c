"""Choose the parts of a text: n-grams are split by the last word of their context, frequent words once more."""

from dataclasses import dataclass

import numpy as np

BALANCE = 2
"""Slices of a frequent word, relative to the average number that would suffice: their sizes differ."""


@dataclass(frozen=True)
class Part:
    """One part: n-grams whose contexts end in some words.

    The contexts of a frequent word are divided into slices by the word before it. Its bigrams belong to all slices,
    and so to a part without longer n-grams, the head; so do those of `<s>`, before which there is no word.

    word: of a head. head: the part with the bigrams of a slice's word.
    """

    number: int
    word: int | None = None
    head: int | None = None


@dataclass(frozen=True)
class Plan:
    """The parts, heads before their slices, and how to find the part of a context.

    most: windows of a part, about.
    first, slices: (words + 1,) int32, of a context's last word: its part, or the first of its slices, and their
    number. With several, the word before decides (`part_kernels.part_of`).
    """

    most: int
    parts: list[Part]
    first: np.ndarray
    slices: np.ndarray


def make_plan(counts: np.ndarray, order: int, most: int) -> Plan:
    """Parts of about `most` windows each. counts: (words,) how often each word is a context, by id; 0 for `</s>`."""
    start = len(counts)
    first, slices = np.zeros(start + 1, np.int32), np.ones(start + 1, np.int32)
    parts = [Part(0, word=start)]
    taken = most  # the first word begins a part
    current = 0
    for word in np.flatnonzero(counts).tolist():
        count = int(counts[word])
        if count > most and order > 2:
            head = len(parts)
            slices[word] = -(-BALANCE * count // most)
            first[word] = head + 1
            parts.append(Part(head, word=word))
            parts += [Part(head + 1 + which, head=head) for which in range(int(slices[word]))]
            continue
        if taken + count > most:
            current = len(parts)
            parts.append(Part(current))
            taken = 0
        first[word] = current
        taken += count
    return Plan(most, parts, first, slices)
