"""Surprisal of regions and after prefixes: sums of the words of the whole line, which is scored once."""

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_recurrent.model import RecurrentLanguageModel

from lmkit.contracts import Tokenizer, Vocabulary
from lmkit.corpus.lines import Line
from lmkit.corpus.readers import Text
from lmkit.corpus.words import count_words
from lmkit.errors import DataError, UsageError
from lmkit.evaluation.records import LineRecords
from lmkit.evaluation.row_layout import RowLayout
from lmkit.evaluation.surprisal import surprisals
from lmkit.options import choose

TRAIN = ["the cat sat on the mat", "the dog sat and  ran", "a cat and a dog Zyx, in the café"] * 20
TOKENIZERS = ("word", "char", "byte", "sentencepiece")


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    found = {}
    for name in TOKENIZERS:
        table = {"name": name, **({"vocab_size": 300, "threads": 1} if name == "sentencepiece" else {})}
        chosen = choose("tokenizer", table, "tokenizer")
        found[name] = chosen.load().fit(TRAIN, chosen.options)
    return found


def model(vocabulary: Vocabulary) -> RecurrentLanguageModel:
    """In float64, with distributions that are far from uniform."""
    torch.manual_seed(0)
    table = {"name": "recurrent", "cell": "gru", "hidden_size": 6, "dropout": 0.0, "reset": "line"}
    lm = RecurrentLanguageModel(choose("model", table, "model").options, vocabulary).double().eval()
    with torch.no_grad():
        lm.output.bias.normal_(0, 1)
        for weight in lm.parameters():
            weight.mul_(3)
    return lm


def rows(cells: Sequence[str]) -> list[Line]:
    """The rows of one sentence, which keep their number and the name of the sentence."""
    return [
        Line(cell, len(cell.encode()), count_words(cell.encode()), True, False, number, "", (number, "s"))
        for number, cell in enumerate(cells, 1)
    ]


def scored(tok: Tokenizer, cells: Sequence[str], by: str, **layout) -> list[LineRecords]:
    plan = RowLayout(keep=("number",), sentence=("sentence",), **layout)
    lines = plan.lines(rows(cells))
    found = surprisals(model(tok.vocabulary), tok, lines, by, keep=("number",), prefixed=plan.has_prefix)
    return list(found)


def plain(tok: Tokenizer, text: str, by: str = "word", **wanted) -> list[LineRecords]:
    return list(surprisals(model(tok.vocabulary), tok, Text.from_lines([text]), by, **wanted))


def bits(found: list[LineRecords]) -> list[float]:
    return [bits for records in found for bits in records.columns["surprisal"]]


WORD = st.sampled_from(["the", "cat", "sat", "on", "zorp", "café"])
CELLS = st.lists(st.lists(WORD, max_size=3).map(" ".join), min_size=1, max_size=5).filter(any)


@settings(max_examples=25)
@pytest.mark.parametrize("name", TOKENIZERS)
@given(cells=CELLS, prefix=st.sampled_from(["", "a dog", "zorp "]))
def test_a_region_is_the_sum_of_its_words(tokenizers, name: str, cells: list[str], prefix: str) -> None:
    """Regions are conditioned on the earlier ones, and unknown words stay in their own; a prefix has no record."""
    tok = tokenizers[name]
    text = " ".join([*([prefix.strip()] if prefix else []), *filter(None, cells)])
    words = bits(plain(tok, text))[len(prefix.split()) : -1]
    found = scored(tok, cells, "region", prefix=prefix)
    assert [records.row for records in found] == list(range(1, len(cells) + 1))
    assert [records.columns["text"] for records in found] == [[cell] for cell in cells]
    assert [records.kept for records in found] == [{"number": n} for n in range(1, len(cells) + 1)]
    at = 0
    for cell, value in zip(cells, bits(found), strict=True):
        size = len(cell.split())
        assert value == pytest.approx(math.fsum(words[at : at + size]), rel=1e-9)
        assert (value > 0) == (size > 0)
        at += size


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("by", ["word", "token", "char", "line", "region"])
def test_units_after_a_prefix_are_those_of_the_whole_line(tokenizers, name: str, by: str) -> None:
    """The prefix conditions: the records are the last ones of the whole line, with places in their own row."""
    tok = tokenizers[name]
    if by == "char" and name not in ("char", "byte"):
        return
    cells = ["the cat", "sat zorp"]
    found = scored(tok, cells, by, prefix="a dog and")
    if by in ("line", "region"):
        whole = bits(plain(tok, "a dog and the cat sat zorp"))[3:]
        regions = [math.fsum(whole[:2]), math.fsum(whole[2:4])]
        assert bits(found) == pytest.approx([math.fsum(whole)] if by == "line" else regions, rel=1e-9)
        assert [records.columns["text"] for records in found] == (
            [["the cat sat zorp"]] if by == "line" else [[cell] for cell in cells]
        )
        return
    whole = plain(tok, "a dog and the cat sat zorp", by)[0].columns
    own = [
        value for end, value in zip(whole["end"], whole["surprisal"], strict=True) if end > len("a dog and ")
    ]
    assert bits(found) == pytest.approx(own, rel=1e-9)
    assert [records.row for records in found] == [1, 2]
    for cell, records in zip(cells, found, strict=True):
        columns = records.columns
        for start, end, text in zip(columns["start"], columns["end"], columns["text"], strict=True):
            assert 0 <= start <= end <= len(cell)
            assert text.isspace() or cell[start:end] == text
    assert found[-1].columns["text"][-1] == ""


def test_a_prefix_of_plain_lines(tokenizers) -> None:
    """Without a table each line is a row; the places of later lines of a cell are those of the cell."""
    tok = tokenizers["word"]
    layout = RowLayout(prefix="the")
    lines = [
        Line("cat sat", 7, 2, True, False, 1, "\n"),
        Line("the mat", 7, 2, False, False, 1, ""),
        Line("dog", 3, 1, True, False, 2, ""),
    ]
    found = list(
        surprisals(model(tok.vocabulary), tok, layout.lines(lines), "word", prefixed=True, add=("word",))
    )
    assert [(r.row, r.columns["start"], r.columns["word"]) for r in found] == [
        (1, [0, 4, 7], [1, 2, None]),
        (1, [8, 12, 15], [3, 4, None]),
        (2, [0, 3], [1, None]),
    ]
    by_line = list(surprisals(model(tok.vocabulary), tok, layout.lines(lines), "line", prefixed=True))
    assert [r.columns["text"] for r in by_line] == [["cat sat\nthe mat"], ["dog"]]
    assert bits(by_line) == pytest.approx([math.fsum(bits(found[:2])), math.fsum(bits(found[2:]))])


@pytest.mark.parametrize("name", TOKENIZERS)
def test_spans_after_a_prefix_count_from_the_row(tokenizers, name: str) -> None:
    """A span names characters of the row's own text."""
    tok = tokenizers[name]
    lm = model(tok.vocabulary)
    (line,) = RowLayout(prefix="a dog").lines([Line("the cat sat", 11, 3, True, False, 1)])
    (found,) = surprisals(lm, tok, [line], "span", spans=[(1, 4, 7)], prefixed=True)
    (whole,) = surprisals(lm, tok, Text.from_lines(["a dog the cat sat"]), "span", spans=[(1, 10, 13)])
    assert found.columns == {**whole.columns, "start": [4], "end": [7]}


def test_words_are_numbered_through_a_sentence(tokenizers) -> None:
    """A word keeps its number in every unit that begins in it; the line's end has none."""
    tok = tokenizers["char"]
    layout = RowLayout(sentence=("sentence",), keep=("number",), prefix="so it")
    lm = model(tok.vocabulary)
    for by, wanted in (
        ("word", [[1, 2], [3, None]]),
        ("char", [[1] * 4 + [2] * 4, [3] * 3 + [None]]),
        ("region", [[1], [3]]),
    ):
        lines = layout.lines(rows(["the cat", "sat"]))
        found = surprisals(lm, tok, lines, by, keep=("number",), prefixed=True, add=("word",))
        assert [records.columns["word"] for records in found] == wanted


@pytest.mark.parametrize("name", TOKENIZERS)
def test_entropy_reduction_is_the_difference_of_entropies(tokenizers, name: str) -> None:
    """The entropy before a word minus the one after it, which is the next word's; the line's end has none."""
    tok = tokenizers[name]
    (found,) = plain(tok, "the cat sat", entropy=True, add=("entropy_reduction",))
    entropies = found.columns["entropy"]
    wanted = [a - b for a, b in pairwise(entropies)]
    *reductions, last = found.columns["entropy_reduction"]
    assert reductions == pytest.approx(wanted)
    assert last is None
    alone = plain(tok, "the cat sat", add=("entropy_reduction",))[0].columns
    assert "entropy" not in alone
    assert alone["entropy_reduction"] == found.columns["entropy_reduction"]


def test_a_region_that_cuts_a_token_is_refused(tokenizers) -> None:
    """Parts of a token have no probability; characters have one."""
    message = r"row 2: it begins inside 'thecat', .*--by token"
    for by in ("region", "word"):
        with pytest.raises(DataError, match=message):
            scored(tokenizers["word"], ["the", "cat"], by, separator="")
    found = scored(tokenizers["char"], ["the", "cat"], "region", separator="")
    chars = bits(plain(tokenizers["char"], "thecat", "char"))
    assert bits(found) == pytest.approx([math.fsum(chars[:3]), math.fsum(chars[3:6])])


def test_regions_need_sentences(tokenizers) -> None:
    """A plain line has no regions."""
    with pytest.raises(UsageError, match="RowLayout"):
        plain(tokenizers["word"], "the cat", "region")


def test_a_sentence_without_text_has_regions_without_bits(tokenizers) -> None:
    """Every row keeps its record."""
    for name in TOKENIZERS:
        found = scored(tokenizers[name], ["", " "], "region")
        assert bits(found) == [0.0, 0.0]
