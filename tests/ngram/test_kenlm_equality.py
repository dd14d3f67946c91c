"""Modified Kneser-Ney is KenLM's: every probability and every backoff weight that lmplz writes."""

import lzma
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from lmkit_ngram.count import Counted, count_ngrams
from lmkit_ngram.options import NgramOptions
from lmkit_ngram.smoothing import estimate

EOS, UNKNOWN = 0, 1
CLOSE = 2e-6
"""log10; the files print float32 numbers in full."""


def estimated(path: Path, order: int, prune: str) -> tuple[Counted, dict[str, int]]:
    """The model of a text file and the ids of its words."""
    ids = {"</s>": EOS, "<unk>": UNKNOWN}
    lines = path.read_bytes().decode().split("\n")[:-1]
    tokens = [ids.setdefault(word, len(ids)) for line in lines for word in [*line.split(" "), "</s>"] if word]
    counted = count_ngrams(
        np.array(tokens, np.int32), len(lines), len(ids), EOS, order, continuation=True, with_raw=prune != "0"
    )
    estimate(counted, NgramOptions(order=order, prune=prune))
    return counted, {**ids, "<s>": len(ids)}


def arpa(path: Path) -> Iterator[tuple[float, list[str], float]]:
    """log10 p, words and log10 backoff of each n-gram of an ARPA file."""
    with lzma.open(path, "rt", encoding="utf-8", newline="\n") as file:
        for line in file:
            parts = line.rstrip("\n").split("\t")
            if len(parts) > 1:
                yield float(parts[0]), parts[1].split(" "), float(parts[2]) if len(parts) > 2 else 0.0


@pytest.mark.parametrize(
    ("text", "reference", "order", "prune"),
    [
        ("ts.train.txt", "ts.o3.arpa.xz", 3, "0"),
        ("ts.train.txt", "ts.o5.arpa.xz", 5, "0"),
        ("ts.train.txt", "ts.o3.prune001.arpa.xz", 3, "0 0 1"),
        ("zh300.txt", "zh300.o4.fallback.arpa.xz", 4, "0"),
    ],
)
def test_every_number(shared: Path, text: str, reference: str, order: int, prune: str) -> None:
    """The same n-grams, with the same logarithms to the last digits that float32 has."""
    folder = shared / "reference" / "kenlm"
    counted, ids = estimated(folder / text, order, prune)
    table = counted.table
    children, words = table.children.tolist(), table.words.tolist()
    found = {
        (context, words[child]): child
        for context in range(table.contexts)
        for child in range(children[context], children[context + 1])
    }
    seen, log_probs, backoffs = [], [], []
    for log_prob, gram, backoff in arpa(folder / reference):
        at = ids[gram[0]]
        for word in gram[1:]:
            at = found[at, ids[word]]
        seen.append(at)
        log_probs.append(log_prob)
        backoffs.append(backoff)
    assert sorted(seen) == list(range(table.total))
    ours = np.concatenate([table.backoffs, np.zeros(table.total - table.contexts, np.float32)])
    np.testing.assert_allclose(table.log_probs[seen], log_probs, rtol=0, atol=CLOSE)
    np.testing.assert_allclose(ours[seen], backoffs, rtol=0, atol=CLOSE)
    assert math.isclose(table.log_probs[table.start], 0)


@pytest.mark.parametrize(
    ("order", "prune", "sizes"),
    [
        (2, "0 1", [33280, 205744]),
        (5, "0 0 1", [33280, 619592, 201431, 108311, 52179]),
    ],
)
def test_sizes_of_pruned_models(shared: Path, order: int, prune: str, sizes: list[int]) -> None:
    """lmplz --prune leaves as many n-grams of WikiText-2; what `<unk>` is there, an ordinary word."""
    text = (shared / "data" / "wikitext-2" / "train.txt").read_text(encoding="utf-8")
    ids = {"</s>": EOS, "": UNKNOWN}
    tokens = [
        ids.setdefault(word, len(ids)) for line in text.split("\n")[:-1] for word in [*line.split(), "</s>"]
    ]
    counted = count_ngrams(
        np.array(tokens, np.int32), text.count("\n"), len(ids), EOS, order, continuation=True, with_raw=True
    )
    estimate(counted, NgramOptions(order=order, prune=prune))
    assert counted.table.sizes() == sizes
