"""The window model is a perceptron over the last N - 1 tokens, whatever the windows of training and the resets."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

import lmkit
from lmkit.contracts import Vocabulary
from lmkit.errors import UsageError
from lmkit.options import choose
from lmkit.states import State
from lmkit.testing import checks
from lmkit.testing.suite import Check

VOCABULARY = Vocabulary(9, 0, 1, "test")
START, NOTHING = -1, -2
VARIANTS: list[dict[str, Any]] = [
    {},
    {"order": 2},
    {"order": 4, "num_layers": 3, "activation": "relu"},
    {"order": 3, "embedding_size": 3, "tied": False, "activation": "sigmoid"},
    {"order": 3, "embedding_size": 3, "tied": False, "direct": True},
]


def make(**options: Any) -> Any:
    torch.manual_seed(0)
    table = {"name": "window", "hidden_size": 5, "dropout": 0.0, **options}
    chosen = choose("model", table, "model")
    return chosen.load()(chosen.options, VOCABULARY).double()


def vector(model: Any, token: int) -> Tensor:
    """The embedding of a token, of `<s>` or of nothing."""
    if token == NOTHING:
        return torch.zeros_like(model.start)
    return model.start if token == START else model.embedding.weight[token]


def by_hand(model: Any, before: list[int]) -> Tensor:
    """log p(next token), (vocabulary,), from all tokens before it: Bengio's equation (1), and more layers."""
    nearest_first = before[::-1][: model.options.order - 1]
    if nearest_first[0] == NOTHING:
        return torch.log_softmax(model.output.bias, 0)  # no token has been read: there are no features yet
    x = torch.cat([vector(model, token) for token in nearest_first])
    hidden = x
    for layer in model.layers:
        hidden = getattr(torch, model.options.activation)(layer.weight @ hidden + layer.bias)
    u, w = model.output.weight[:, : len(hidden)], model.output.weight[:, len(hidden) :]
    logits = u @ hidden + model.output.bias
    return torch.log_softmax(logits + w @ x if model.options.direct else logits, 0)


def scores_by_hand(model: Any, ids: Tensor, reset: Tensor, begun: bool) -> Tensor:
    """(batch, time) log-probabilities, token by token."""
    padding = [model.options.order * [symbol] for symbol in (NOTHING, START)]
    rows = []
    for tokens, anew in zip(ids.tolist(), reset.tolist(), strict=True):
        before, scores = padding[begun], []
        for token, start in zip(tokens, anew, strict=True):
            before = padding[True] if start else before
            scores.append(by_hand(model, before)[token])
            before = [*before, token]
        rows.append(torch.stack(scores))
    return torch.stack(rows)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("begun", [True, False], ids=["start", "nothing known"])
def test_scores_are_those_of_the_equation(options: dict, begun: bool) -> None:
    """Each token is scored from the N - 1 before it, `<s>` before a text, zeros where nothing is known."""
    model = make(**options)
    ids, reset = torch.randint(9, (3, 12)), torch.rand(3, 12) < 0.2
    wanted = scores_by_hand(model, ids, reset, begun)
    scores, _ = model.log_probs(ids, model.initial_state(3, start=begun), reset=reset)
    torch.testing.assert_close(scores, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_gradients_are_those_of_the_equation(options: dict) -> None:
    """Windows of training with a carried state give the whole text's loss and gradients: nothing is cut off."""
    model = make(**options)
    ids = torch.randint(9, (3, 12))
    reset = torch.zeros(3, 12, dtype=torch.bool)
    reset[1, 5] = reset[2, 8] = reset[2, 9] = True
    # As training reads a text: `<s>` takes the place of the token before one that begins a text.
    inputs = torch.cat([torch.full((3, 1), model.start_id), ids[:, :-1]], 1).masked_fill(
        reset, model.start_id
    )
    state, losses = model.blank_state(3), []
    for first in range(0, 12, 5):
        part = slice(first, first + 5)
        loss, state = model.window_loss(inputs[:, part], ids[:, part], state, reset=reset[:, part])
        losses.append(loss * inputs[:, part].shape[1])
    ours, wanted = torch.stack(losses).sum(), -scores_by_hand(model, ids, reset, True).sum() / 3
    torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=1e-12)
    parameters = list(model.parameters())
    got, reference = torch.autograd.grad(ours, parameters), torch.autograd.grad(wanted, parameters)
    torch.testing.assert_close(got, reference, rtol=1e-9, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    order=st.integers(2, 6),
    ids=st.lists(st.integers(0, 9), max_size=9),
    cuts=st.lists(st.integers(0, 9), max_size=3),
    resets=st.sets(st.integers(0, 8)),
)
def test_any_cut_gives_the_same_windows(order: int, ids: list, cuts: list, resets: set) -> None:
    """Features after each id, `<s>` (9) among them, are those of one step after another, however the text is cut."""
    model = make(order=order)
    row = torch.tensor([ids], dtype=torch.long)
    reset = torch.tensor([[t in resets for t in range(len(ids))]], dtype=torch.bool)

    def run(pieces: list[slice]) -> tuple[Tensor, State]:
        state, found = model.blank_state(1), [torch.zeros(1, 0, 5, dtype=torch.float64)]
        for piece in pieces:
            features, state = model.features(row[:, piece], state, reset=reset[:, piece])
            found.append(features)
        return torch.cat(found, 1), state

    steps, last = run([slice(t, t + 1) for t in range(len(ids))])
    edges = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
    ours, after = run([slice(a, b) for a, b in pairwise(edges)])
    torch.testing.assert_close(ours, steps, rtol=1e-12, atol=1e-12)
    assert torch.equal(after, last)  # pyright: ignore[reportArgumentType]


def test_nothing_before_the_window_counts() -> None:
    """A token that is N places back changes no score; one that is N - 1 places back does."""
    model = make(order=4)
    ids = torch.tensor([[2, 3, 4, 5, 6]])
    changed = torch.tensor([[8, 3, 4, 5, 6]])
    one, other = (model.log_probs(row, model.initial_state(1))[0][0] for row in (ids, changed))
    differs = (one != other).tolist()
    assert differs == [True, True, True, True, False]


def test_tied_weights_are_one_parameter(tmp_path: Path) -> None:
    """A tied output layer is the embedding, also after loading; untied with direct connections it is wider."""
    model = make().float()
    assert model.output.weight is model.embedding.weight
    model.save(tmp_path)
    loaded = type(model).load(tmp_path, model.options, VOCABULARY)
    assert loaded.output.weight is loaded.embedding.weight
    assert make(tied=False, direct=True).output.weight.shape == (9, 5 + 4 * 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"embedding_size": 3}, "--embedding-size 5, not 3"), ({"direct": True}, "also give --no-tied")],
)
def test_a_tie_that_cannot_be_is_refused(options: dict, message: str) -> None:
    """The error says which option would do."""
    with pytest.raises(UsageError, match=message):
        make(**options)


def test_a_number_of_parameters_sets_the_hidden_size() -> None:
    """The size is the one whose count is nearest to what was asked for, and leaves no room for --hidden-size."""
    counts = {size: make(hidden_size=size).parameter_count() for size in range(1, 40)}
    for wanted in (500, 2345, 5000):
        found = make(hidden_size=None, params=str(wanted)).parameter_count()
        assert found == min(counts.values(), key=lambda count: abs(count - wanted))
    with pytest.raises(UsageError, match="leave one out"):
        make(params="500")


@pytest.mark.parametrize("rule", checks("window"), ids=str)
def test_it_keeps_the_rules_of_models(rule: Check) -> None:
    """The window model passes the conformance suite."""
    rule()


def train(folder: Path, name: str, **options: Any) -> Any:
    return lmkit.train(
        folder / "text.txt", model="window", order=4, out=folder / name, tokenizer="word", min_count=1,
        hidden_size=16, batch_size=4, bptt=8, max_steps=60, learning_rate=0.03, threads=1, **options,
    )  # fmt: skip


def test_training_learns_and_resumes_to_the_bit(tmp_path: Path) -> None:
    """A run that stopped half way and went on has the weights of one that never stopped, windows included."""
    text = "the cat sat on the mat and the dog lay by the door\na bird sang in the tree\n" * 40
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    whole = train(tmp_path, "whole")
    train(tmp_path, "halves", stop_after=17)
    lmkit.resume(tmp_path / "halves")
    weights = [load_file(tmp_path / run / "model.safetensors") for run in ("whole", "halves")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    perplexity = whole.score(text).perplexity
    assert perplexity is not None
    assert perplexity < 2
    assert whole.generate("the cat", max_tokens=3, seed=1)
