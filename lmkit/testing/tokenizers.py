"""The rules for tokenizers."""

import math
import tempfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch

from lmkit.contracts import UNITS, Tokenizer
from lmkit.corpus.words import WHITE_SPACE
from lmkit.plugins import Part
from lmkit.scoring.claims import made_up, variants, violation
from lmkit.testing.rules import RuleBook, making
from lmkit.testing.samples import TEXT, UNSEEN, small_options

LINES = TEXT + UNSEEN
LONG = f"{TEXT[0]} " * 500
"""Some tokenizers cut lines at a number of tokens, often 512."""
PROBE = "ab cd e"
WHOLE = {
    "word": [[0, 2], [3, 5], [6, 7]],
    "char": [[place, place + 1] for place in range(len(PROBE))],
    "byte": [[place, place + 1] for place in range(len(PROBE))],
}
"""The characters of each token of PROBE, by unit."""


@dataclass(frozen=True)
class Text:
    """A fitted tokenizer, and the lines that it reads; none where a rule reads none, or always the same."""

    tokenizer: Tokenizer = field(repr=False)
    lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        if len(self.lines) == 1:
            return f"the line {self.lines[0]!r}"
        return f"{len(self.lines)} lines, the first {self.lines[0]!r}" if self.lines else ""

    def smaller(self) -> Iterator[Self]:
        """Each line alone; of one line, parts of it."""
        if len(self.lines) > 1:
            yield from (replace(self, lines=(line,)) for line in self.lines)
        elif self.lines:
            (line,) = self.lines
            size = len(line)
            while size:
                for start in range(0, len(line), size):
                    yield replace(self, lines=(line[:start] + line[start + size :],))
                size //= 2

    @property
    def raw(self) -> bytes:
        """The lines as a block."""
        return "\n".join(self.lines).encode()


def fitted(part: Part) -> Tokenizer:
    """The part's tokenizer, fitted from an iterator on the small text (repeated, since trainers need some text)."""
    with making():
        return part.load().fit(iter(TEXT * 20), small_options(part))


def no_lines(part: Part) -> list[Text]:
    """A tokenizer for a rule without lines."""
    return [Text(fitted(part))]


def all_lines(part: Part) -> list[Text]:
    """A tokenizer and difficult lines, some of them with words and characters that it has not seen."""
    return [Text(fitted(part), LINES)]


RULES = RuleBook(all_lines)


@RULES(
    "set self.vocabulary to Vocabulary(size, eos_id, unk_id, fingerprint), with ids below size and unk_id None or "
    "different from eos_id",
    about=("__init__", "fit"),
    cases=no_lines,
)
def check_vocabulary(part: Part, text: Text) -> None:
    """The vocabulary has a size, valid ids of `</s>` and of the unknown token, and a fingerprint."""
    vocabulary = text.tokenizer.vocabulary
    assert vocabulary.size > 0, f"its size is {vocabulary.size}"
    assert 0 <= vocabulary.eos_id < vocabulary.size, f"eos_id {vocabulary.eos_id} is not in it"
    if vocabulary.unk_id is not None:
        assert 0 <= vocabulary.unk_id < vocabulary.size, f"unk_id {vocabulary.unk_id} is not in it"
        assert vocabulary.unk_id != vocabulary.eos_id, "unk_id is eos_id"
    assert isinstance(vocabulary.fingerprint, str), "the fingerprint is not a string"
    assert vocabulary.fingerprint, "the fingerprint is empty"


@RULES(
    "return ids as np.array(..., np.int32), each below vocabulary.size, without `</s>`, which lmkit adds",
    about=("encode", "ids"),
)
def check_ids(part: Part, text: Text) -> None:
    """Ids are int32, in the vocabulary and never `</s>`; `ids` gives the same as `encode`."""
    vocabulary = text.tokenizer.vocabulary
    for line in text.lines:
        ids = text.tokenizer.encode(line).ids
        assert ids.dtype == np.int32, f"the ids are {ids.dtype}, not int32"
        assert ids.ndim == 1, f"the ids have the shape {ids.shape}"
        inside = (ids >= 0) & (ids < vocabulary.size) & (ids != vocabulary.eos_id)
        assert inside.all(), f"the ids have {ids[~inside][0]}; the vocabulary has {vocabulary.size}"
        assert np.array_equal(text.tokenizer.ids(line), ids), "ids(line) differs from encode(line).ids"


@RULES("make block_ids give the ids of each line, then `</s>`; or remove it", about=("block_ids",))
def check_block_ids(part: Part, text: Text) -> None:
    """`block_ids` gives the ids of each line followed by `</s>`, and the end of each line."""
    ids, ends = text.tokenizer.block_ids(text.raw)
    assert ids.dtype == np.int32, f"ids are {ids.dtype}, not int32"
    assert len(ends) == len(text.lines), f"{len(text.lines)} lines give {len(ends)} ends"
    for line, found in zip(text.lines, np.split(ids, ends[:-1]), strict=True):
        wanted = [*text.tokenizer.ids(line).tolist(), text.tokenizer.vocabulary.eos_id]
        assert found.tolist() == wanted, f"the ids are {found.tolist()} in a block, {wanted} alone"


@RULES(
    "make block_residual give what residual_bits and spelling_bits give for each line; or remove it",
    about=("block_residual", "residual_bits"),
)
def check_block_residual(part: Part, text: Text) -> None:
    """`block_residual` gives the residual and spelling bits of each line."""
    tokenizer = text.tokenizer
    found = tokenizer.block_residual(text.raw, *tokenizer.block_ids(text.raw))
    assert found.shape == (len(text.lines), 2), f"{len(text.lines)} lines give the shape {found.shape}"
    for line, bits in zip(text.lines, found.tolist(), strict=True):
        ids = tokenizer.ids(line)
        wanted = [tokenizer.residual_bits(line, ids), float(tokenizer.spelling_bits(line, ids).sum())]
        same = np.allclose(bits, wanted, rtol=1e-9, atol=1e-9)
        assert same, f"the bits are {bits} in a block, {wanted} alone"


@RULES(
    'name what a token is (unit = "piece", or "token", which promises nothing), or cut as the unit says',
    about=("encode",),
    cases=no_lines,
)
def check_unit(part: Part, text: Text) -> None:
    """`unit` is one of contracts.UNITS, and tokens of words and characters cover these."""
    unit = text.tokenizer.unit
    assert unit in UNITS, f"it is {unit!r}; it must be one of {', '.join(UNITS)}"
    if unit in WHOLE:
        spans = text.tokenizer.encode(PROBE).spans.tolist()
        assert spans == WHOLE[unit], f"it is {unit!r}, but {PROBE!r} is cut at {spans}, not {WHOLE[unit]}"


@RULES(
    "return one spelling for each id in order, without white space, no two alike",
    about=("symbols",),
    cases=no_lines,
)
def check_symbols(part: Part, text: Text) -> None:
    """`symbols`, if a tokenizer has them: one for each id, without white space, all distinct."""
    tokenizer = text.tokenizer
    if type(tokenizer).symbols is Tokenizer.symbols:
        return
    symbols, vocabulary = tokenizer.symbols(), tokenizer.vocabulary
    assert len(symbols) == vocabulary.size, f"there are {len(symbols)} for {vocabulary.size} ids"
    ordinary = [s for i, s in enumerate(symbols) if i not in (vocabulary.eos_id, vocabulary.unk_id)]
    assert len(set(ordinary)) == len(ordinary), "two ids have one"
    broken = [symbol for symbol in symbols if not symbol or set(symbol) & set(WHITE_SPACE.encode())]
    assert not broken, f"{broken[0]!r} is empty or has white space"


@RULES(
    "return spans as int64 of shape (tokens, 2): for each token the first character of the raw line and the one after "
    "its last, counted in characters, not bytes, from left to right",
    about=("encode",),
)
def check_spans(part: Part, text: Text) -> None:
    """Spans are int64 (tokens, 2), within the line and in ascending order."""
    for line in text.lines:
        encoding = text.tokenizer.encode(line)
        spans = encoding.spans
        assert spans.shape == (len(encoding.ids), 2), (
            f"the spans of {len(encoding.ids)} ids are {spans.shape}"
        )
        assert spans.dtype == np.int64, f"the spans are {spans.dtype}, not int64"
        flat = spans[:, 0] <= spans[:, 1]
        assert flat.all(), f"the span {spans[~flat][0].tolist()} ends before it starts"
        assert (np.diff(spans, axis=0) >= 0).all(), f"the spans go back: {spans.tolist()}"
        inside = spans.min(initial=0) >= 0 and spans.max(initial=0) <= len(line)
        assert inside, f"the spans {spans.tolist()} are outside the line's {len(line)} characters"


@RULES(
    "give each token the span of the characters that it stands for in the raw line, not in a changed copy of it",
    about=("encode",),
)
def check_span_text(part: Part, text: Text) -> None:
    """The span of a token contains the token's own text, where the line has that text."""
    tokenizer = text.tokenizer
    for line in text.lines:
        encoding = tokenizer.encode(line)
        for index, span in zip(encoding.ids.tolist(), encoding.spans.tolist(), strict=True):
            token = tokenizer.decode([index]).strip()
            # A token may be a stem or the like, a byte, or unknown.
            if token and token in line and "\ufffd" not in token:
                inside = line[slice(*span)]
                found = _folded(token) in _folded(inside)
                assert found, f"the token {token!r} has the span {span}, which is {inside!r}"


@RULES(
    "return no ids for an empty line, and an empty text for no ids",
    about=("encode", "decode"),
    cases=no_lines,
)
def check_empty_line(part: Part, text: Text) -> None:
    """The empty line has no tokens, and no tokens decode to the empty text."""
    ids = text.tokenizer.encode("").ids.tolist()
    assert not ids, f"it has {ids}"
    decoded = text.tokenizer.decode([])
    assert decoded == "", f"decode([]) is {decoded!r}"


@RULES(
    "let decode skip `</s>` and write U+FFFD for the unknown id; declare lossless = False if a line does not come back",
    about=("decode",),
)
def check_decode(part: Part, text: Text) -> None:
    """decode: `</s>` gives nothing, the unknown id U+FFFD, and a lossless tokenizer every line back."""
    tokenizer, vocabulary = text.tokenizer, text.tokenizer.vocabulary
    for line in text.lines:
        ids = tokenizer.encode(line).ids.tolist()
        decoded = tokenizer.decode(ids)
        assert tokenizer.decode([*ids, vocabulary.eos_id]) == decoded, "`</s>` adds text"
        assert decoded == line or not tokenizer.lossless, f"lossless, it comes back as {decoded!r}"
    if vocabulary.unk_id is not None:
        unknown = tokenizer.decode([vocabulary.unk_id])
        assert "\ufffd" in unknown, f"the unknown id gives {unknown!r}"


@RULES(
    "append new tokens after the old ids, at most as many as asked for; only unknown tokens of a line may get new ids",
    about=("extended",),
)
def check_extended(part: Part, text: Text) -> None:
    """`extended`, if a tokenizer has it: old ids and lines stay, and at most as many tokens as wanted are new."""
    tokenizer = text.tokenizer
    if type(tokenizer).extended is Tokenizer.extended:
        return
    before = tokenizer.vocabulary
    more = tokenizer.extended(iter(UNSEEN * 5), small_options(part), 2)
    new_tokens = more.vocabulary.size - before.size
    assert 0 <= new_tokens <= 2, f"{new_tokens} are new, and 2 were asked for"
    assert more.vocabulary.eos_id == before.eos_id, "the id of `</s>` changes"
    assert more.vocabulary.unk_id == before.unk_id, "the id of the unknown token changes"
    for line in text.lines:
        old, new = tokenizer.ids(line), more.ids(line)
        kept = new < before.size
        assert len(old) == len(new), f"there are {len(old)} tokens, then {len(new)}"
        assert np.array_equal(old[kept], new[kept]), "old ids change"
        assert (old[~kept] == before.unk_id).all(), "a known token gets a new id"


@RULES(
    "make decode add the text of each id to the text before it; an incomplete character is U+FFFD until its last byte",
    about=("decode",),
)
def check_growing_text(part: Part, text: Text) -> None:
    """The text of the first ids of a line is a prefix of the text of all, except for U+FFFD at its end."""
    for line in text.lines:
        ids = text.tokenizer.ids(line).tolist()
        whole = text.tokenizer.decode(ids)
        for length in range(len(ids)):
            first = text.tokenizer.decode(ids[:length]).rstrip("\ufffd")
            assert whole.startswith(first), f"{length} ids give {first!r}, all of them {whole!r}"


@RULES("return a finite number of at least 0, and 0 if the tokenizer is lossless", about=("residual_bits",))
def check_residual_bits(part: Part, text: Text) -> None:
    """Residual bits are finite and never negative, and 0 if the tokenizer is lossless."""
    for line in text.lines:
        bits = text.tokenizer.residual_bits(line, text.tokenizer.ids(line))
        assert 0 <= bits < math.inf, f"there are {bits} residual bits"
        assert bits == 0 or not text.tokenizer.lossless, f"lossless, it has {bits} residual bits"


@RULES(
    "pay in residual_bits for all that ids do not say (white space, case, unknown words): lmkit.residual has the "
    "codes; or give different lines different ids",
    about=("residual_bits",),
)
def check_residual_code(part: Part, text: Text) -> None:
    """Residual bits distinguish lines with the same ids: the sum of 2^-bits is at most one."""
    # Otherwise, dropped information would be free, and bits per byte those of an easier text.
    for line in text.lines:
        found = violation(text.tokenizer, variants(text.tokenizer, line), made_up(line))
        assert found is None, str(found)


@RULES("encode the whole line, whatever its length", about=("encode",), cases=no_lines)
def check_long_line(part: Part, text: Text) -> None:
    """A long line is encoded up to its end, or pays for what is cut off."""
    found = violation(text.tokenizer, [f"{LONG}{word}" for word in TEXT[0].split()])
    tokens = len(text.tokenizer.ids(LONG))
    assert found is None, (
        f"of {len(LONG)} characters, lines that differ in the last word have the same {tokens} ids and cost "
        f"{found.bits[0]:.3g} and {found.bits[1]:.3g} residual bits"
    )


@RULES(
    "write in save all that load needs, ids in the same order, and read it back in load",
    about=("load", "save"),
)
def check_save(part: Part, text: Text) -> None:
    """A saved and loaded tokenizer has the same vocabulary, ids, text and residual bits."""
    with tempfile.TemporaryDirectory() as folder:
        text.tokenizer.save(Path(folder))
        _same(text, part.load().load(Path(folder), small_options(part)))


@RULES("sort what comes from a set or a hash, and seed random numbers, in fit", about=("fit",))
def check_fit_again(part: Part, text: Text) -> None:
    """Two fits on the same lines give the same tokenizer."""
    _same(text, fitted(part))


@RULES("return None, or a torch.bool tensor with one element per id", about=("word_starts",), cases=no_lines)
def check_word_starts(part: Part, text: Text) -> None:
    """word_starts is None or a bool for each token."""
    starts = text.tokenizer.word_starts()
    if starts is not None:
        assert starts.shape == (text.tokenizer.vocabulary.size,), f"its shape is {tuple(starts.shape)}"
        assert starts.dtype == torch.bool, f"its type is {starts.dtype}"


def _folded(text: str) -> str:
    """The text without the differences of case and width, which a tokenizer may drop."""
    return unicodedata.normalize("NFKC", text).casefold()


def _same(text: Text, second: Tokenizer) -> None:
    first = text.tokenizer
    assert first.vocabulary == second.vocabulary, f"{second.vocabulary} is not {first.vocabulary}"
    for line in text.lines:
        ids = first.ids(line)
        old, new = first.decode(ids.tolist()), second.decode(ids.tolist())
        assert new == old, f"its ids give the text {new!r}, not {old!r}"
        again = second.ids(line).tolist()
        assert again == ids.tolist(), f"the ids are {again}, not {ids.tolist()}"
        same = first.residual_bits(line, ids) == second.residual_bits(line, ids)
        assert same, "the residual bits differ"
