"""Group the tokens of a line into units: tokens, words, characters, the line, or given spans."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from lmkit.contracts import Encoding, Tokenizer
from lmkit.corpus.words import WHITE_SPACE
from lmkit.errors import DataError, UsageError
from lmkit.scoring.split_words import SplitWords

CHARACTERWISE = ("char", "byte")
"""The units whose tokens are characters or parts of one, including white space."""
_IS_SPACE = np.zeros(0x110000, bool)
_IS_SPACE[[ord(c) for c in WHITE_SPACE]] = True


@dataclass(frozen=True)
class Units:
    """The tokens and characters of each unit of a line.

    first, last: (units,) tokens [first, last); token n of a line of n is its `</s>`.
    start, end: (units,) characters [start, end) of the raw line.
    corrected: (units,) bool, whether to divide by the mass of beginnings at the unit's start; only for consecutive
    units; None if nowhere.
    given: (units,) the place of each among the given spans; None for other units.
    by_token: whether the units are the line's tokens and `</s>`, one by one.
    """

    first: np.ndarray
    last: np.ndarray
    start: np.ndarray
    end: np.ndarray
    corrected: np.ndarray | None = None
    given: np.ndarray | None = None
    by_token: bool = False

    def taken(self, which: np.ndarray) -> "Units":
        """The units for which `which` (units,) is true."""
        corrected = None if self.corrected is None else self.corrected[which]
        return Units(self.first[which], self.last[which], self.start[which], self.end[which], corrected)


Cut = Callable[[int, str, Encoding], Units]
"""Maps a line's number, text and encoding to its units."""


def cut_tokens(number: int, text: str, encoding: Encoding) -> Units:
    """One unit per token, including `</s>`."""
    places = np.arange(len(encoding.ids) + 2)
    spans = encoding.spans
    start, end = _with_last(spans[:, 0], len(text)), _with_last(spans[:, 1], len(text))
    return Units(places[:-1], places[1:], start, end, by_token=True)


def cut_line(number: int, text: str, encoding: Encoding) -> Units:
    """One unit, including the line's `</s>`."""
    zero = np.zeros(1, np.int64)
    return Units(zero, zero + len(encoding.ids) + 1, zero, zero + len(text))


def cut_characters(number: int, text: str, encoding: Encoding) -> Units:
    """One unit per character: the bytes of a character share its span."""
    starts = encoding.spans[:, 0]
    return _tiled(np.flatnonzero(np.diff(starts, prepend=-1)), text, encoding)


class WordCut:
    """One unit per word.

    With a tokenizer that marks beginnings, a word begins with a marked piece. A space that is a separate piece
    begins the next word if that follows without a space, and else belongs to the previous word. With a tokenizer of
    characters, all white space belongs to the previous word. At a line's beginning it belongs to the first word.
    Any other tokenizer has one token per word, except for words split as unknown, whose pieces are one word. The
    spans of words exclude white space.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        starts = tokenizer.word_starts()
        self._marked = None if starts is None else starts.numpy()
        self._one_each = starts is None and tokenizer.unit not in CHARACTERWISE
        self._in_pieces = isinstance(tokenizer, SplitWords)
        if self._marked is not None:
            self._blank = self._marked.copy()
            for piece in np.flatnonzero(self._marked).tolist():
                self._blank[piece] = not tokenizer.decode([piece]).strip(WHITE_SPACE)

    def __call__(self, number: int, text: str, encoding: Encoding) -> Units:
        if self._in_pieces:
            apart = encoding.spans[1:, 0] > encoding.spans[:-1, 1]
            if apart.all():
                return cut_tokens(number, text, encoding)
            return _tiled(np.flatnonzero(np.append(True, apart)), text, encoding)
        if self._one_each:
            return cut_tokens(number, text, encoding)
        if self._marked is None:
            codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
            gap = _IS_SPACE[codes[encoding.spans[:, 0]]]
            begins = np.append(False, gap)[:-1]
        else:
            begins = self._marked[encoding.ids]
            gap = self._blank[encoding.ids] & np.append(begins, True)[1:]
        units = _trimmed(_tiled(_word_firsts(begins, gap), text, encoding), text)
        if self._marked is None:
            return units
        # Any piece may begin a line: there is no mass to divide by.
        return Units(units.first, units.last, units.start, units.end, units.first > 0)


class SpanCut:
    """Given units: (line from 1, start, end), characters of the raw row.

    A span has the tokens that begin in it, ignoring white space at the start of a token.
    Raises DataError for a span that is empty, outside its line, or cuts a token.
    """

    def __init__(self, spans: Iterable[tuple[int, int, int]]) -> None:
        self._spans: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        for place, (line, start, end) in enumerate(spans):
            if line < 1 or not 0 <= start < end:
                raise DataError(
                    f"span {start}-{end} of line {line} is invalid: lines count from 1, and start must be before end"
                )
            self._spans[line].append((start, end, place))
        if not self._spans:
            raise DataError("there are no spans; give at least one line, start and end")

    def __call__(
        self, number: int, text: str, encoding: Encoding, at: int = 0, continues: bool = False
    ) -> Units:
        """at: the offset of the line, or piece, in its row. continues: later spans may be in the next piece."""
        spans = self._spans.pop(number, [])
        if continues and (later := [span for span in spans if span[0] >= at + len(text)]):
            spans = [span for span in spans if span not in later]
            self._spans[number] = later
        wanted = [(start - at, end - at) for start, end, _ in spans]
        cores = cores_of(text, encoding.spans) if wanted else encoding.spans
        tokens = [self._tokens(number, text, cores, start, end, at) for start, end in wanted]
        first, last = np.array(tokens, np.int64).reshape(-1, 2).T
        start, end = np.array(wanted, np.int64).reshape(-1, 2).T
        return Units(first, last, start, end, given=np.array([place for _, _, place in spans], np.int64))

    def check_all_used(self, num_lines: int) -> None:
        """Raise DataError when the text has ended before a span's line."""
        if self._spans:
            line = min(self._spans)
            start, end, _ = self._spans[line][0]
            raise DataError(
                f"span {start}-{end} of line {line}: the text has {num_lines} lines; check the file of spans"
            )

    @staticmethod
    def _tokens(
        number: int, text: str, cores: np.ndarray, start: int, end: int, line_start: int
    ) -> tuple[int, int]:
        """The tokens [first, last) of a span."""
        where = f"span {start + line_start}-{end + line_start} of line {number}"
        if start < 0:
            raise DataError(f"{where}: the line begins at {line_start} of its row; check the file of spans")
        if end > len(text):
            ends = (
                f"ends at {line_start + len(text)} of its row"
                if line_start
                else f"has {len(text)} characters"
            )
            raise DataError(f"{where}: the line {ends}; check the file of spans")
        for at in (start, end):
            cut = np.flatnonzero((cores[:, 0] < at) & (at < cores[:, 1]))
            if len(cut):
                a, b = cores[cut[0]].tolist()
                raise DataError(
                    f"{where} ends inside the token {text[a:b]!r} ({a}-{b}), whose parts have no probability; "
                    "widen the span, or use a model of characters or bytes"
                )
        inside = np.flatnonzero((cores[:, 0] >= start) & (cores[:, 1] <= end) & (cores[:, 0] < end))
        if not len(inside):
            raise DataError(f"no token begins in {where} ({text[start:end]!r}); leave it out")
        return int(inside[0]), int(inside[-1]) + 1


def make_cut(by: str, tokenizer: Tokenizer, spans: Iterable[tuple[int, int, int]] | None) -> Cut:
    """The function that divides lines into the units `by`; UsageError if the tokenizer does not support them."""
    if (by == "span") != (spans is not None):
        raise UsageError("spans and --by span go together: give both (--by span --spans FILE) or neither")
    if spans is not None:
        return SpanCut(spans)
    if by in ("word", "region"):
        return WordCut(tokenizer)
    if by == "char" and tokenizer.unit not in CHARACTERWISE:
        raise UsageError(
            "--by char needs a model whose tokens are at most one character (--tokenizer char or byte when it is "
            "trained); this one's are longer: --by token, or --by span --spans FILE"
        )
    cuts: dict[str, Cut] = {"token": cut_tokens, "char": cut_characters, "line": cut_line}
    if by not in cuts:
        raise UsageError(f"there is no unit '{by}'; known: word, token, char, line, span, region")
    return cuts[by]


def _tiled(firsts: np.ndarray, text: str, encoding: Encoding) -> Units:
    """Units that begin at the tokens `firsts` and reach to the next, then `</s>` as a separate one."""
    count = len(encoding.ids)
    first = _with_last(firsts, count)
    last = _with_last(first[1:], count + 1)
    start = _with_last(encoding.spans[firsts, 0], len(text))
    end = _with_last(encoding.spans[last[:-1] - 1, 1], len(text))
    return Units(first, last, start, end)


def _with_last(values: np.ndarray, last: int) -> np.ndarray:
    """`np.append` of a number to int64, in a third of the time."""
    extended = np.empty(len(values) + 1, np.int64)
    extended[:-1] = values
    extended[-1] = last
    return extended


def _word_firsts(begins: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """The tokens that begin a word, given the marked tokens and those of white space between words."""
    begins = begins & ~gap
    # White space at a line's beginning belongs to the first word.
    leading = int((~gap).argmax()) if len(gap) else 0
    begins[: leading + 1] = False
    begins[:1] = True
    return np.flatnonzero(begins)


def _trimmed(units: Units, text: str) -> Units:
    """The same units with spans without white space, unless they have nothing else."""
    spans = np.stack([units.start, units.end], 1)
    spans = cores_of(text, spans, both=True)
    return Units(units.first, units.last, spans[:, 0], spans[:, 1])


def cores_of(text: str, spans: np.ndarray, *, both: bool = False) -> np.ndarray:
    """(n, 2) spans without their leading (both: and trailing) white space; spans of only white space are unchanged."""
    cores = []
    for start, end in spans.tolist():
        piece = text[start:end]
        rest = piece.lstrip(WHITE_SPACE)
        if rest:
            start = end - len(rest)
            end = start + len(rest.rstrip(WHITE_SPACE)) if both else end
        cores.append((start, end))
    return np.array(cores, np.int64).reshape(-1, 2)
