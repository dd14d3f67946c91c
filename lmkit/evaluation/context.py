"""Measure how far back a model reads: its loss with exactly k tokens of context, and with the rest shuffled."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmkit import states
from lmkit.contracts import LanguageModel, Tokenizer
from lmkit.corpus.readers import Line
from lmkit.corpus.resets import is_reset
from lmkit.errors import DataError
from lmkit.notes import NOTE
from lmkit.scoring.directions import FORWARD, in_direction
from lmkit.scoring.measured_lines import whole_lines
from lmkit.scoring.stream import WINDOW, Measure, Sentence, measure_lines

log = logging.getLogger(__name__)

GRID = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
"""The contexts of tables."""
LONGEST = 1000
MOST_TOKENS = 2**20
"""Tokens of the text to read, and default of the tokens of all windows: minutes for a large vocabulary."""
MOST_WINDOWS = 4000
SHUFFLED_CONTEXT = 300
"""The longest context that is shuffled, that of Khandelwal et al. (2018)."""
SHUFFLED_WINDOWS = 512
ROWS = 64
"""Windows scored at once."""
TARGETS = 256
"""Single tokens scored at once, each after a different context."""

Watch = Callable[[Sequence[Any]], Iterable[Any]]
"""Passes on the items of long work and counts them, like a progress bar."""


@dataclass(frozen=True)
class Stream:
    """A text as one stream of tokens: ids (tokens,) int64 with `</s>` after each line.

    begins: (tokens,) bool, the first token of each line. resets: (tokens,) bool, the resets of the model's state
    in evaluation, including the first token.
    """

    lines: Sequence[Sentence]
    ids: np.ndarray
    begins: np.ndarray
    resets: np.ndarray


@dataclass(frozen=True)
class Curve:
    """Losses in nats a token with exactly 1, 2, ... tokens of context: arrays (longest,).

    errors: their standard errors. full: with the whole context, as in `lmkit eval`.
    """

    nats: np.ndarray
    errors: np.ndarray
    full: float
    windows: int
    tokens: int


@dataclass(frozen=True)
class ShuffledCurve:
    """The increase of a token's loss in nats when the tokens farther back than k are shuffled: arrays (grid,).

    full: the loss of the same tokens without shuffling. context: the number of tokens before each.
    """

    grid: tuple[int, ...]
    increase: np.ndarray
    errors: np.ndarray
    full: float
    context: int
    windows: int


def read_stream(
    model: LanguageModel, tokenizer: Tokenizer, text: Iterable[Line], *, direction: str = FORWARD
) -> Stream:
    """The text as `model` reads it, at most MOST_TOKENS tokens from its beginning; a notice says where it ends.

    direction: in which the model reads a line; a key of the model's `directions`. DataError for a text without lines.
    """
    eos = tokenizer.vocabulary.eos_id
    lines: list[Sentence] = []
    size = 0
    for line in whole_lines(text):
        if size >= MOST_TOKENS:
            log.log(NOTE, "only the first %s tokens of the text are used", f"{size:,}")
            break
        ids = np.append(tokenizer.ids(line.text), eos).astype(np.int64)
        lines.append(Sentence(ids, line.starts_document))
        size += len(ids)
    if not lines:
        raise DataError("the text has no lines; give a text with some thousands of words")
    lines = list(in_direction(lines, direction))
    begins, resets = np.zeros((2, size), bool)
    first = 0
    for line in lines:
        begins[first] = True
        resets[first] = first == 0 or is_reset(model.reset_policy, line.starts_document)
        first += len(line.ids)
    return Stream(lines, np.concatenate([line.ids for line in lines]), begins, resets)


def context_curve(
    model: LanguageModel,
    stream: Stream,
    *,
    longest: int = LONGEST,
    windows: int | None = None,
    watch: Watch = iter,
) -> Curve:
    """The loss with exactly k tokens of context, for k = 1 to `longest`, from one pass over windows.

    Windows of longest + 1 tokens, evenly spaced, are read from `initial_state(start=False)`; token k of a window
    has k tokens before it. Where evaluation resets the state within a window, so does this function. The curve of a
    model that is reset at lines is therefore flat beyond the longest line, as the model was trained.

    Each k has different target tokens. To keep this noise out of the curve, windows give the mean difference to
    the loss of the same token with its whole context, and the mean of that loss over the whole text is added: a
    difference estimator (Cochran, 1977, Sampling Techniques, 7.10), which for an n-gram is exact from N - 1 tokens
    on. windows: by default as many as MOST_TOKENS allow, at most MOST_WINDOWS.
    A text less than twice as long as a window lowers `longest`, with a warning; DataError below 4 tokens.
    """
    longest = _fitting(longest, len(stream.ids))
    full = full_losses(model, stream, watch=watch)
    starts = _spread(len(stream.ids) - longest, windows or _affordable(longest))
    total, squares = np.zeros((2, longest))
    for first in watch(range(0, len(starts), ROWS)):
        places = starts[first : first + ROWS, None] + np.arange(longest + 1)
        with np.errstate(invalid="ignore"):  # tokens that are impossible with and without a context
            differences = (_window_losses(model, stream, places) - full[places])[:, 1:]
        total += differences.sum(0)
        squares += (differences**2).sum(0)
    mean, count = total / len(starts), len(starts)
    with np.errstate(invalid="ignore"):
        spread = np.sqrt(np.maximum(squares / count - mean**2, 0) / max(count - 1, 1))
    return Curve(full.mean() + mean, spread, float(full.mean()), count, len(full))


def full_losses(model: LanguageModel, stream: Stream, *, watch: Watch = iter) -> np.ndarray:
    """(tokens,) the loss in nats of each token with its whole context, as in `lmkit eval`."""
    # Not by line, so that the last bits are those of windows.
    tables = measure_lines(model, watch(stream.lines), Measure())  # pyright: ignore[reportArgumentType]
    return -np.concatenate([table[:, 0] for table in tables])


def shuffled_curve(
    model: LanguageModel,
    stream: Stream,
    *,
    longest: int = SHUFFLED_CONTEXT,
    windows: int | None = None,
    seed: int = 0,
    watch: Watch = iter,
) -> ShuffledCurve:
    """The increase of the loss when the tokens farther back than k are in random order.

    Khandelwal et al. (2018), "Sharp nearby, fuzzy far away", arXiv:1805.04623. Each target, evenly spaced, has
    `longest` tokens before it, read from `initial_state(start=False)`; k is each of GRID below that. Only tokens
    after the last reset are shuffled. The increase of an n-gram is zero from k = N - 1 on.
    Raises DataError if a context has fewer than two tokens.
    """
    longest = _fitting(longest, len(stream.ids))
    if longest < 2:
        raise DataError("a context of one token has no order to shuffle; give a longer text, or more context")
    grid = tuple(k for k in GRID if k < longest)
    starts = _spread(len(stream.ids) - longest, windows or SHUFFLED_WINDOWS)
    random = np.random.default_rng(seed)
    plain, shuffled = [], []
    for first in watch(range(0, len(starts), TARGETS)):
        places = starts[first : first + TARGETS, None] + np.arange(longest + 1)
        ids, reset = stream.ids[places], _resets(stream, places)
        plain.append(_target_losses(model, ids, reset))
        shuffled.append([_target_losses(model, shuffled_beyond(ids, reset, k, random), reset) for k in grid])
    losses = np.concatenate(plain)
    with np.errstate(invalid="ignore"):
        increase = np.concatenate(shuffled, 1) - losses
        errors = increase.std(1) / max(len(losses) - 1, 1) ** 0.5
    return ShuffledCurve(grid, increase.mean(1), errors, float(losses.mean()), longest, len(losses))


def shuffled_beyond(ids: np.ndarray, reset: np.ndarray, k: int, random: np.random.Generator) -> np.ndarray:
    """Rows of ids (rows, context + 1), in each of which the tokens farther than k before the last are permuted.

    Those before the row's last reset keep their places, since the model has forgotten them.
    """
    shuffled = ids.copy()
    last = ids.shape[1] - 1 - k
    for row, resets in zip(shuffled, reset, strict=True):
        first = int(resets.nonzero()[0].max(initial=0))
        if first < last:
            row[first:last] = random.permutation(row[first:last])
    return shuffled


def _fitting(longest: int, tokens: int) -> int:
    """`longest`, or the largest value for a text with this many tokens."""
    if tokens < 4:
        raise DataError(
            f"the text has {tokens} tokens, too few for any context; give a text with some thousands"
        )
    if longest < tokens // 2:
        return longest
    log.log(
        NOTE,
        "the text has only %s tokens: contexts up to %s are shown, not %s",
        f"{tokens:,}", f"{tokens // 2 - 1:,}", f"{longest:,}",
    )  # fmt: skip
    return tokens // 2 - 1


def _affordable(longest: int) -> int:
    return max(1, min(MOST_WINDOWS, MOST_TOKENS // (longest + 1)))


def _spread(places: int, number: int) -> np.ndarray:
    """`number` of the places 0 to places - 1, or all if there are fewer, evenly spaced."""
    return np.unique(np.linspace(0, places - 1, min(number, places)).round().astype(np.int64))


def _resets(stream: Stream, places: np.ndarray) -> np.ndarray:
    """The resets within windows (rows, time); windows begin with the state without information."""
    reset = stream.resets[places]
    reset[:, 0] = False
    return reset


@torch.no_grad()
def _window_losses(model: LanguageModel, stream: Stream, places: np.ndarray) -> np.ndarray:
    """(rows, time) losses in nats of windows of the stream."""
    ids, reset = stream.ids[places], _resets(stream, places)
    state = model.initial_state(len(ids), start=False)
    parts = []
    for first in range(0, ids.shape[1], WINDOW):
        part, resets = (_tensor(array[:, first : first + WINDOW], model) for array in (ids, reset))
        found, state = model.log_probs(part, state, reset=resets if bool(resets.any()) else None)
        parts.append(-found.cpu().double().numpy())
    return np.concatenate(parts, 1)


@torch.no_grad()
def _target_losses(model: LanguageModel, ids: np.ndarray, reset: np.ndarray) -> np.ndarray:
    """(rows,) losses in nats of the last of ids (rows, time), without distributions for the others."""
    tokens, resets = _tensor(ids, model), _tensor(reset, model)
    state, begun = model.initial_state(len(ids), start=False), model.initial_state(len(ids))
    anew = set(reset.nonzero()[1].tolist())
    for t in range(ids.shape[1]):
        if t in anew:
            state = states.where(resets[:, t], begun, state)
        if t < ids.shape[1] - 1:
            state = model.advance(tokens[:, t], state)
    found = model.next_log_probs(state).gather(1, tokens[:, -1:])[:, 0]
    return -found.cpu().double().numpy()


def _tensor(array: np.ndarray, model: LanguageModel) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(model.device)
