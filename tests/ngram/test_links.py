"""A table of very many n-grams has 64-bit links: its scores, files and parts are those of 32-bit links."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lmkit_ngram import scorer, table
from lmkit_ngram.arpa_options import ArpaOptions
from lmkit_ngram.arpa_read import read_arpa
from lmkit_ngram.arpa_write import write_arpa
from lmkit_ngram.model import NgramModel
from lmkit_ngram.table import ARRAYS, link_type

import lmkit
from lmkit.contracts import Vocabulary
from lmkit.errors import ModelError
from lmkit.runs import load_run
from lmkit.specs import MOST_IDS

Fit = Callable[..., NgramModel]

SIZE = 12


@contextmanager
def long_links() -> Iterator[None]:
    """Tables are built as if they had more n-grams than 32 bits can number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "MOST_IDS", 0)
        yield


@pytest.fixture(autouse=True)
def silent(caplog: pytest.LogCaptureFixture) -> None:
    """Small texts give no discounts, with a warning each time."""
    caplog.set_level(logging.ERROR)


def text(seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [(rng.zipf(1.4, rng.integers(0, 9)) % (SIZE - 1) + 1).tolist() for _ in range(150)]


def both(fit: Fit, **options: Any) -> tuple[NgramModel, NgramModel]:
    """The model with links of 32 and of 64 bits."""
    short = fit(text(), SIZE, **options)
    with long_links():
        long = fit(text(), SIZE, **options)
    assert short.table.link is np.int32
    assert long.table.link is np.int64
    return short, long


def assert_equal(short: NgramModel, long: NgramModel) -> None:
    """The same arrays, and bit by bit the same answers to every query."""
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(short.table, name), getattr(long.table, name), name)
    ids = np.array([word for line in text(1) for word in [*line, 0]], np.int32)
    states = short.initial_state(1)
    rows = torch.from_numpy(ids[None])
    for one, other in zip(short.log_probs(rows, states), long.log_probs(rows, states), strict=True):
        assert torch.equal(one, other)
    every = torch.arange(-1, short.table.contexts)
    if states.ndim == 2:
        every = torch.stack([every, torch.zeros_like(every)], 1)
    assert torch.equal(short.next_log_probs(every), long.next_log_probs(every))
    for one, other in zip(short.top_k(every, 5), long.top_k(every, 5), strict=True):
        assert torch.equal(one, other)
    for words in ids[:6], ids:  # by a walk, then by the hash table
        np.testing.assert_array_equal(short.line_log_probs(words), long.line_log_probs(words))
    assert short._scorer.table_built
    assert long._scorer.table_built


@pytest.mark.parametrize("prune", ["0", "0 0 1"])
@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize(
    "smoothing", ["modified-kneser-ney", "kneser-ney", "witten-bell", "add-k", "stupid-backoff", "mle"]
)
def test_scores_are_those_of_short_links(fit: Fit, smoothing: str, order: int, prune: str) -> None:
    """Every method and every query."""
    assert_equal(*both(fit, smoothing=smoothing, order=order, prune=" ".join(prune.split()[:order])))


def test_pruning_by_entropy(fit: Fit) -> None:
    """The smaller table has links of the type that its size needs."""
    short, long = both(fit, order=4, entropy_prune=1e-3)
    assert short.table.total < fit(text(), SIZE, order=4).table.total
    assert_equal(short, long)


@pytest.mark.parametrize("order", [2, 5])
def test_parts(fit: Fit, tmp_path: Path, order: int) -> None:
    """A model from parts too."""
    assert_equal(*both(fit, order=order, memory="64G", scratch=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_files(fit: Fit, tmp_path: Path) -> None:
    """The format says which links a file has; the reader takes both."""
    for model, number in zip(both(fit, order=3), (1, 2), strict=True):
        folder = tmp_path / str(number)
        folder.mkdir()
        model.save(folder)
        assert json.loads((folder / "ngram.json").read_text())["format"] == number
        again = NgramModel.load(folder, model.options, model.vocabulary)
        assert again.table.link is model.table.link
        assert_equal(model, again)


@pytest.mark.parametrize("number", [1, 2])
def test_a_format_that_does_not_fit_the_arrays_is_refused(fit: Fit, tmp_path: Path, number: int) -> None:
    """Links are never read as numbers of the other size."""
    both(fit, order=3)[2 - number].save(tmp_path)
    path = tmp_path / "ngram.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": number}))
    with pytest.raises(ModelError, match=r"suffixes\.npy: it holds '<i[48]' of shape .* not '<i[48]'"):
        NgramModel.load(tmp_path, None, Vocabulary(SIZE, 0, 1, "small"))  # pyright: ignore[reportArgumentType]


def test_damaged_links_are_found(fit: Fit) -> None:
    """A long link outside the table is an error, as a short one is."""
    model = both(fit, order=3)[1]
    model.table.children[2] = 2**40
    with pytest.raises(ModelError, match="a link leads outside"):
        model.next_log_probs(torch.tensor([1, 2]))


def test_arpa_files(tmp_path: Path) -> None:
    """Written and read with both."""
    lines = [" ".join("abcdefghijkl"[word] for word in line) for line in text()]
    (tmp_path / "text.txt").write_text("\n".join(lines) + "\n")
    files = []
    for name in ("short", "long"):
        with long_links() if name == "long" else pytest.MonkeyPatch.context():
            lmkit.train(tmp_path / "text.txt", model="ngram", order=3, tokenizer="word", out=tmp_path / name)
            path = tmp_path / f"{name}.arpa"
            write_arpa(load_run(tmp_path / name), path, overwrite=False)
            read_arpa(path, tmp_path / f"{name}-again", max_expansion=200, options=ArpaOptions())
            files.append(path.read_bytes())
    assert files[0] == files[1]
    models: list[Any] = [load_run(tmp_path / f"{name}-again").model for name in ("short", "long")]
    assert [model.table.link for model in models] == [np.int32, np.int64]
    for name in ARRAYS:
        np.testing.assert_array_equal(*(getattr(model.table, name) for model in models))


def test_links_are_as_long_as_the_number_of_ngrams_needs(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest id is one less than the number, and borders are up to the number itself."""
    assert link_type(MOST_IDS) is np.int32
    assert link_type(MOST_IDS + 1) is np.int64
    model = fit(text(), SIZE, order=3)
    monkeypatch.setattr(scorer, "MOST_IDS", model.table.total - 1)
    ids = np.array([word for line in text(1) for word in [*line, 0]] * 9, np.int32)
    walked = model.line_log_probs(ids)
    assert not model._scorer.table_built
    monkeypatch.undo()
    np.testing.assert_allclose(model.line_log_probs(ids), walked, rtol=1e-5)
    assert model._scorer.table_built
