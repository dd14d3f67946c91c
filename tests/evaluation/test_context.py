"""Context curves: losses with exactly k tokens of context, and with what lies farther back shuffled."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lmkit_recurrent.model import RecurrentLanguageModel

import lmkit
from lmkit.api import Model
from lmkit.contracts import LanguageModel, Tokenizer
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text
from lmkit.errors import DataError
from lmkit.evaluation import context
from lmkit.evaluation.context import Stream, context_curve, read_stream, shuffled_beyond, shuffled_curve
from lmkit.notes import NOTE
from lmkit.options import choose

LINES = [
    "the cat sat on the mat",
    "a dog lay by the door",
    "the bird sang",
    "",
    "the dog sat on a cat by the old door and the cat sang to the bird",
] * 3
LONGEST_LINE = 18
"""Its `</s>` included."""


def recurrent(policy: str) -> tuple[RecurrentLanguageModel, Tokenizer]:
    chosen = choose("tokenizer", {"name": "word", "min_count": 1}, "tokenizer")
    tokenizer = chosen.load().fit(LINES, chosen.options)
    torch.manual_seed(0)
    table = {"name": "recurrent", "cell": "gru", "hidden_size": 6, "dropout": 0.0, "reset": policy}
    model = RecurrentLanguageModel(choose("model", table, "model").options, tokenizer.vocabulary)
    for weight in model.parameters():  # far from the start, so that contexts make a difference
        torch.nn.init.normal_(weight, std=0.7)
    return model.double().eval(), tokenizer


def two_documents(folder: Path) -> Text:
    paths = [folder / "one.txt", folder / "two.txt"]
    for path in paths:
        path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return Text([str(path) for path in paths], DataOptions())


@pytest.fixture(scope="module")
def trigrams(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("trigrams")
    return counted(folder, model={"name": "ngram", "order": 3, "smoothing": "witten-bell"})


def counted(folder: Path, **settings: Any) -> Model:
    (folder / "text.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return lmkit.train(folder / "text.txt", out=folder / "run", tokenizer="word", min_count=1, **settings)


@torch.no_grad()
def loss_after(model: LanguageModel, stream: Stream, first: int, last: int) -> float:
    """-log p of the token at `last`, after those from `first` on alone, one step at a time."""
    state = model.initial_state(1, start=False)
    for place in range(first, last + 1):
        if stream.resets[place] and place > first:
            state = model.initial_state(1)
        if place == last:
            return -float(model.next_log_probs(state)[0, stream.ids[place]])
        state = model.advance(torch.from_numpy(stream.ids[place : place + 1]), state)
    raise AssertionError


@pytest.mark.parametrize("policy", ["line", "document", "never"])
def test_exactly_k_tokens(policy: str, tmp_path: Path) -> None:
    """Each k has the mean difference of loss that one step after another gives, over the text's mean loss."""
    model, tokenizer = recurrent(policy)
    stream = read_stream(model, tokenizer, two_documents(tmp_path))
    longest, windows = 20, 7
    curve = context_curve(model, stream, longest=longest, windows=windows)
    full = context.full_losses(model, stream)
    starts = np.linspace(0, len(full) - longest - 1, windows).round().astype(int)
    assert curve.windows == windows
    for k in (1, 2, 7, 20):
        found = [loss_after(model, stream, first, first + k) - full[first + k] for first in starts]
        assert curve.nats[k - 1] == pytest.approx(full.mean() + np.mean(found), abs=1e-9)
        assert curve.errors[k - 1] == pytest.approx(np.std(found, ddof=1) / windows**0.5, abs=1e-9)


def test_long_windows_come_in_parts() -> None:
    """A window that is longer than what is scored in one call has the losses of single steps all the same."""
    model, tokenizer = recurrent("never")
    stream = read_stream(model, tokenizer, Text.from_lines(LINES * 8))
    losses = context._window_losses(model, stream, np.arange(551)[None])
    assert losses[0, 530] == pytest.approx(loss_after(model, stream, 0, 530), abs=1e-9)


@pytest.mark.parametrize("policy", ["line", "document", "never"])
def test_full_is_the_loss_of_eval(policy: str, tmp_path: Path) -> None:
    """What contexts are compared with is what `lmkit eval` prints of the same text."""
    from lmkit.scoring.score import evaluate

    model, tokenizer = recurrent(policy)
    text = two_documents(tmp_path)
    curve = context_curve(model, read_stream(model, tokenizer, text), longest=5)
    perplexity = evaluate(model, tokenizer, text, signature="s").perplexity
    assert np.exp(curve.full) == pytest.approx(perplexity, rel=1e-9)


def test_ngram_is_exactly_flat(trigrams: Model) -> None:
    """From N - 1 tokens on, an n-gram's curve is its loss with everything, to the last bit and with no error."""
    stream = read_stream(trigrams.causal, trigrams.tokenizer, Text.from_lines(LINES))
    curve = context_curve(trigrams.causal, stream, longest=30, windows=9)
    assert curve.nats[0] > curve.full
    assert (curve.nats[1:] == curve.full).all()
    assert (curve.errors[1:] == 0).all()
    assert np.exp(curve.full) == pytest.approx(trigrams.score(LINES).perplexity, rel=1e-6)


def test_window_model_is_flat(tmp_path: Path) -> None:
    """So is the curve of a network that sees N - 1 tokens, but for rounding."""
    options: dict[str, Any] = {"order": 4, "hidden_size": 6, "max_steps": 3, "batch_size": 2, "bptt": 8}
    model = counted(tmp_path, model="window", **options)
    stream = read_stream(model.causal, model.tokenizer, Text.from_lines(LINES))
    curve = context_curve(model.causal, stream, longest=30)
    assert curve.nats[3:] == pytest.approx(np.full(27, curve.full), abs=1e-5)


def test_line_resets_bound_the_context() -> None:
    """The curve of a model that is reset at lines is flat beyond the longest line; one that carries it is not."""
    spread = {}
    for policy in ("line", "never"):
        model, tokenizer = recurrent(policy)
        stream = read_stream(model, tokenizer, Text.from_lines(LINES))
        curve = context_curve(model, stream, longest=30)
        spread[policy] = np.abs(curve.nats[LONGEST_LINE - 1 :] - curve.full).max()
    assert spread["line"] < 1e-9 < spread["never"]


@given(reset=st.lists(st.booleans(), min_size=12, max_size=12), k=st.integers(1, 11), seed=st.integers(0, 99))
def test_what_is_shuffled(reset: list[bool], k: int, seed: int) -> None:
    """Only tokens farther than k from the last, and not before the last reset, change places."""
    ids = np.arange(12)[None]
    found = shuffled_beyond(ids, np.array([reset]), k, np.random.default_rng(seed))[0]
    first = max((place for place, begins in enumerate(reset) if begins), default=0)
    assert (found[11 - k :] == ids[0, 11 - k :]).all()
    assert (found[: min(first, 11 - k)] == ids[0, : min(first, 11 - k)]).all()
    assert Counter(found.tolist()) == Counter(range(12))


def test_shuffling_is_the_difference_of_losses() -> None:
    """The increase is the mean loss after shuffled contexts less that after the contexts themselves."""
    model, tokenizer = recurrent("never")
    stream = read_stream(model, tokenizer, Text.from_lines(LINES))
    curve = shuffled_curve(model, stream, longest=12, windows=5, seed=3)
    starts = np.linspace(0, len(stream.ids) - 13, 5).round().astype(int)
    ids = stream.ids[starts[:, None] + np.arange(13)]
    random = np.random.default_rng(3)
    no_reset = np.zeros(ids.shape, bool)

    def losses(rows: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            start = model.initial_state(len(rows), start=False)
            return -model.log_probs(torch.from_numpy(rows), start)[0][:, -1].numpy()

    plain = losses(ids)
    assert curve.grid == (1, 2, 3, 5, 10)
    assert curve.full == pytest.approx(plain.mean(), abs=1e-9)
    for k, increase in zip(curve.grid, curve.increase, strict=True):
        wanted = losses(shuffled_beyond(ids, no_reset, k, random)) - plain
        assert increase == pytest.approx(wanted.mean(), abs=1e-9)


def test_ngram_does_not_see_the_shuffling(trigrams: Model) -> None:
    """An n-gram's loss changes only where one of its N - 1 words is moved; equal seeds give equal figures."""
    stream = read_stream(trigrams.causal, trigrams.tokenizer, Text.from_lines(LINES))
    curve, again = (shuffled_curve(trigrams.causal, stream, longest=20, windows=60) for _ in range(2))
    assert curve.increase[0] > 0
    assert (curve.increase[1:] == 0).all()
    assert (curve.increase == again.increase).all()


def test_target_losses_reset_as_windows_do() -> None:
    """A target after single steps has the loss that it has as the last token of a window, resets and all."""
    model, tokenizer = recurrent("line")
    stream = read_stream(model, tokenizer, Text.from_lines(LINES))
    places = np.arange(20)[:, None] + np.arange(25)
    reset = stream.resets[places] & (np.arange(25) > 0)
    found = context._target_losses(model, stream.ids[places], reset)
    assert found == pytest.approx(context._window_losses(model, stream, places)[:, -1], abs=1e-9)


def test_short_texts(caplog: pytest.LogCaptureFixture) -> None:
    """A text too short for a window has shorter contexts, with a warning; one of a few tokens is refused."""
    model, tokenizer = recurrent("never")
    stream = read_stream(model, tokenizer, Text.from_lines(LINES[:2]))
    with caplog.at_level(NOTE):
        curve = context_curve(model, stream, longest=1000)
    assert len(curve.nats) == len(stream.ids) // 2 - 1 == 6
    assert "only 14 tokens: contexts up to 6 are shown, not 1,000" in caplog.text
    short = read_stream(model, tokenizer, Text.from_lines(["a cat"]))
    with pytest.raises(DataError, match="3 tokens"):
        context_curve(model, short)


def test_long_texts(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Only the beginning of a very long text is read, in whole lines, with a note."""
    monkeypatch.setattr(context, "MOST_TOKENS", 20)
    model, tokenizer = recurrent("never")
    with caplog.at_level(NOTE):
        stream = read_stream(model, tokenizer, Text.from_lines(LINES * 100))
    assert len(stream.ids) == 7 + 7 + 4 + 1 + LONGEST_LINE
    assert f"the first {len(stream.ids)} tokens" in caplog.text
    assert stream.begins.sum() == len(stream.lines)


def test_backward_lines() -> None:
    """The backward direction of an encoder reads each line from its end, `</s>` last."""
    model, tokenizer = recurrent("line")
    forward, backward = (
        read_stream(model, tokenizer, Text.from_lines(LINES), direction=direction)
        for direction in ("forward", "backward")
    )
    assert (forward.ids[:7][:-1][::-1] == backward.ids[:6]).all()
    assert forward.ids[6] == backward.ids[6] == tokenizer.vocabulary.eos_id
