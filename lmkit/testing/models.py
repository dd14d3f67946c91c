"""The rules for causal language models, counting and neural."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lmkit import states
from lmkit.contracts import FitContext, LanguageModel
from lmkit.plugins import Part
from lmkit.recurrence import NeuralLanguageModel
from lmkit.states import State
from lmkit.testing.samples import VOCABULARY, random_ids, random_lines, small_options

T = TypeVar("T")

ROWS, TIME = 3, 7
PICKLED = (".pt", ".pth", ".pkl", ".pickle")


def built(part: Part) -> LanguageModel:
    """A small model: fitted on random lines if it counts, with its initial weights if it is neural."""
    torch.manual_seed(0)
    model: LanguageModel = part.load()(small_options(part), VOCABULARY)
    if isinstance(model, NeuralLanguageModel):
        model.eval()
    elif type(model).fit is not LanguageModel.fit:
        from lmkit.corpus.store import TokenStore

        lines = [np.append(line, VOCABULARY.eos_id) for line in random_lines()]
        model.fit(TokenStore.from_lines(lines, VOCABULARY), FitContext(seed=0, progress=_silent))
    return model


def lived_in(model: LanguageModel, rows: int = ROWS) -> State:
    """A state after some tokens."""
    return model.log_probs(random_ids(rows, 3, seed=9), model.initial_state(rows))[1]


def check_vocabulary(part: Part) -> None:
    """The model has the given vocabulary, a valid reset policy and a parameter count."""
    model = built(part)
    assert model.vocabulary == VOCABULARY, f"its vocabulary is {model.vocabulary}"
    assert model.reset_policy in ("line", "document", "never"), f"its reset policy is {model.reset_policy!r}"
    assert model.parameter_count() >= 0, f"parameter_count() is {model.parameter_count()}"


@torch.no_grad()
def check_normalized(part: Part) -> None:
    """Next-token probabilities sum to one in every state (or stay below one, if not normalized)."""
    model = built(part)
    starts = (model.initial_state(ROWS), model.initial_state(ROWS, start=False), lived_in(model))
    for name, state in zip(("a start", "nothing known", "some tokens"), starts, strict=True):
        rows = model.next_log_probs(state)
        assert rows.shape == (ROWS, VOCABULARY.size), f"after {name} the shape is {tuple(rows.shape)}"
        assert not bool(rows.isnan().any()), f"after {name} there is NaN"
        assert bool((rows <= 1e-5).all()), f"after {name} a log-probability is {float(rows.max())}"
        sums = rows.double().exp().sum(-1)
        if model.normalized:
            off = float((sums - 1).abs().max())
            assert off < 1e-5, f"after {name} the sum is off by {off:.3g}"


@torch.no_grad()
def check_state(part: Part) -> None:
    """The batch is dimension 0 of every leaf of a state, and selected rows are a state of those rows."""
    model = built(part)
    for state in (model.initial_state(ROWS), lived_in(model)):
        leaves = states.leaves(state)
        assert leaves, "the state is empty"
        shapes = [tuple(leaf.shape) for leaf in leaves]
        assert all(shape[:1] == (ROWS,) for shape in shapes), (
            f"for {ROWS} rows the leaves have the shapes {shapes}"
        )
        order = torch.tensor([2, 0])
        _close(
            "the rows chosen",
            model.next_log_probs(states.take(state, order)),
            model.next_log_probs(state)[order],
        )


@torch.no_grad()
def check_log_probs(part: Part) -> None:
    """log_probs gives the same scores as next_log_probs and advance token by token, including resets."""
    model = built(part)
    ids, state = random_ids(ROWS, TIME), lived_in(model)
    for reset in (None, torch.rand(ROWS, TIME) < 0.3):
        scores, after = model.log_probs(ids, state, reset=reset)
        slow, last = LanguageModel.log_probs(model, ids, state, reset=reset)
        _close("the scores", scores, slow)
        _close("the next rows", model.next_log_probs(after), model.next_log_probs(last))


@torch.no_grad()
def check_scan(part: Part) -> None:
    """scan covers all tokens with the rows of next_log_probs, and ends in the state of log_probs."""
    model = built(part)
    ids, state = random_ids(ROWS, TIME), lived_in(model)
    for reset in (None, torch.rand(ROWS, TIME) < 0.3):
        chunks = list(model.scan(ids, state, reset=reset))
        rows = torch.cat([chunk for chunk, _ in chunks], 1)
        slow = torch.cat([chunk for chunk, _ in LanguageModel.scan(model, ids, state, reset=reset)], 1)
        _close("the rows", rows, slow)
        _, after = model.log_probs(ids, state, reset=reset)
        _close("the next rows", model.next_log_probs(chunks[-1][1]), model.next_log_probs(after))


@torch.no_grad()
def check_carry(part: Part) -> None:
    """Two halves, with the state carried over, have the same scores as the whole."""
    model = built(part)
    ids, state = random_ids(ROWS, TIME), model.initial_state(ROWS)
    whole, last = model.log_probs(ids, state)
    first, middle = model.log_probs(ids[:, :3], state)
    second, after = model.log_probs(ids[:, 3:], middle)
    _close("the scores", torch.cat([first, second], 1), whole)
    _close("the next rows", model.next_log_probs(after), model.next_log_probs(last))


@torch.no_grad()
def check_reset(part: Part) -> None:
    """A row that is reset at token t scores the rest as a separate text; other rows do not change."""
    model = built(part)
    ids, state = random_ids(ROWS, TIME), lived_in(model)
    reset = torch.zeros(ROWS, TIME, dtype=torch.bool)
    reset[1, 3] = True
    scores, _ = model.log_probs(ids, state, reset=reset)
    untouched, _ = model.log_probs(ids, state)
    anew, _ = model.log_probs(ids[1:2, 3:], model.initial_state(1))
    _close("the row after its reset", scores[1:2, 3:], anew)
    _close("the row before its reset", scores[:, :3], untouched[:, :3])
    _close("the other rows", scores[[0, 2]], untouched[[0, 2]])


@torch.no_grad()
def check_causality(part: Part) -> None:
    """Later tokens do not change earlier scores."""
    model = built(part)
    ids, state = random_ids(ROWS, TIME), model.initial_state(ROWS)
    changed = ids.clone()
    changed[:, 4:] = (ids[:, 4:] + 1) % VOCABULARY.size
    _close(
        "the earlier scores", model.log_probs(changed, state)[0][:, :4], model.log_probs(ids, state)[0][:, :4]
    )


@torch.no_grad()
def check_batch_invariance(part: Part) -> None:
    """A row has the same scores alone and in a batch, padded on the right with any id."""
    model = built(part)
    ids, state = random_ids(ROWS, TIME), lived_in(model)
    for length in (1, 4, TIME):
        for padding in (0, VOCABULARY.size - 1):
            padded = ids.clone()
            padded[1, length:] = padding
            together, _ = model.log_probs(padded, state)
            alone, _ = model.log_probs(ids[1:2, :length], states.take(state, slice(1, 2)))
            _close(f"the scores of {length} tokens", together[1:2, :length], alone)


@torch.no_grad()
def check_time_zero(part: Part) -> None:
    """No tokens give no scores and leave the state unchanged."""
    model = built(part)
    state = lived_in(model)
    none = random_ids(ROWS, 0)
    for reset in (None, torch.zeros(ROWS, 0, dtype=torch.bool)):
        scores, after = model.log_probs(none, state, reset=reset)
        assert scores.shape == (ROWS, 0), f"the scores have the shape {tuple(scores.shape)}"
        _close("the next rows", model.next_log_probs(after), model.next_log_probs(state))
        rows = [chunk for chunk, _ in model.scan(none, state, reset=reset)]
        assert sum(chunk.shape[1] for chunk in rows) == 0, "scan gives rows"


@torch.no_grad()
def check_save(part: Part) -> None:
    """A saved and loaded model gives the same scores, and no file is a pickle."""
    model = built(part)
    ids = random_ids(ROWS, TIME)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        pickles = [path.name for path in Path(folder).rglob("*") if path.suffix in PICKLED]
        assert not pickles, f"it writes {', '.join(pickles)}"
        again: LanguageModel = part.load().load(Path(folder), small_options(part), VOCABULARY)
        if isinstance(again, NeuralLanguageModel):
            again.eval()
        for start in (True, False):
            scores, _ = model.log_probs(ids, model.initial_state(ROWS, start=start))
            _close("the scores", again.log_probs(ids, again.initial_state(ROWS, start=start))[0], scores)


@torch.no_grad()
def check_seed(part: Part) -> None:
    """The same seed and the same text give the same model."""
    first, second = built(part), built(part)
    ids = random_ids(ROWS, TIME)
    scores, _ = first.log_probs(ids, first.initial_state(ROWS))
    assert torch.equal(second.log_probs(ids, second.initial_state(ROWS))[0], scores), "the scores differ"


def check_gradients(part: Part) -> None:
    """In a neural model, a window's loss reaches every parameter and scores keep their gradient."""
    model = built(part)
    if not isinstance(model, NeuralLanguageModel):
        return
    ids = random_ids(ROWS, TIME)
    # Each window reads `<s>` somewhere, as training windows do.
    start = torch.full((ROWS, 1), model.start_id)
    loss, _ = model.window_loss(torch.cat([start, ids[:, :-1]], 1), ids, model.blank_state(ROWS))
    loss.backward()
    for name, parameter in model.named_parameters():
        reached = parameter.grad is not None and bool((parameter.grad != 0).any())
        assert reached, f"none reaches {name}"
    assert model.log_probs(ids, model.initial_state(ROWS))[0].requires_grad, "log_probs cuts gradients off"


def _silent(items: Iterable[T], *, total: int | None, label: str) -> Iterable[T]:
    return items


def _close(what: str, got: Tensor, wanted: Tensor) -> None:
    assert got.shape == wanted.shape, f"{what}: the shape is {tuple(got.shape)}, not {tuple(wanted.shape)}"
    same = torch.allclose(got.double(), wanted.double(), rtol=1e-5, atol=2e-5)
    assert same, f"{what} differ by {float((got - wanted).detach().abs().max()):.3g}"


CHECKS = (
    check_vocabulary,
    check_normalized,
    check_state,
    check_log_probs,
    check_scan,
    check_carry,
    check_reset,
    check_causality,
    check_batch_invariance,
    check_time_zero,
    check_save,
    check_seed,
    check_gradients,
)
