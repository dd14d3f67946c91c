"""Smoothing by its definitions, in plain Python over small texts; and what a table says, by walking it."""

import math
from collections import Counter, defaultdict
from functools import cache
from typing import Any

Gram = tuple[int, ...]
EOS = 0
"""The id of `</s>`; the unknown, which never occurs unless a text says so, is just another word."""


def raw_counts(lines: list[list[int]], start: int, order: int) -> Counter[Gram]:
    """How often each n-gram occurs; `<s>` itself is never predicted."""
    counts: Counter[Gram] = Counter()
    for line in lines:
        words = (start, *line, EOS)
        for i in range(len(words)):
            counts.update(words[i:j] for j in range(i + 1, min(i + order, len(words)) + 1))
    del counts[(start,)]
    return counts


def adjusted_counts(lines: list[list[int]], start: int, order: int) -> dict[Gram, int]:
    """Distinct words before an n-gram; raw for the longest ones and for those that begin with `<s>`."""
    before: dict[Gram, set[int]] = defaultdict(set)
    for gram in raw_counts(lines, start, order + 1):
        before[gram[1:]].add(gram[0])
    return {
        gram: count if len(gram) == order or gram[0] == start else len(before[gram])
        for gram, count in raw_counts(lines, start, order).items()
    }


class Definition:
    """prob(context, word) of a smoothing method, as its paper has it."""

    def __init__(
        self, lines: list[list[int]], vocab_size: int, options: Any, limits: tuple[int, ...], fallback: Any
    ) -> None:
        self.options, self.vocab_size, self.start = options, vocab_size, vocab_size
        self.prob = cache(self._prob)
        self.kneser_ney = "kneser-ney" in options.smoothing
        raw = raw_counts(lines, self.start, options.order)
        counts = adjusted_counts(lines, self.start, options.order) if self.kneser_ney else raw
        self.counts: dict[Gram, dict[int, int]] = defaultdict(dict)
        """For each context, what follows it."""
        self.kept: dict[Gram, dict[int, int]] = defaultdict(dict)
        for gram, count in counts.items():
            self.counts[gram[:-1]][gram[-1]] = count
            if raw[gram] > limits[len(gram) - 1]:
                self.kept[gram[:-1]][gram[-1]] = count
        self.discounts = [
            self._discounts(Counter(a for g, a in counts.items() if len(g) == n), fallback)
            for n in range(1, options.order + 1)
        ]

    def _discounts(self, n: Counter[int], fallback: Any) -> list[float]:
        try:
            y = n[1] / (n[1] + 2 * n[2])
            if self.options.smoothing == "kneser-ney":
                return [0, y, y, y] if n[1] and n[2] else [0, *fallback]
            found = [0, *(j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3))]
        except ZeroDivisionError:
            return [0, *fallback]
        return found if all(0 <= found[j] <= j for j in (1, 2, 3)) else [0, *fallback]

    def _prob(self, context: Gram, word: int) -> float:
        smoothing = self.options.smoothing
        if smoothing == "add-k" and self.options.order > 1:
            whole = len(context) == self.options.order - 1 or context[:1] == (self.start,)
            if not whole or not self.kept[context]:
                return 1 / self.vocab_size
        elif context and not self.kept[context] and smoothing != "stupid-backoff":
            return self.prob(context[1:], word)
        followers, kept = self.counts[context], self.kept[context]
        total = sum(followers.values())
        lost = total - sum(kept.values())
        if smoothing == "stupid-backoff":
            if word in kept or not context:
                return kept.get(word, 0) / total
            return self.options.alpha * self.prob(context[1:], word)
        k = self.options.k if smoothing == "add-k" else 0
        witten_bell = len(kept) if smoothing == "witten-bell" else 0
        discounts = self.discounts[len(context)] if self.kneser_ney else [0] * 4
        mass = total + k * self.vocab_size + witten_bell
        own = {w: (c + k - discounts[min(c, 3)]) / mass for w, c in kept.items()}
        if not context and smoothing in ("add-k", "mle"):
            return (kept.get(word, 0) + k) / mass
        gamma = (lost + witten_bell + sum(discounts[min(c, 3)] for c in kept.values())) / mass
        if not context:
            return own.get(word, 0) + gamma / self.vocab_size
        if smoothing in ("modified-kneser-ney", "witten-bell") or (
            self.kneser_ney and self.options.interpolate
        ):
            return own.get(word, 0) + gamma * self.prob(context[1:], word)
        # What is left goes to the words that were not seen, as the shorter context has them.
        left = gamma + k * (self.vocab_size - len(kept)) / mass
        others = {w: self.prob(context[1:], w) for w in range(self.vocab_size) if w not in kept}
        if left and not sum(others.values()):
            return own[word] / (1 - left)
        return own[word] if word in kept else left * others[word] / sum(others.values()) if left else 0.0


def grams(table: Any) -> dict[Gram, int]:
    """The id of each n-gram by its words."""
    words: list[Gram] = [(word,) for word in range(table.vocab_size + 1)]
    for context in range(table.contexts):
        for child in range(table.children[context], table.children[context + 1]):
            assert child == len(words)
            words.append((*words[context], int(table.words[child])))
    assert len(words) == table.total
    ids = {gram: i for i, gram in enumerate(words)}
    for gram, i in ids.items():
        assert table.suffixes[i] == (ids[gram[1:]] if len(gram) > 1 else -1), gram
    return ids


class Walk:
    """prob(context, word) of a table: the n-gram's own, or else the backoff weights on the way to a shorter one."""

    def __init__(self, table: Any) -> None:
        self.vocab_size, self.start = table.vocab_size, table.vocab_size
        self.order = table.order
        self.ids = grams(table)
        self.log_probs = {gram: float(table.log_probs[i]) for gram, i in self.ids.items()}
        self.backoffs = {gram: float(table.backoffs[i]) for gram, i in self.ids.items() if i < table.contexts}
        self.contexts = [()] + [gram for gram in self.backoffs if gram[-1] != EOS]

    def prob(self, context: Gram, word: int) -> float:
        weight = 0.0
        while (*context, word) not in self.log_probs:
            weight += self.backoffs.get(context, 0.0)
            context = context[1:]
        return math.pow(10, weight + self.log_probs[(*context, word)])

    def all_contexts(self) -> list[Gram]:
        """Every context that a text can bring about, seen or not."""
        found: list[Gram] = [()]
        for gram in found:
            if len(gram) < self.order - 1:
                found += [(*gram, word) for word in range(EOS + 1, self.vocab_size)]
                found += [(self.start,)] if not gram else []
        return found
