"""SyntaxGym suites: compare the surprisals of regions of sentences as a suite's predictions say."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, groupby, islice
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any

from lmkit import strict_json
from lmkit.contracts import LanguageModel, Tokenizer
from lmkit.corpus.lines import Line, Part
from lmkit.corpus.words import WHITE_SPACE, count_words
from lmkit.errors import DataError, reason_of
from lmkit.evaluation.formulas import Formula
from lmkit.evaluation.parts import RegionError
from lmkit.evaluation.row_layout import sentence_of
from lmkit.evaluation.surprisal import surprisals

STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "median": median,
    "range": lambda values: max(values) - min(values),
    "max": max,
    "min": min,
}
METRICS = ("sum", "mean", *STATISTICS)
"""The value of a region: of the surprisals of its words, those between white space. A region without words has 0."""

_WORD = re.compile(f"[^{re.escape(WHITE_SPACE)}]+")

COLUMNS: dict[str, type] = {
    "run": str,
    "suite": str,
    "item": str,
    "condition": str,
    "region_number": int,
    "region": str,
    "content": str,
    "surprisal": float,
    "words": int,
    "oov": bool,
}
"""The columns of a row for a region, and their types."""


@dataclass(frozen=True)
class Sentence:
    """A condition of an item. regions: number and content of each, in the order of their numbers."""

    item: str
    condition: str
    regions: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Suite:
    """A suite of tests (Gauthier et al., 2020). names: of regions, by number. sentences: item after item."""

    name: str
    metric: str
    names: Mapping[int, str]
    formulas: tuple[Formula, ...]
    sentences: tuple[Sentence, ...]

    @cached_property
    def items(self) -> tuple[str, ...]:
        """The different items, in order."""
        return tuple(dict.fromkeys(sentence.item for sentence in self.sentences))


@dataclass(frozen=True)
class RegionScore:
    """A region under a model: its surprisal in bits, number of words, and whether it has an unknown token.

    by_word: the surprisal of each word, for the metrics STATISTICS; empty for the others.
    """

    surprisal: float
    words: int
    oov: bool
    by_word: tuple[float, ...] = ()


@dataclass(frozen=True)
class SuiteResult:
    """A model's results on a suite.

    scores: (sentences) those of each sentence's regions. holds: (items) whether each prediction holds; None if a
    value is not a number.
    """

    suite: Suite
    scores: tuple[tuple[RegionScore, ...], ...]
    holds: tuple[tuple[bool | None, ...], ...]

    def accuracy(self, prediction: int | None = None) -> tuple[float | None, float | None]:
        """Percent of items for which a prediction holds, or all of them, and its standard error; None if unknown."""
        found = [
            None if None in own else all(own)
            for own in (self.holds if prediction is None else [(one[prediction],) for one in self.holds])
        ]
        number = len(found)
        if None in found:
            return None, None
        share = sum(map(bool, found)) / number
        error = math.sqrt(share * (1 - share) / (number - 1)) if number > 1 else None
        return 100 * share, None if error is None else 100 * error

    @property
    def unknown(self) -> int:
        """The number of items with an unknown token in any sentence."""
        pairs = zip(self.suite.sentences, self.scores, strict=True)
        return len({sentence.item for sentence, scores in pairs if any(score.oov for score in scores)})

    def rows(self, run: str) -> Iterator[dict[str, Any]]:
        """A row for each region, with the columns COLUMNS."""
        for sentence, scores in zip(self.suite.sentences, self.scores, strict=True):
            for (number, content), score in zip(sentence.regions, scores, strict=True):
                yield {
                    "run": run,
                    "suite": self.suite.name,
                    "item": sentence.item,
                    "condition": sentence.condition,
                    "region_number": number,
                    "region": self.suite.names.get(number, ""),
                    "content": content,
                    "surprisal": None if math.isnan(score.surprisal) else score.surprisal,
                    "words": score.words,
                    "oov": score.oov,
                }


def evaluate_suite(model: LanguageModel, tokenizer: Tokenizer, suite: Suite) -> SuiteResult:
    """Score every sentence of a suite by itself, and apply the predictions to each item.

    A region has the surprisal of its words, given the regions before it; the end of the sentence is in no region.
    """
    scores = _scores(model, tokenizer, suite)
    values: dict[str, dict[tuple[int | None, str], float]] = {item: {} for item in suite.items}
    for sentence, found in zip(suite.sentences, scores, strict=True):
        own = values[sentence.item]
        for (number, _), score in zip(sentence.regions, found, strict=True):
            own[number, sentence.condition] = _value(score, suite.metric)
        own[None, sentence.condition] = sum(_value(score, suite.metric) for score in found)
    holds = tuple(tuple(formula.holds(values[item]) for formula in suite.formulas) for item in suite.items)
    return SuiteResult(suite, scores, holds)


def _scores(model: LanguageModel, tokenizer: Tokenizer, suite: Suite) -> tuple[tuple[RegionScore, ...], ...]:
    """(sentences) those of each sentence's regions; DataError names a region that cannot be scored."""
    regions = [(sentence, number) for sentence in suite.sentences for number, _ in sentence.regions]
    firsts = accumulate((len(sentence.regions) for sentence in suite.sentences), initial=0)
    lines = [
        sentence_of([content for _, content in sentence.regions], first)
        for sentence, first in zip(suite.sentences, firsts, strict=False)
    ]
    by_word = suite.metric in STATISTICS
    if by_word:
        lines = [_in_words(line) for line in lines]
    try:
        found = list(surprisals(model, tokenizer, lines, "region", independent=True))
    except RegionError as error:
        sentence, number = regions[error.row]
        where = f"item {sentence.item}, condition '{sentence.condition}', region {number}"
        raise DataError(f"suite {suite.name}: {where}: {error.problem}") from None
    rows = [part.row for line in lines for part in line.parts]
    pairs = groupby(zip(rows, found, strict=True), key=itemgetter(0))
    scores = iter([_score([one.columns for _, one in pair], by_word) for _, pair in pairs])
    return tuple(tuple(islice(scores, len(sentence.regions))) for sentence in suite.sentences)


def _in_words(line: Line) -> Line:
    """A sentence whose parts are the words of its regions, or a region without words."""
    parts: list[Part] = []
    for part in line.parts:
        words = [match.span() for match in _WORD.finditer(line.text, part.start, part.end)]
        parts += [replace(part, start=start, end=end) for start, end in words] or [part]
    return replace(line, parts=tuple(parts))


def _score(records: Sequence[Mapping[str, Sequence[Any]]], by_word: bool) -> RegionScore:
    """That of a region with one record, or one for each word."""
    values = [columns["surprisal"][0] for columns in records]
    texts = [columns["text"][0].encode("utf-8", "surrogatepass") for columns in records]
    words = sum(map(count_words, texts))
    oov = any(columns["oov"][0] for columns in records)
    return RegionScore(math.fsum(values), words, oov, tuple(values) if by_word and words else ())


def _value(score: RegionScore, metric: str) -> float:
    if metric in STATISTICS:
        if any(map(math.isnan, score.by_word)):
            return math.nan
        return STATISTICS[metric](score.by_word) if score.by_word else 0.0
    return score.surprisal / max(score.words, 1) if metric == "mean" else score.surprisal


def read_suite(path: Path) -> Suite:
    """The suite in a JSON file of SyntaxGym.

    Raises DataError that names the item, condition and region of a mistake, also for a region that a prediction needs
    and an item lacks.
    """
    try:
        table = strict_json.read(path)
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: not a suite in JSON ({reason_of(error)}); give a SyntaxGym suite") from None
    return _Reading(path).suite(table)


class _Reading:
    """Reads the tables of a suite; errors begin with the path of the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def suite(self, table: Any) -> Suite:
        meta = self._get(table, "meta", dict, "the suite")
        name = str(meta.get("name") or self._path.stem)
        metric = meta.get("metric", "sum")
        if metric not in METRICS:
            raise self._error(f"the metric of 'meta' is {metric!r}; known are {', '.join(METRICS)}")
        sentences = [
            sentence
            for place, item in enumerate(self._get(table, "items", list, "the suite"), 1)
            for sentence in self._item(item, place)
        ]
        formulas = [
            self._formula(one, place)
            for place, one in enumerate(self._get(table, "predictions", list, "the suite"), 1)
        ]
        if not sentences or not formulas:
            raise self._error("the suite has no items or no predictions")
        found = Suite(name, metric, self._names(table), tuple(formulas), tuple(sentences))
        self._check(found)
        return found

    def _names(self, table: dict[str, Any]) -> dict[int, str]:
        given = table.get("region_meta") or {}
        if not isinstance(given, dict) or not all(number.isdecimal() for number in given):
            raise self._error("'region_meta' does not map numbers of regions to names")
        return {int(number): str(name) for number, name in given.items()}

    def _item(self, item: Any, place: int) -> Iterator[Sentence]:
        number = self._get(item, "item_number", (int, str), f"item {place} of the file")
        where = f"item {number}"
        for condition in self._get(item, "conditions", list, where):
            name = self._get(condition, "condition_name", str, f"a condition of {where}")
            inside = f"{where}, condition '{name}'"
            regions: dict[int, str] = {}
            for region in self._get(condition, "regions", list, inside):
                region_number = self._get(region, "region_number", int, f"a region of {inside}")
                content = self._get(region, "content", str, f"{inside}, region {region_number}")
                if region_number in regions:
                    raise self._error(f"{inside}, region {region_number}: it is given twice")
                regions[region_number] = content
            yield Sentence(str(number), name, tuple(sorted(regions.items())))

    def _formula(self, table: Any, place: int) -> Formula:
        where = f"prediction {place}"
        kind = self._get(table, "type", str, where)
        if kind != "formula":
            raise self._error(f"{where}: its type is '{kind}'; known is 'formula'")
        try:
            return Formula(self._get(table, "formula", str, where))
        except DataError as error:
            raise DataError(f"{self._path}: {where}: {error}") from None

    def _check(self, suite: Suite) -> None:
        """Every item has each condition once, with the regions that the predictions need."""
        regions: dict[str, dict[str, set[int]]] = {item: {} for item in suite.items}
        for one in suite.sentences:
            if one.condition in regions[one.item]:
                raise self._error(f"item {one.item}, condition '{one.condition}': it is given twice")
            regions[one.item][one.condition] = {number for number, _ in one.regions}
        for place, formula in enumerate(suite.formulas, 1):
            for number, condition in sorted(formula.regions, key=lambda region: (region[0] or 0, region[1])):
                for item, conditions in regions.items():
                    if condition not in conditions:
                        has = ", ".join(f"'{name}'" for name in conditions)
                        raise self._error(
                            f"item {item}: no condition '{condition}' as in prediction {place}; it has {has}"
                        )
                    if number is not None and number not in conditions[condition]:
                        has = ", ".join(map(str, sorted(conditions[condition])))
                        raise self._error(
                            f"item {item}, condition '{condition}': no region {number} as in prediction {place}; "
                            f"it has {has}"
                        )

    def _get(self, table: Any, name: str, kind: type | tuple[type, ...], where: str) -> Any:
        value = table.get(name) if isinstance(table, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            wanted = " or ".join(_KINDS[one] for one in kinds)
            raise self._error(f"{where}: '{name}' is missing or not {wanted}")
        return value

    def _error(self, problem: str) -> DataError:
        return DataError(f"{self._path}: {problem}; fix the file")


_KINDS = {dict: "an object", list: "a list", str: "a string", int: "a whole number"}
