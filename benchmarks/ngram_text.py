"""Generate a large text for counting: sampled from an order-3 model, with new word types as in real text.

python benchmarks/ngram_text.py ../shared/data/en_novels/train.txt large.txt --words 48e6 --growth
"""

import argparse
import tempfile
from pathlib import Path

import numba
import numpy as np
from lmkit_ngram.count import count_ngrams
from lmkit_ngram.table import NgramTable

import lmkit
from lmkit.api import Model

BLOCK = 1 << 22
"""Tokens sampled before they are written."""
ORDER = 5
"""The longest n-grams whose growth is shown."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="the text that the order-3 model is made from")
    parser.add_argument("out", type=Path)
    parser.add_argument("--words", type=float, default=48e6)
    parser.add_argument("--fresh", type=float, default=0.005, help="share of words that are new types")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--growth", action="store_true", help="count the n-grams of both texts at equal sizes"
    )
    settings = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        model = lmkit.load(
            lmkit.train(
                settings.source,
                model="ngram",
                tokenizer="word",
                order=3,
                store_text=False,
                out=f"{folder}/run",
            ).run.directory
        )
        write(model, settings.out, int(settings.words), settings.fresh, settings.seed)
        if settings.growth:
            show_growth(model, settings.source, settings.out)


def write(model: Model, out: Path, num_words: int, fresh: float, seed: int) -> None:
    """Sample lines until there are this many words."""
    table: NgramTable = model.causal.table  # pyright: ignore[reportAttributeAccessIssue]
    eos, unknown = model.tokenizer.vocabulary.eos_id, model.tokenizer.vocabulary.unk_id
    spelled = model.tokenizer.symbols()
    cumulated = cumulate(table.children, table.log_probs, table.vocab_size)
    rng = np.random.default_rng(seed)
    written = types = 0
    coined: list[int] = []
    with out.open("wb") as file:
        while written < num_words:
            tokens = np.empty(min(BLOCK, num_words - written), np.int64)
            sample(
                table.words, table.suffixes, table.children, cumulated, table.vocab_size, eos, unknown,
                int(rng.integers(2**31)), tokens,
            )  # fmt: skip
            written += int((tokens != eos).sum())
            words = [spelled[token] if token != eos else b"\n" for token in tokens.tolist()]
            for place in np.flatnonzero((rng.random(len(tokens)) < 2 * fresh) & (tokens != eos)).tolist():
                # A new type, or an earlier one in proportion to its frequency (Simon, 1955).
                if rng.random() < 0.5 or not coined:
                    coined.append(types)
                    types += 1
                else:
                    coined.append(coined[int(rng.integers(len(coined)))])
                words[place] = b"type%d" % coined[-1]
            file.write(b" ".join(words).replace(b" \n ", b"\n").replace(b"\n ", b"\n") + b"\n")
    print(f"{out}: {written:,} words, including {types:,} new types, seed {seed}")


@numba.njit
def cumulate(children: np.ndarray, log_probs: np.ndarray, start: int) -> np.ndarray:
    """(n-grams,) the sum of the probabilities of an n-gram and its earlier siblings; 0 for `<s>`."""
    sums = np.zeros(len(log_probs))
    total = 0.0
    for word in range(start):
        total += 10.0 ** log_probs[word]
        sums[word] = total
    for parent in range(len(children) - 1):
        total = 0.0
        for child in range(children[parent], children[parent + 1]):
            total += 10.0 ** log_probs[child]
            sums[child] = total
    return sums


@numba.njit
def sample(
    words: np.ndarray,
    suffixes: np.ndarray,
    children: np.ndarray,
    cumulated: np.ndarray,
    start: int,
    eos: int,
    unknown: int,
    seed: int,
    tokens: np.ndarray,
) -> None:
    """Draw tokens: from the longest context, or with its remaining mass from other words of shorter ones."""
    np.random.seed(seed)
    state = start
    for i in range(len(tokens)):
        context = state
        while True:
            if context < 0:
                first, last = 0, start
                draw = np.random.random() * cumulated[start - 1]
            else:
                first, last = children[context], children[context + 1]
                draw = np.random.random()
            if first == last or draw >= cumulated[last - 1]:
                context = suffixes[context]
                continue
            found = first + np.searchsorted(cumulated[first:last], draw, side="right")
            token = words[found]
            # A word of a longer context does not belong to its remaining mass: draw again.
            anew = context if token == unknown else -2
            longer = state
            while longer != context:
                if _child(words, children, longer, token) >= 0:
                    anew = suffixes[longer]
                longer = suffixes[longer]
            if anew == -2:
                break
            context = anew
        tokens[i] = token
        state = start if token == eos else found
        while state >= len(children) - 1:
            state = suffixes[state]


@numba.njit
def _child(words: np.ndarray, children: np.ndarray, parent: int, word: int) -> int:
    first, last = children[parent], children[parent + 1]
    place = first + np.searchsorted(words[first:last], word)
    return place if place < last and words[place] == word else -1


def show_growth(model: Model, source: Path, sampled: Path) -> None:
    """Print how many n-grams of each order the first words of both texts have."""
    lines = len(source.read_bytes().split(b"\n"))
    print(f"\n| lines | text | {' | '.join(f'{k}-grams' for k in range(1, ORDER + 1))} |")
    print("|---" * (ORDER + 2) + "|")
    for share in (8, 4, 2, 1):
        for path in (source, sampled):
            tokens, number, size = ids_of(path, lines // share)
            sizes = count_ngrams(tokens, number, size, 0, ORDER, continuation=True).table.sizes()
            print(f"| {number:,} | {path.stem} | {' | '.join(f'{n:,}' for n in sizes)} |")


def ids_of(path: Path, num_lines: int) -> tuple[np.ndarray, int, int]:
    """The first lines of a text as ids by first occurrence, 0 for `</s>`; their number; the number of different ids."""
    ids: dict[bytes, int] = {}
    tokens: list[int] = []
    with path.open("rb") as file:
        number = 0
        for line in file:
            if number == num_lines:
                break
            number += 1
            tokens += [ids.setdefault(word, len(ids) + 1) for word in line.split()]
            tokens.append(0)
    return np.array(tokens, np.int32), number, len(ids) + 1


if __name__ == "__main__":
    main()
