"""Perplexities by `lmkit train` and `lmkit eval`, against those of lmplz and query on the same texts."""

from pathlib import Path

import pytest

import lmkit
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text


def figures(train: Path, test: Path, out: Path, **options):
    model = lmkit.train(train, model="ngram", tokenizer="word", store_text=False, out=out, **options)
    return model, model.score_text(Text([str(test)], DataOptions()))


WIKITEXT = [
    (2, "0", [33280, 619592], 263.959745),
    (2, "0 1", [33280, 205744], 284.898906),
    (3, "0", [33280, 619592, 1398959], 226.050991),
    (3, "0 0 1", [33280, 619592, 201431], 230.311339),
    (5, "0", [33280, 619592, 1398959, 1794725, 1914265], 220.138518),
    (5, "0 0 1", [33280, 619592, 201431, 108311, 52179], 225.683289),
    (12, "0", None, 219.829625),
]


@pytest.mark.parametrize(("order", "prune", "sizes", "perplexity"), WIKITEXT)
def test_wikitext(shared, tmp_path, order, prune, sizes, perplexity):
    """The n-grams of each order, and the test perplexity to six digits."""
    folder = shared / "data" / "wikitext-2"
    model, score = figures(
        folder / "train.txt", folder / "test.txt", tmp_path / "run", order=order, prune=prune
    )
    found = model.causal.table.sizes()
    assert found == (sizes or [*found[:-1], 1850320])
    assert score.tokens == 245_569
    assert score.oov_tokens == 0
    assert format(score.perplexity, ".6g") == format(perplexity, ".6g")


SMALL = [
    ("ts", 3, "0", 504.023778, 249.681992),
    ("ts", 5, "0", 502.959318, 249.207217),
    ("ts", 3, "0 0 1", 507.806972, 252.496771),
    ("zh300", 4, "0", 290.391289, 122.175456),
]


@pytest.mark.parametrize(("name", "order", "prune", "including", "excluding"), SMALL)
def test_texts_with_unknown_words(shared, tmp_path, name, order, prune, including, excluding):
    """Perplexity with and without the unknown words' own terms; zh300 has no discounts and falls back."""
    folder = shared / "reference" / "kenlm"
    train = folder / ("zh300.txt" if name == "zh300" else "ts.train.txt")
    _, score = figures(train, folder / f"{name}.test.txt", tmp_path / "run", order=order, prune=prune)
    assert format(score.perplexity, ".6g") == format(including, ".6g")
    assert format(score.perplexity_excluding_oov, ".6g") == format(excluding, ".6g")
