"""The probabilities of words and lines as strings, which models with different tokenizers can be compared and mixed by.

By line, the event is the raw line, and its probability 2^-bits of the line's code (`line_code.LineCoder`): over all
lines that may follow a text, these sum to at most 1.

By word, the events of a line are its words, then its end. After the words before it, a word has the probability that
the line goes on with exactly this word: that its tokens follow, and then a token that begins a word, or `</s>`
(Pimentel and Meister, 2024). The end has the probability of `</s>`. Over all words and the end, these sum to at
most 1, because

- a word has the same tokens after any words, so what was before it is known;
- the tokens of two words are different, unless a token is unknown, whose spelling then has a probability;
- only a word's first token can begin a word, so no word begins with another one.

A line that breaks one of these rules, or has other white space than single spaces between words, is one event, as
by line. `WHOLE` is the log-probability that a line is such a one, and `REGULAR` that it is not, with which the sum over
all lines stays at most 1. White space costs nothing in a regular line, where it is known.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lmkit.contracts import Encoding, LanguageModel, Tokenizer
from lmkit.corpus.readers import Line
from lmkit.corpus.words import WHITE_SPACE
from lmkit.errors import UsageError
from lmkit.scoring.line_code import LineCoder
from lmkit.scoring.measured_lines import RawLine, measured_lines
from lmkit.scoring.stream import LOG_PROB, WINDOW, Measure

EVENTS = ("word", "line")
"""What may be an event."""
WHOLE = -16 * math.log(2)
REGULAR = math.log1p(-math.exp(WHOLE))
BEFORE = "a"
"""A word before the one whose tokens inside a line are looked up."""
MOST_WORDS = 1 << 18
"""Words whose tokens are remembered."""


@dataclass(frozen=True)
class StringScore:
    """Natural log-probabilities of a line, or of a piece of a very long one.

    words: (words + 1,) of each word and the end; None if the line is one event. whole: of the line as one event.
    By word, the last of `words` includes `REGULAR`, and `whole` includes `WHOLE`.
    """

    line: RawLine
    words: np.ndarray | None
    whole: float


def string_scores(
    model: LanguageModel,
    tokenizer: Tokenizer,
    text: Iterable[Line],
    by: str,
    *,
    batch_size: int = 32,
    window: int = WINDOW,
    independent: bool = False,
) -> Iterator[StringScore]:
    """The log-probabilities of each line of a text as strings.

    by: "word" or "line". tokenizer: the run's own, which splits no unknown words. independent: score each line by
    itself, whatever the model's reset policy. Raises UsageError for a tokenizer whose words have no probabilities.
    """
    coder, words = LineCoder(tokenizer), WordTokens(tokenizer) if by == "word" else None
    for line, encoding, figures in measured_lines(
        model, tokenizer, text,
        measure=LOG_PROB if words is None else words.measure(),
        batch_size=batch_size, window=window, independent=independent,
    ):  # fmt: skip
        code = coder.code(line, encoding.ids, figures[:, 0])
        whole = float(code.tokens.sum()) * -math.log(2)
        if words is None:
            yield StringScore(line, None, whole)
            continue
        firsts = words.firsts(line, encoding.ids)
        found = None if firsts is None else _word_scores(coder, line.text, encoding.ids, figures, firsts)
        yield StringScore(line, found, whole + WHOLE)


def _word_scores(
    coder: LineCoder, text: str, ids: np.ndarray, figures: np.ndarray, firsts: np.ndarray
) -> np.ndarray:
    """(words + 1,) natural log-probabilities of the words of a regular line, and its end."""
    tokenizer = coder.tokenizer
    unknown = np.flatnonzero(ids == tokenizer.vocabulary.unk_id)
    bits = coder.model_bits(figures[:, 0], unknown)
    if len(unknown):
        bits[unknown] += tokenizer.spelling_bits(text, ids)
    found = np.add.reduceat(bits, firsts) * -math.log(2)
    if figures.shape[1] > 1:
        # The mass of the tokens that end a word is its last factor, and divides the first one of the next word.
        masses = figures[firsts[1:], 1] + math.log1p(-(tokenizer.novelty or 0.0))
        impossible = found == -math.inf
        found[:-1] += masses
        with np.errstate(invalid="ignore"):
            found[1:] -= masses
        found[impossible] = -math.inf
    found[-1] += REGULAR
    return found


def mixed(scores: Sequence[StringScore], log_weights: np.ndarray) -> np.ndarray:
    """(events,) log-probabilities of a line under a mixture: of its words and its end, or of the line alone.

    scores: the line's, of each part.
    """
    return np.logaddexp.reduce(events(scores) + log_weights[:, None], axis=0)


def events(scores: Sequence[StringScore]) -> np.ndarray:
    """(parts, events) log-probabilities of a line: by word if it is regular under each part's tokenizer."""
    words = [score.words for score in scores if score.words is not None]
    return np.stack(words) if len(words) == len(scores) else np.array([[score.whole] for score in scores])


class WordTokens:
    """The tokens of words under a tokenizer, and the lines that are made of them.

    Raises UsageError for a tokenizer whose words have no probabilities.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        vocabulary = tokenizer.vocabulary
        if tokenizer.unit == "token":
            raise UsageError(
                f"the tokenizer {type(tokenizer).__name__} does not say how probable a word is as a string; use "
                "--by line, whose probabilities every tokenizer has"
            )
        self._tokenizer = tokenizer
        self._spells_unknown = type(tokenizer).spelling_bits is not Tokenizer.spelling_bits
        self._starts: np.ndarray | None = None
        if tokenizer.unit == "piece":
            starts = tokenizer.word_starts()
            self._starts = None if starts is None else starts.numpy()
        elif tokenizer.unit in ("char", "byte"):
            self._starts = np.zeros(vocabulary.size, bool)
            space = tokenizer.ids(" ")
            self._starts[space[space != vocabulary.unk_id]] = True
        self._known: dict[tuple[str, bool], np.ndarray | None] = {}

    def measure(self) -> Measure:
        """The figures that a model computes: the log-probability, and the mass of tokens that end a word."""
        if self._starts is None:
            return LOG_PROB
        import torch

        from lmkit.scoring.whole_rows import WholeRows

        return WholeRows(torch.from_numpy(self._starts), self._tokenizer.vocabulary.eos_id)

    def firsts(self, line: RawLine, ids: np.ndarray) -> np.ndarray | None:
        """(words + 1,) the first token of each word and the place of `</s>`; None if the line is not regular."""
        if line.inside or line.continues:
            return None
        words = line.text.split(" ") if line.text else []
        tokens = [self._tokens(word, place == 0) for place, word in enumerate(words)]
        known = [row for row in tokens if row is not None]
        if len(known) < len(words) or not np.array_equal(np.concatenate([*known, ids[:0]]), ids):
            return None
        return np.cumsum([0, *map(len, known)])

    def _tokens(self, word: str, first: bool) -> np.ndarray | None:
        """The tokens of a word, which begins the line or follows a space; None if it breaks a rule."""
        key = (word, first)
        if key not in self._known:
            if len(self._known) >= MOST_WORDS:
                self._known.clear()
            self._known[key] = self._look_up(word, first)
        return self._known[key]

    def _look_up(self, word: str, first: bool) -> np.ndarray | None:
        if not word or any(c in WHITE_SPACE for c in word):
            return None
        text = word if first else f"{BEFORE} {word}"
        encoding = self._tokenizer.encode(text)
        skipped = np.zeros(0, np.int32) if first else self._tokenizer.ids(BEFORE)
        tokens = encoding.ids[len(skipped) :]
        if not np.array_equal(encoding.ids[: len(skipped)], skipped) or not len(tokens):
            return None
        if self._starts is None:
            one_word = len(tokens) == 1
        else:
            marked = self._starts[tokens]
            one_word = not marked[1:].any() and (first or bool(marked[0]))
        return tokens if one_word and self._spells(text, encoding) else None

    def _spells(self, text: str, encoding: Encoding) -> bool:
        """Whether the tokens are those of this text only, given the spellings of unknown ones."""
        unknown = encoding.ids == self._tokenizer.vocabulary.unk_id
        if unknown.any() and not self._spells_unknown:
            return False
        letters = list(text)
        for start, end in encoding.spans[unknown].tolist():
            letters[start:end] = ["\ufffd", *[""] * (end - start - 1)]
        return self._tokenizer.decode(encoding.ids.tolist()) == "".join(letters)
