"""Quantized models: few bytes, distributions that sum to one, nearly the same scores, and damaged files refused."""

import logging
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lmkit_ngram import quantize
from lmkit_ngram.arpa_options import ArpaOptions
from lmkit_ngram.arpa_read import read_arpa
from lmkit_ngram.arpa_write import write_arpa
from lmkit_ngram.estimate import fit_model
from lmkit_ngram.model import NgramModel
from lmkit_ngram.options import NgramOptions
from lmkit_ngram.quantize import LEVELS, WIDEST, pack, packed_layout, unpack
from lmkit_ngram.table import ARRAYS, NgramTable

import lmkit
from lmkit import runs
from lmkit.api import Model
from lmkit.contracts import FitContext, Vocabulary
from lmkit.corpus.store import TokenStore
from lmkit.errors import ModelError, UsageError
from lmkit.notes import NOTE

brute = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("brute.py"))))

Fit = Callable[..., NgramModel]
SIZE = 8
ROUNDED = 3e-6
"""What rounding may change in a probability: it is a product of up to four numbers whose log10, at most 4 in size,
are float32: 4 * (4 * 2**-24) * ln 10 = 2.2e-6."""
METHODS: list[dict[str, Any]] = [
    {"smoothing": "modified-kneser-ney"},
    {"smoothing": "modified-kneser-ney", "prune": "0 0 1"},
    {"smoothing": "modified-kneser-ney", "entropy_prune": 1e-3},
    {"smoothing": "kneser-ney", "interpolate": False},
    {"smoothing": "witten-bell"},
    {"smoothing": "add-k", "k": 0.1},
    {"smoothing": "mle"},
]


def zipf(number: int, words: int) -> list[list[int]]:
    """Lines of words with the frequencies of a text; the id 1, the unknown, and the last one never occur."""
    rng = np.random.default_rng(0)
    return [(rng.zipf(1.3, rng.integers(0, 9)) % (words - 3) + 2).tolist() for _ in range(number)]


@pytest.fixture(autouse=True)
def silent(caplog: pytest.LogCaptureFixture) -> None:
    """Small texts give no discounts, with a warning each time."""
    caplog.set_level(logging.ERROR)


def load(folder: Path, size: int = SIZE) -> NgramModel:
    return NgramModel.load(folder, None, Vocabulary(size, 0, 1, "small"))  # pyright: ignore[reportArgumentType]


def assert_same(table: NgramTable, wanted: NgramTable, names: tuple[str, ...] = ARRAYS) -> None:
    for name in names:
        found = getattr(table, name)
        assert found.dtype == getattr(wanted, name).dtype
        np.testing.assert_array_equal(found, getattr(wanted, name), name)


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("options", METHODS, ids=str)
def test_distributions_sum_to_one(fit: Fit, options: dict[str, Any], order: int) -> None:
    """After every context that a text can have, seen or not, and with the same zeros as without quantization."""
    if order < 3 and "prune" in options:
        options = options | {"prune": "0"}
    wanted = brute.Walk(fit(zipf(60, SIZE), SIZE, order=order, **options).table)
    model = brute.Walk(fit(zipf(60, SIZE), SIZE, order=order, quantize=True, **options).table)
    for context in model.all_contexts():
        probs = [model.prob(context, word) for word in range(SIZE)]
        assert sum(probs) == pytest.approx(1, abs=ROUNDED)
        assert [p == 0 for p in probs] == [wanted.prob(context, word) == 0 for word in range(SIZE)]


def test_probabilities_are_near_and_links_the_same(fit: Fit) -> None:
    """The links follow from the words; a logarithm moves by half a step, and less than that to sum to one."""
    table = fit(zipf(3000, 60), 60, order=4).table
    packed = pack(table)
    restored = unpack(packed)
    assert_same(restored, table, ("words", "suffixes", "children"))
    np.testing.assert_allclose(restored.log_probs[:61], table.log_probs[:61], atol=1e-6)
    for order in (2, 3, 4):
        (step, _), (odds_step, _) = np.diff(packed.levels(order)[:, 1:3], axis=1).repeat(2, 1)
        first, last = table.offsets[order - 1 : order + 1]
        moved = np.abs(restored.log_probs[first:last] - table.log_probs[first:last]).max()
        assert 0 < moved <= step + odds_step / 2 + 1e-6


def test_perplexity_stays(fit: Fit) -> None:
    """The perplexity of other lines changes by less than a thousandth."""
    lines = zipf(4000, 200)
    exact, model = (fit(lines[:3000], 200, order=4, quantize=quantized) for quantized in (False, True))
    ids = np.array([word for line in lines[3000:] for word in (*line, 0)], np.int32)
    losses = [-found.line_log_probs(ids).mean() for found in (exact, model)]
    assert abs(losses[1] - losses[0]) < 1e-3


@pytest.mark.parametrize(("size", "dtype"), [(256, np.uint8), (257, np.uint16), (70_000, np.uint32)])
def test_words_take_the_bytes_that_the_vocabulary_needs(fit: Fit, size: int, dtype: type) -> None:
    """One, two or four bytes for a word; with the rest at most 4, 5 or 7 bytes for an n-gram of two and more words."""
    stored = fit(zipf(500, size), size, order=3, quantize=True, store_text=False).stored
    packed = stored.packed
    assert packed is not None
    assert packed.words.dtype == dtype
    longer = stored.table.total - stored.table.offsets[1]
    arrays = (packed.words, packed.codes, packed.odds[size + 1 :], packed.followers)
    assert sum(array.nbytes for array in arrays) - size / 8 <= (packed.words.itemsize + 3) * longer


@pytest.mark.parametrize("order", [1, 3])
def test_saved_and_loaded_it_is_the_same(tmp_path: Path, fit: Fit, order: int) -> None:
    """The model in memory after training is the one in the files, and so is the one that a loaded model saves."""
    model = fit(zipf(40, SIZE), SIZE, order=order, quantize=True)
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    model.save(first)
    again = load(first)
    assert_same(again.table, model.table)
    assert again.count([2]) == model.count([2])
    again.save(second)
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert [(first / name).read_bytes() for name in files] == [(second / name).read_bytes() for name in files]
    assert {name.stem for name in files} == {
        "ngram",
        *packed_layout(model.table.offsets),
        "text",
        "positions",
    }
    again.save(first)  # over the files that it is read from
    assert_same(load(first).table, model.table)


def test_segments_and_threads_change_nothing(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large tables are processed piece by piece, side by side."""
    table = fit(zipf(300, SIZE), SIZE, order=4).table
    packed = pack(table)
    wanted = unpack(packed)
    monkeypatch.setattr(quantize, "SEGMENT", 12)
    again = pack(table)
    for name in packed_layout(table.offsets):
        np.testing.assert_array_equal(getattr(again, name), getattr(packed, name), name)
    assert_same(unpack(packed, threads=3), wanted)


def test_models_from_parts(tmp_path: Path, fit: Fit) -> None:
    """A model that is built and quantized in files on disk is the one that is built in memory."""
    lines = zipf(300, 30)
    vocabulary = Vocabulary(30, 0, 1, "small")
    corpus = TokenStore.from_lines([np.array([*line, 0], np.int32) for line in lines], vocabulary)
    context = FitContext(0, lambda items, **_: items, tmp_path)
    stored = fit_model(corpus, vocabulary, NgramOptions(order=3, memory="64G", quantize=True), context)
    assert isinstance(stored.table.words.base, np.memmap)
    assert_same(stored.table, fit(lines, 30, order=3, quantize=True).table)


def test_scores_are_no_probabilities() -> None:
    """Stupid backoff has nothing that sums to one."""
    with pytest.raises(UsageError, match="--quantize needs probabilities"):
        NgramModel.check_options(NgramOptions(smoothing="stupid-backoff", quantize=True))


def test_outliers_leave_levels_to_the_others(fit: Fit) -> None:
    """A file's log10 p of -99 counts as 12 below the highest, or other values would have few levels; zero is zero."""
    table = fit(zipf(60, SIZE), SIZE, order=2).table
    table.log_probs[-2:] = -99, -np.inf
    packed = pack(table)
    low, high = packed.levels(2)[0, [1, LEVELS - 1]]
    assert high - low == pytest.approx(WIDEST)
    assert packed.codes[-2:].tolist() == [1, 0]
    assert unpack(packed).log_probs[-1] == -np.inf


@pytest.fixture
def saved(fit: Fit, tmp_path: Path) -> Path:
    """The files of a small quantized model of order 3."""
    fit(zipf(40, SIZE), SIZE, order=3, quantize=True).save(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", packed_layout(np.array([0, 9, 20, 30])))
def test_damaged_arrays_are_refused(saved: Path, name: str) -> None:
    """A file that is missing, cut or of another type is an error that names it."""
    path = saved / "ngram" / f"{name}.npy"
    good, array = path.read_bytes(), np.load(path)
    for bad in (b"", good[:-1], good + b"\0"):
        path.write_bytes(bad)
        with pytest.raises(ModelError, match=name):
            load(saved)
    for bad in (array.astype(np.int64), array[:-1]):
        np.save(path, bad)
        with pytest.raises(ModelError, match=name):
            load(saved)
    path.unlink()
    with pytest.raises(ModelError, match=name):
        load(saved)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("unigrams", np.nan, "not from 0 to 1"),
        ("unigrams", 0.5, "not from 0 to 1"),
        ("ranges", np.nan, "not from -40"),
        ("ranges", -np.inf, "not from -40"),
        ("words", SIZE, "out of order"),
        ("words", 255, "out of order"),
        ("followers", 0, "add up"),
        ("followers", 255, "add up"),
    ],
)
def test_impossible_values_are_refused(saved: Path, name: str, value: float, reason: str) -> None:
    """Values are checked while a model is loaded, before any query follows them."""
    path = saved / "ngram" / f"{name}.npy"
    array = np.load(path)
    array[1] = value
    np.save(path, array)
    with pytest.raises(ModelError, match=reason) as caught:
        load(saved)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_random_damage(saved: Path) -> None:
    """Changed bytes are refused, or give another model, which answers and whose distributions still sum to one."""
    rng = np.random.default_rng(0)
    names = ["words", "codes", "odds", "followers"]
    good = {name: np.load(saved / "ngram" / f"{name}.npy") for name in names}
    loaded = 0
    for _ in range(150):
        for name in names:
            array = good[name].copy()
            if rng.random() < 0.4:
                places = rng.integers(len(array), size=2)
                array[places] = rng.integers(SIZE if name == "words" else 256, size=2)
            np.save(saved / "ngram" / f"{name}.npy", array)
        try:
            model = load(saved)
        except ModelError:
            continue
        loaded += 1
        rows = model.next_log_probs(torch.arange(-1, model.table.contexts)).double().exp()
        torch.testing.assert_close(rows.sum(1), torch.ones(len(rows)).double(), atol=1e-6, rtol=0)
    assert 10 < loaded < 150


TEXT = "the cat sat\nthe dog sat\na cat ran\nthe cat ran\nthe dog ran\na dog sat here\n" * 3


def trained(tmp_path: Path, **options: Any) -> Model:
    (tmp_path / "text.txt").write_text(TEXT)
    return lmkit.train(
        tmp_path / "text.txt", model="ngram", tokenizer="word", out=tmp_path / "run", order=3, threads=1, **options
    )  # fmt: skip


def test_arpa_files_have_the_scores(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Export writes the quantized probabilities and says so, in the file too; import gives the same scores."""
    caplog.set_level(NOTE, logger="lmkit_ngram")
    model = trained(tmp_path, quantize=True)
    file, again = tmp_path / "q.arpa", tmp_path / "again"
    write_arpa(model.run, file)
    assert "the model is quantized" in caplog.text
    assert b'"quantized": true' in file.read_bytes().splitlines()[0]
    read_arpa(file, again, max_expansion=100, options=ArpaOptions())
    assert "those of a quantized model" in caplog.text
    lines = TEXT.splitlines()
    np.testing.assert_allclose(lmkit.load(again).line_scores(lines), model.line_scores(lines), atol=1e-4)


def test_imported_files_are_quantized_on_request(tmp_path: Path) -> None:
    """`import arpa --quantize` gives what training with `--quantize` gives, up to the digits of the file."""
    model = trained(tmp_path)
    exact = model.run.model
    assert isinstance(exact, NgramModel)
    file, out = tmp_path / "exact.arpa", tmp_path / "imported"
    write_arpa(model.run, file)
    read_arpa(file, out, max_expansion=100, options=ArpaOptions(quantize=True))
    run = runs.load_run(out)
    assert isinstance(run.model, NgramModel)
    assert run.model.options.quantize
    wanted = unpack(pack(exact.table)).log_probs
    np.testing.assert_allclose(run.model.table.log_probs[:-1], wanted[:-1], atol=0.02)
    rows = run.model.next_log_probs(torch.arange(-1, run.model.table.contexts)).double().exp().sum(1)
    torch.testing.assert_close(rows, torch.ones_like(rows), atol=1e-6, rtol=0)


def test_files_without_probabilities_or_suffixes_are_refused(tmp_path: Path) -> None:
    """Sums of one need probabilities, and an n-gram after every context that is one word shorter."""
    lacking = (
        "\\data\\\nngram 1=4\nngram 2=1\nngram 3=1\n\n\\1-grams:\n-0.5\t<unk>\n0\t<s>\t0.044\n-0.5\t</s>\n"
        "-0.43473\ta\n\n\\2-grams:\n-0.5229\t<s> a\t-0.1032\n\n\\3-grams:\n-0.3\t<s> a a\n\n\\end\\\n"
    )
    for text, reason in ((lacking, "lacks the one"), (lacking.replace("-0.5", "-0.1"), "not probabilities")):
        (tmp_path / "m.arpa").write_text(text)
        with pytest.raises(ModelError, match=reason):
            read_arpa(
                tmp_path / "m.arpa", tmp_path / "out", max_expansion=100, options=ArpaOptions(quantize=True)
            )
        assert not (tmp_path / "out").exists()
