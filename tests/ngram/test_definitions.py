"""Whatever way a model is asked, it gives its smoothing's definition, after contexts that were never seen too."""

import logging
import math
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lmkit_ngram.arpa_options import ArpaOptions
from lmkit_ngram.arpa_read import read_arpa
from lmkit_ngram.arpa_write import write_arpa
from lmkit_ngram.model import NgramModel
from lmkit_ngram.options import SMOOTHINGS
from lmkit_ngram.prune import thresholds
from lmkit_ngram.smoothing import FALLBACK

import lmkit
from lmkit import runs
from lmkit.api import Model

brute = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("brute.py"))))

Fit = Callable[..., NgramModel]
Context = tuple[int, ...]

SIZE = 5
"""`</s>`, the unknown, which may or may not occur, and three words."""
lines = st.lists(st.lists(st.integers(1, SIZE - 1), max_size=6), min_size=1, max_size=6)
METHODS = [{"smoothing": name} for name in SMOOTHINGS]
METHODS += [{"smoothing": "kneser-ney", "interpolate": False}, {"smoothing": "stupid-backoff", "alpha": 0.05}]
few = settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def silent(caplog: pytest.LogCaptureFixture) -> None:
    """Small texts give no discounts, with a warning each time."""
    caplog.set_level(logging.ERROR)


def definition(model: NgramModel, train: list[list[int]]) -> Any:
    options = model.options
    return brute.Definition(train, SIZE, options, thresholds(options), FALLBACK.get(options.smoothing, ()))


def histories(order: int, line: list[int]) -> list[Context]:
    """What each word of a line and its `</s>` are predicted from: order - 1 words at most, `<s>` among them."""
    words = (SIZE, *line)
    return [words[max(0, i - order + 2) : i + 1] if order > 1 else () for i in range(len(words))]


def logarithms(probs: list[float]) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.array(probs))


@pytest.mark.parametrize("method", METHODS, ids=str)
@given(train=lines, heard=lines, order=st.integers(1, 5), prune=st.sampled_from(["0", "0 1"]))
@few
def test_lines(
    fit: Fit, method: dict[str, Any], train: list[list[int]], heard: list[list[int]], order: int, prune: str
) -> None:
    """Word by word, in batches of padded rows, as one stream with resets, and by the fast way: all are equal."""
    model = fit(train, SIZE, order=order, prune=prune if order > 1 else "0", **method)
    wanted = definition(model, train)
    scores = [
        logarithms([wanted.prob(h, w) for h, w in zip(histories(order, line), [*line, 0], strict=True)])
        for line in heard
    ]
    for line, row in zip(heard, scores, strict=True):
        state = model.initial_state(1)
        for context, word, log_prob in zip(histories(order, line), [*line, 0], row, strict=True):
            whole = logarithms([wanted.prob(context, w) for w in range(SIZE)])
            np.testing.assert_allclose(model.next_log_probs(state)[0], whole, rtol=2e-5, atol=2e-5)
            best, words = model.top_k(state, 2)
            np.testing.assert_allclose(best[0], np.sort(whole)[:-3:-1], rtol=2e-5, atol=2e-5)
            np.testing.assert_allclose(whole[words[0]], best[0], rtol=2e-5, atol=2e-5)
            found, state = model.log_probs(torch.tensor([[word]]), state)
            np.testing.assert_allclose(found[0, 0], log_prob, rtol=2e-5, atol=2e-5)
    longest = max(map(len, heard)) + 1
    rows = torch.tensor([[*line, 0] + [1] * (longest - len(line) - 1) for line in heard])
    batch, _ = model.log_probs(rows, model.initial_state(len(heard)))
    for line, row, found in zip(heard, scores, batch, strict=True):
        np.testing.assert_allclose(found[: len(line) + 1], row, rtol=2e-5, atol=2e-5)
    stream = np.array([word for line in heard for word in (*line, 0)], np.int32)
    all_scores = np.concatenate(scores)
    for _ in range(3):  # the walk at first, later the hash table
        np.testing.assert_allclose(model.line_log_probs(stream), all_scores, rtol=2e-5, atol=2e-5)
    # The same stream without its ends of lines, cut by resets and over two calls.
    bare = torch.tensor([[word for line in heard for word in line]])
    begins = torch.tensor([[i == 0 for line in heard for i in range(len(line))]], dtype=torch.bool)
    half = bare.shape[1] // 2
    first, state = model.log_probs(bare[:, :half], model.initial_state(1), reset=begins[:, :half])
    second, _ = model.log_probs(bare[:, half:], state, reset=begins[:, half:])
    unended = np.concatenate([row[:-1] for row in scores])
    np.testing.assert_allclose(torch.cat([first, second], 1)[0], unended, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("method", METHODS, ids=str)
@given(train=lines, order=st.integers(2, 5), words=st.lists(st.integers(1, SIZE - 1), max_size=5))
@few
def test_where_a_line_does_not_begin(
    fit: Fit, method: dict[str, Any], train: list[list[int]], order: int, words: list[int]
) -> None:
    """From the state of no context the context is the words alone."""
    model = fit(train, SIZE, order=order, **method)
    wanted = definition(model, train)
    state = model.initial_state(1, start=False)
    for i, word in enumerate([*words, 0]):
        context = tuple(words[max(0, i - order + 1) : i])
        row = logarithms([wanted.prob(context, w) for w in range(SIZE)])
        np.testing.assert_allclose(model.next_log_probs(state)[0], row, rtol=2e-5, atol=2e-5)
        state = model.advance(torch.tensor([word]), state)


def trained(tmp_path: Path, text: str, **options: Any) -> Model:
    """A model of words of a text."""
    (tmp_path / "text.txt").write_text(text)
    chosen = {"model": "ngram", "tokenizer": "word", "out": tmp_path / "run", "overwrite": True}
    return lmkit.train(str(tmp_path / "text.txt"), **chosen, **options)


def arpa_scores(file: Path, line: list[str]) -> list[float]:
    """log10 p of each word and of `</s>`, by the definition of the format."""
    grams: dict[tuple[str, ...], tuple[float, float]] = {}
    order = 0
    for row in file.read_text().splitlines():
        if row.endswith("-grams:"):
            order = int(row[1:-7])
        fields = row.split()
        if order and len(fields) > order:
            grams[tuple(fields[1 : order + 1])] = (
                float(fields[0]),
                float(fields[order + 1]) if len(fields) > order + 1 else 0,
            )

    def score(context: tuple[str, ...], word: str) -> float:
        if (*context, word) in grams:
            return grams[*context, word][0]
        return grams.get(context, (0, 0))[1] + score(context[1:], word)

    words = ("<s>", *(word if (word,) in grams else "<unk>" for word in line), "</s>")
    return [score(words[max(0, i - order + 1) : i], words[i]) for i in range(1, len(words))]


TEXT = "the cat sat\nthe dog ran\na cat ran\n\nthe cat ran home\n"
HEARD = ["the cat sat", "a dog ran", "the bird ran home", "", "cat the sat", "home home the cat ran", "a cat"]


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_exported_files(tmp_path: Path, method: dict[str, Any], order: int) -> None:
    """A plain reader of the ARPA file gives the model's scores, and so does the model that is imported from it.

    With stupid backoff a plain reader cannot know how near a line's beginning is where that was never seen, and is
    lower for words 2 to order - 2 then; it is right for all others.
    """
    model = trained(tmp_path, TEXT, order=order, **method)
    write_arpa(model.run, tmp_path / "a.arpa")
    read_arpa(tmp_path / "a.arpa", tmp_path / "again", max_expansion=0, options=ArpaOptions())
    again = runs.load_run(tmp_path / "again")
    models: list[Any] = [model.run.model, again.model]
    for one in models:
        assert one.normalized == (method["smoothing"] != "stupid-backoff")
    for line in HEARD:
        scores = []
        for one, tokenizer in zip(models, (model.tokenizer, again.tokenizer), strict=True):
            ids = torch.tensor([[*tokenizer.ids(line).tolist(), tokenizer.vocabulary.eos_id]])
            found, _ = one.log_probs(ids, one.initial_state(1))
            scores.append(found[0].double().numpy() / math.log(10))
        np.testing.assert_allclose(scores[1], scores[0], rtol=1e-5, atol=1e-5)
        plain = np.maximum(arpa_scores(tmp_path / "a.arpa", line.split()), -1e9)
        plain[plain < -90] = -math.inf  # -99 is zero
        if method["smoothing"] == "stupid-backoff" and order > 3:
            assert (plain <= scores[0] + 1e-5).all()
            kept = np.r_[0, order - 2 : len(plain)]
            plain, scores[0] = plain[kept], scores[0][kept]
        np.testing.assert_allclose(plain, scores[0], rtol=1e-5, atol=1e-5)


def test_alpha_after_a_context_that_was_never_seen(tmp_path: Path) -> None:
    """S(ran | a dog) is alpha S(ran | dog) = 0.4, in the file as well; S(ran | a bird) is alpha squared S(ran)."""
    text = "the cat sat\nthe dog ran\na cat ran\n"
    model = trained(tmp_path, text, order=3, smoothing="stupid-backoff")
    assert dict(model.top_k(["a", "dog"], 9))["ran"] == pytest.approx(math.log(0.4), abs=1e-5)
    assert dict(model.top_k(["a", "bird"], 9))["ran"] == pytest.approx(math.log(0.16 * 2 / 12), abs=1e-5)
    write_arpa(model.run, tmp_path / "a.arpa")
    assert arpa_scores(tmp_path / "a.arpa", ["a", "dog", "ran"])[2] == pytest.approx(
        math.log10(0.4), abs=1e-5
    )
