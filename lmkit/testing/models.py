"""The rules for causal language models, counting and neural."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from lmkit import states
from lmkit.contracts import FitContext, LanguageModel
from lmkit.plugins import Part
from lmkit.recurrence import NeuralLanguageModel
from lmkit.states import State
from lmkit.testing.rules import NoInput, RuleBook, making, no_input
from lmkit.testing.samples import VOCABULARY, random_ids, random_lines, small_options

T = TypeVar("T")

PICKLED = (".pt", ".pth", ".pkl", ".pickle")


@dataclass(frozen=True)
class Ids:
    """Random ids of VOCABULARY: rows of the same length."""

    rows: int = 3
    time: int = 7

    def __str__(self) -> str:
        return f"random ids 0-{VOCABULARY.size - 1}, {self.rows} x {self.time} (rows x tokens)"

    def smaller(self) -> Iterator[Self]:
        """Fewer tokens, then fewer rows."""
        yield from (replace(self, time=time) for time in range(1, self.time))
        yield from (replace(self, rows=rows) for rows in range(1, self.rows))

    @property
    def row(self) -> int:
        """A row with others before and after it, if there are three."""
        return self.rows // 2

    @property
    def middle(self) -> int:
        """A token in the middle."""
        return (self.time + 1) // 2

    def draw(self) -> Tensor:
        """(rows, time) ids."""
        return random_ids(self.rows, self.time)

    def resets(self) -> list[Tensor | None]:
        """None, and (rows, time) bool that is true in about three of ten places."""
        return [None, torch.rand(self.rows, self.time) < 0.3]


def some_ids(part: Part) -> list[Ids]:
    return [Ids()]


RULES = RuleBook(some_ids)


def built(part: Part) -> LanguageModel:
    """A small model: fitted on random lines if it counts, with its initial weights if it is neural."""
    torch.manual_seed(0)
    with making():
        model: LanguageModel = part.load()(small_options(part), VOCABULARY)
        if isinstance(model, NeuralLanguageModel):
            model.eval()
        elif type(model).fit is not LanguageModel.fit:
            from lmkit.corpus.store import TokenStore

            lines = [np.append(line, VOCABULARY.eos_id) for line in random_lines()]
            model.fit(TokenStore.from_lines(lines, VOCABULARY), FitContext(seed=0, progress=_silent))
    return model


def lived_in(model: LanguageModel, rows: int) -> State:
    """A state after some tokens."""
    return model.log_probs(random_ids(rows, 3, seed=9), model.initial_state(rows))[1]


@RULES(
    'set self.vocabulary to the one given, and reset_policy to "line", "document" or "never"',
    about=("__init__",),
    cases=no_input,
)
def check_vocabulary(part: Part, _: NoInput) -> None:
    """The model has the given vocabulary, a valid reset policy and a parameter count."""
    model = built(part)
    assert model.vocabulary == VOCABULARY, f"its vocabulary is {model.vocabulary}"
    assert model.reset_policy in ("line", "document", "never"), f"its reset policy is {model.reset_policy!r}"
    assert model.parameter_count() >= 0, f"parameter_count() is {model.parameter_count()}"


@RULES(
    "end next_log_probs with log_softmax, or divide by the sum; set normalized = False if scores are no probabilities",
    about=("next_log_probs",),
)
@torch.no_grad()
def check_normalized(part: Part, ids: Ids) -> None:
    """Next-token probabilities sum to one in every state (or stay below one, if not normalized)."""
    model = built(part)
    starts = {
        "a start": model.initial_state(ids.rows),
        "nothing known": model.initial_state(ids.rows, start=False),
        "some tokens": lived_in(model, ids.rows),
    }
    for name, state in starts.items():
        rows = model.next_log_probs(state)
        assert rows.shape == (ids.rows, VOCABULARY.size), f"after {name} the shape is {tuple(rows.shape)}"
        assert not bool(rows.isnan().any()), f"after {name} there is NaN"
        assert bool((rows <= 1e-5).all()), f"after {name} a log-probability is {float(rows.max()):.2g}"
        sums = rows.double().exp().sum(-1)
        if model.normalized:
            off = float((sums - 1).abs().max())
            assert off < 1e-5, f"after {name} the sum is off by {off:.2g}"


@RULES(
    "make every tensor of a state of shape (rows, ...), and keep nothing about rows elsewhere",
    about=(
        "initial_state",
        "advance",
    ),
)
@torch.no_grad()
def check_state(part: Part, ids: Ids) -> None:
    """The batch is dimension 0 of every leaf of a state, and selected rows are a state of those rows."""
    model = built(part)
    for state in (model.initial_state(ids.rows), lived_in(model, ids.rows)):
        leaves = states.leaves(state)
        assert leaves, "the state is empty"
        shapes = [tuple(leaf.shape) for leaf in leaves]
        assert all(shape[:1] == (ids.rows,) for shape in shapes), (
            f"for {ids.rows} rows the leaves have the shapes {shapes}"
        )
        order = torch.arange(ids.rows).flip(0)
        wanted = model.next_log_probs(state)[order]
        _close("the scores of rows in another order", model.next_log_probs(states.take(state, order)), wanted)


@RULES(
    "make log_probs compute what next_log_probs and advance do, with initial_state put where reset says; or remove it",
    about=(
        "log_probs",
        "advance",
        "next_log_probs",
    ),
)
@torch.no_grad()
def check_log_probs(part: Part, ids: Ids) -> None:
    """log_probs gives the same scores as next_log_probs and advance token by token, including resets."""
    model = built(part)
    tokens, state = ids.draw(), lived_in(model, ids.rows)
    for reset in ids.resets():
        scores, after = model.log_probs(tokens, state, reset=reset)
        slow, last = LanguageModel.log_probs(model, tokens, state, reset=reset)
        _close("the scores of log_probs and of single tokens", scores, slow)
        _close("the scores of the next token", model.next_log_probs(after), model.next_log_probs(last))


@RULES(
    "make scan yield next_log_probs of every token in order, and the state after it; or remove it",
    about=(
        "scan",
        "log_probs",
    ),
)
@torch.no_grad()
def check_scan(part: Part, ids: Ids) -> None:
    """scan covers all tokens with the rows of next_log_probs, and ends in the state of log_probs."""
    model = built(part)
    tokens, state = ids.draw(), lived_in(model, ids.rows)
    for reset in ids.resets():
        chunks = list(model.scan(tokens, state, reset=reset))
        rows = torch.cat([chunk for chunk, _ in chunks], 1)
        slow = torch.cat([chunk for chunk, _ in LanguageModel.scan(model, tokens, state, reset=reset)], 1)
        _close("the rows of scan and of single tokens", rows, slow)
        _, after = model.log_probs(tokens, state, reset=reset)
        _close(
            "the scores of the next token", model.next_log_probs(chunks[-1][1]), model.next_log_probs(after)
        )


@RULES(
    "return from log_probs the state after its last token, with all that the next one depends on",
    about=(
        "log_probs",
        "advance",
    ),
)
@torch.no_grad()
def check_carry(part: Part, ids: Ids) -> None:
    """Two halves, with the state carried over, have the same scores as the whole."""
    model = built(part)
    tokens, state = ids.draw(), model.initial_state(ids.rows)
    whole, last = model.log_probs(tokens, state)
    first, middle = model.log_probs(tokens[:, : ids.middle], state)
    second, after = model.log_probs(tokens[:, ids.middle :], middle)
    _close("the scores", torch.cat([first, second], 1), whole)
    _close("the scores of the next token", model.next_log_probs(after), model.next_log_probs(last))


@RULES(
    "before a token that reset names, put the row at initial_state, and touch no other row",
    about=(
        "log_probs",
        "advance",
    ),
)
@torch.no_grad()
def check_reset(part: Part, ids: Ids) -> None:
    """A row that is reset at token t scores the rest as a separate text; other rows do not change."""
    model = built(part)
    tokens, state = ids.draw(), lived_in(model, ids.rows)
    row, start = ids.row, ids.middle - 1
    others = [index for index in range(ids.rows) if index != row]
    reset = torch.zeros(ids.rows, ids.time, dtype=torch.bool)
    reset[row, start] = True
    scores, _ = model.log_probs(tokens, state, reset=reset)
    untouched, _ = model.log_probs(tokens, state)
    anew, _ = model.log_probs(tokens[row : row + 1, start:], model.initial_state(1))
    _close("the scores of a row after its reset", scores[row : row + 1, start:], anew)
    _close("the scores before the reset", scores[:, :start], untouched[:, :start])
    _close("the scores of other rows", scores[others], untouched[others])


@RULES(
    "score a token from the tokens before it and the state only",
    about=(
        "log_probs",
        "next_log_probs",
        "advance",
    ),
)
@torch.no_grad()
def check_causality(part: Part, ids: Ids) -> None:
    """Later tokens do not change earlier scores."""
    model = built(part)
    tokens, state = ids.draw(), model.initial_state(ids.rows)
    changed, now = tokens.clone(), ids.middle
    changed[:, now:] = (tokens[:, now:] + 1) % VOCABULARY.size
    scores, others = (model.log_probs(one, state)[0][:, :now] for one in (tokens, changed))
    _close("the scores before a changed token", others, scores)


@RULES(
    "keep rows apart, and let no later id, padding included, change a score",
    about=(
        "log_probs",
        "next_log_probs",
    ),
)
@torch.no_grad()
def check_batch_invariance(part: Part, ids: Ids) -> None:
    """A row has the same scores alone and in a batch, padded on the right with any id."""
    model = built(part)
    tokens, state = ids.draw(), lived_in(model, ids.rows)
    row = slice(ids.row, ids.row + 1)
    for length in sorted({1, ids.middle, ids.time}):
        for padding in (0, VOCABULARY.size - 1):
            padded = tokens.clone()
            padded[row, length:] = padding
            together, _ = model.log_probs(padded, state)
            alone, _ = model.log_probs(tokens[row, :length], states.take(state, row))
            _close("the scores of a row alone and in the batch", together[row, :length], alone)


@RULES(
    "accept no tokens: return scores of (rows, 0) and the state as it was given",
    about=(
        "log_probs",
        "scan",
    ),
)
@torch.no_grad()
def check_time_zero(part: Part, ids: Ids) -> None:
    """No tokens give no scores and leave the state unchanged."""
    model = built(part)
    state = lived_in(model, ids.rows)
    none = random_ids(ids.rows, 0)
    for reset in (None, torch.zeros(ids.rows, 0, dtype=torch.bool)):
        scores, after = model.log_probs(none, state, reset=reset)
        assert scores.shape == (ids.rows, 0), f"the scores have the shape {tuple(scores.shape)}"
        _close("the scores of the next token", model.next_log_probs(after), model.next_log_probs(state))
        rows = [chunk for chunk, _ in model.scan(none, state, reset=reset)]
        assert sum(chunk.shape[1] for chunk in rows) == 0, "scan gives rows"


@RULES(
    "write in save every number that scores depend on, in safetensors, npy or JSON, and read it back in load",
    about=(
        "load",
        "save",
    ),
)
@torch.no_grad()
def check_save(part: Part, ids: Ids) -> None:
    """A saved and loaded model gives the same scores, and no file is a pickle."""
    model = built(part)
    tokens = ids.draw()
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        pickles = [path.name for path in Path(folder).rglob("*") if path.suffix in PICKLED]
        assert not pickles, f"it writes {', '.join(pickles)}"
        again: LanguageModel = part.load().load(Path(folder), small_options(part), VOCABULARY)
        if isinstance(again, NeuralLanguageModel):
            again.eval()
        for start in (True, False):
            scores, loaded = (
                one.log_probs(tokens, one.initial_state(ids.rows, start=start))[0] for one in (model, again)
            )
            _close("the scores before and after", loaded, scores)


@RULES(
    "seed random numbers in fit with run.seed, and initialise parameters with torch's",
    about=(
        "fit",
        "__init__",
    ),
)
@torch.no_grad()
def check_seed(part: Part, ids: Ids) -> None:
    """The same seed and the same text give the same model."""
    first, second = built(part), built(part)
    tokens = ids.draw()
    scores, _ = first.log_probs(tokens, first.initial_state(ids.rows))
    assert torch.equal(second.log_probs(tokens, second.initial_state(ids.rows))[0], scores), (
        "the scores differ"
    )


@RULES(
    "use every parameter in the loss, without detach or .data; give one that is not trained requires_grad=False",
    about=(
        "__init__",
        "window_loss",
        "log_probs",
    ),
)
def check_gradients(part: Part, ids: Ids) -> None:
    """In a neural model, a window's loss reaches every parameter and scores keep their gradient."""
    model = built(part)
    if not isinstance(model, NeuralLanguageModel):
        return
    tokens = ids.draw()
    # Each window reads `<s>` somewhere, as training windows do.
    start = torch.full((ids.rows, 1), model.start_id)
    loss, _ = model.window_loss(torch.cat([start, tokens[:, :-1]], 1), tokens, model.blank_state(ids.rows))
    loss.backward()
    for name, parameter in model.named_parameters():
        reached = parameter.grad is not None and bool((parameter.grad != 0).any())
        assert reached or not parameter.requires_grad, f"no gradient reaches {name}"
    scores, _ = model.log_probs(tokens, model.initial_state(ids.rows))
    assert scores.requires_grad, "log_probs cuts gradients off"


def _silent(items: Iterable[T], *, total: int | None, label: str) -> Iterable[T]:
    return items


def _close(what: str, got: Tensor, wanted: Tensor) -> None:
    assert got.shape == wanted.shape, f"{what}: the shape is {tuple(got.shape)}, not {tuple(wanted.shape)}"
    same = torch.allclose(got.double(), wanted.double(), rtol=1e-5, atol=2e-5)
    assert same, f"{what} differ by {float((got - wanted).detach().abs().max()):.2g}"
