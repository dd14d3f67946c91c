"""The rules for tokenizers."""

import math
import tempfile
from pathlib import Path

import numpy as np
import torch

from lmkit.contracts import UNITS, Tokenizer
from lmkit.corpus.words import WHITE_SPACE
from lmkit.plugins import Part
from lmkit.scoring.claims import made_up, variants, violation
from lmkit.testing.samples import TEXT, UNSEEN, small_options

LINES = TEXT + UNSEEN
PROBE = "ab cd e"
WHOLE = {
    "word": [[0, 2], [3, 5], [6, 7]],
    "char": [[place, place + 1] for place in range(len(PROBE))],
    "byte": [[place, place + 1] for place in range(len(PROBE))],
}
"""The characters of each token of PROBE, by unit."""


def fitted(part: Part) -> Tokenizer:
    """The part's tokenizer, fitted from an iterator on the small text (repeated, since trainers need some text)."""
    return part.load().fit(iter(TEXT * 20), small_options(part))


def check_vocabulary(part: Part) -> None:
    """The vocabulary has a size, valid ids of `</s>` and of the unknown token, and a fingerprint."""
    vocabulary = fitted(part).vocabulary
    assert vocabulary.size > 0, f"its size is {vocabulary.size}"
    assert 0 <= vocabulary.eos_id < vocabulary.size, f"eos_id {vocabulary.eos_id} is not in it"
    if vocabulary.unk_id is not None:
        assert 0 <= vocabulary.unk_id < vocabulary.size, f"unk_id {vocabulary.unk_id} is not in it"
        assert vocabulary.unk_id != vocabulary.eos_id, "unk_id is eos_id"
    assert isinstance(vocabulary.fingerprint, str), "the fingerprint is not a string"
    assert vocabulary.fingerprint, "the fingerprint is empty"


def check_ids(part: Part) -> None:
    """Ids are int32, in the vocabulary and never `</s>`; `ids` gives the same as `encode`."""
    tokenizer = fitted(part)
    for line in LINES:
        ids = tokenizer.encode(line).ids
        assert ids.dtype == np.int32, f"{line!r} gives ids of {ids.dtype}"
        assert ids.ndim == 1, f"{line!r} gives ids of shape {ids.shape}"
        inside = (ids >= 0) & (ids < tokenizer.vocabulary.size) & (ids != tokenizer.vocabulary.eos_id)
        assert inside.all(), f"{line!r} gives the id {ids[~inside][0]}"
        assert np.array_equal(tokenizer.ids(line), ids), f"ids({line!r}) differs from encode"


def check_block_ids(part: Part) -> None:
    """`block_ids` gives the ids of each line followed by `</s>`, and the end of each line."""
    tokenizer = fitted(part)
    lines = [line for line in LINES if "\0" not in line and "\n" not in line]
    ids, ends = tokenizer.block_ids("\n".join(lines).encode())
    assert ids.dtype == np.int32, f"ids are {ids.dtype}"
    assert len(ends) == len(lines), f"{len(lines)} lines give {len(ends)} ends"
    for line, found in zip(lines, np.split(ids, ends[:-1]), strict=True):
        wanted = [*tokenizer.ids(line).tolist(), tokenizer.vocabulary.eos_id]
        assert found.tolist() == wanted, f"{line!r} gives {found.tolist()} in a block, {wanted} by itself"


def check_block_residual(part: Part) -> None:
    """`block_residual` gives the residual and spelling bits of each line."""
    tokenizer = fitted(part)
    lines = [line for line in LINES if "\0" not in line and "\n" not in line]
    raw = "\n".join(lines).encode()
    found = tokenizer.block_residual(raw, *tokenizer.block_ids(raw))
    assert found.shape == (len(lines), 2), f"{len(lines)} lines give the shape {found.shape}"
    for line, bits in zip(lines, found.tolist(), strict=True):
        ids = tokenizer.ids(line)
        wanted = [tokenizer.residual_bits(line, ids), float(tokenizer.spelling_bits(line, ids).sum())]
        same = np.allclose(bits, wanted, rtol=1e-9, atol=1e-9)
        assert same, f"{line!r} has {bits} bits in a block, {wanted} by itself"


def check_unit(part: Part) -> None:
    """`unit` is one of contracts.UNITS, and tokens of words and characters cover these."""
    tokenizer = fitted(part)
    unit = tokenizer.unit
    assert unit in UNITS, f"it is {unit!r}; it must be one of {', '.join(UNITS)}"
    if unit in WHOLE:
        spans = tokenizer.encode(PROBE).spans.tolist()
        assert spans == WHOLE[unit], f"it is {unit!r}, but {PROBE!r} is cut at {spans}"


def check_symbols(part: Part) -> None:
    """`symbols`, if a tokenizer has them: one for each id, without white space, all distinct."""
    tokenizer = fitted(part)
    if type(tokenizer).symbols is Tokenizer.symbols:
        return
    symbols, vocabulary = tokenizer.symbols(), tokenizer.vocabulary
    assert len(symbols) == vocabulary.size, f"there are {len(symbols)} for {vocabulary.size} ids"
    ordinary = [s for i, s in enumerate(symbols) if i not in (vocabulary.eos_id, vocabulary.unk_id)]
    assert len(set(ordinary)) == len(ordinary), "two ids have one"
    broken = [symbol for symbol in symbols if not symbol or set(symbol) & set(WHITE_SPACE.encode())]
    assert not broken, f"{broken[0]!r} is empty or has white space"


def check_spans(part: Part) -> None:
    """Spans are int64 (tokens, 2), within the line and in ascending order."""
    tokenizer = fitted(part)
    for line in LINES:
        encoding = tokenizer.encode(line)
        spans = encoding.spans
        assert spans.shape == (len(encoding.ids), 2), f"{line!r} gives spans of shape {spans.shape}"
        assert spans.dtype == np.int64, f"{line!r} gives spans of {spans.dtype}"
        flat = spans[:, 0] <= spans[:, 1]
        assert flat.all(), f"{line!r} gives a span that ends before it starts: {spans[~flat][0].tolist()}"
        assert (np.diff(spans, axis=0) >= 0).all(), f"{line!r} gives spans that go back: {spans.tolist()}"
        assert spans.min(initial=0) >= 0, f"{line!r} gives spans outside it: {spans.tolist()}"
        assert spans.max(initial=0) <= len(line), f"{line!r} gives spans outside it: {spans.tolist()}"


def check_empty_line(part: Part) -> None:
    """The empty line has no tokens, and no tokens decode to the empty text."""
    tokenizer = fitted(part)
    assert len(tokenizer.encode("").ids) == 0, f"it has {tokenizer.encode('').ids.tolist()}"
    assert tokenizer.decode([]) == "", f"decode([]) is {tokenizer.decode([])!r}"


def check_decode(part: Part) -> None:
    """decode: `</s>` gives nothing, the unknown id U+FFFD, and a lossless tokenizer every line back."""
    tokenizer = fitted(part)
    vocabulary = tokenizer.vocabulary
    for line in LINES:
        ids = tokenizer.encode(line).ids.tolist()
        text = tokenizer.decode(ids)
        assert tokenizer.decode([*ids, vocabulary.eos_id]) == text, "`</s>` adds text"
        if tokenizer.lossless:
            assert text == line, f"{line!r} comes back as {text!r}"
    if vocabulary.unk_id is not None:
        text = tokenizer.decode([vocabulary.unk_id])
        assert "\ufffd" in text, f"the unknown id gives {text!r}"


def check_extended(part: Part) -> None:
    """`extended`, if a tokenizer has it: old ids and lines stay, and at most as many tokens as wanted are new."""
    tokenizer = fitted(part)
    if type(tokenizer).extended is Tokenizer.extended:
        return
    before = tokenizer.vocabulary
    more = tokenizer.extended(iter(UNSEEN * 5), small_options(part), 2)
    assert before.size <= more.vocabulary.size <= before.size + 2, (
        f"{more.vocabulary.size - before.size} are new"
    )
    assert more.vocabulary.eos_id == before.eos_id, "the id of `</s>` changes"
    assert more.vocabulary.unk_id == before.unk_id, "the id of the unknown token changes"
    for line in LINES:
        old, new = tokenizer.ids(line), more.ids(line)
        kept = new < before.size
        assert len(old) == len(new), f"{line!r} has {len(old)} tokens, then {len(new)}"
        assert np.array_equal(old[kept], new[kept]), f"ids of {line!r} change"
        assert (old[~kept] == before.unk_id).all(), f"a known token of {line!r} gets a new id"


def check_growing_text(part: Part) -> None:
    """The text of the first ids of a line is a prefix of the text of all, except for U+FFFD at its end."""
    tokenizer = fitted(part)
    for line in LINES:
        ids = tokenizer.ids(line).tolist()
        whole = tokenizer.decode(ids)
        for length in range(len(ids)):
            first = tokenizer.decode(ids[:length]).rstrip("\ufffd")
            assert whole.startswith(first), f"{line!r}: {length} ids give {first!r}, all of them {whole!r}"


def check_residual_bits(part: Part) -> None:
    """Residual bits are finite and never negative, and 0 if the tokenizer is lossless."""
    tokenizer = fitted(part)
    for line in LINES:
        bits = tokenizer.residual_bits(line, tokenizer.ids(line))
        assert math.isfinite(bits), f"{line!r} has {bits} residual bits"
        assert bits >= 0, f"{line!r} has {bits} residual bits"
        assert bits == 0 or not tokenizer.lossless, (
            f"{line!r} has {bits} residual bits, yet the tokenizer is lossless"
        )


def check_residual_code(part: Part) -> None:
    """Residual bits distinguish lines with the same ids: the sum of 2^-bits is at most one."""
    # Otherwise, dropped information would be free, and bits per byte those of an easier text.
    tokenizer = fitted(part)
    for line in LINES:
        found = violation(tokenizer, variants(tokenizer, line), made_up(line))
        assert found is None, f"{found}; lmkit.residual has codes for white space and unknown words"


def check_save(part: Part) -> None:
    """A saved and loaded tokenizer has the same vocabulary, ids, text and residual bits."""
    tokenizer = fitted(part)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder))
        again = part.load().load(Path(folder), small_options(part))
        _same(tokenizer, again)


def check_fit_again(part: Part) -> None:
    """Two fits on the same lines give the same tokenizer."""
    _same(fitted(part), fitted(part))


def check_word_starts(part: Part) -> None:
    """word_starts is None or a bool for each token."""
    tokenizer = fitted(part)
    starts = tokenizer.word_starts()
    if starts is not None:
        assert starts.shape == (tokenizer.vocabulary.size,), f"its shape is {tuple(starts.shape)}"
        assert starts.dtype == torch.bool, f"its type is {starts.dtype}"


def _same(first: Tokenizer, second: Tokenizer) -> None:
    assert first.vocabulary == second.vocabulary, f"{second.vocabulary} is not {first.vocabulary}"
    for line in LINES:
        ids = first.ids(line)
        text = first.decode(ids.tolist())
        assert second.decode(ids.tolist()) == text, f"{line!r}: its ids do not give the text {text!r}"
        assert np.array_equal(ids, second.ids(line)), (
            f"{line!r}: {second.ids(line).tolist()} is not {ids.tolist()}"
        )
        assert first.residual_bits(line, ids) == second.residual_bits(line, ids), (
            f"{line!r}: residual bits differ"
        )


CHECKS = (
    check_vocabulary,
    check_ids,
    check_block_ids,
    check_block_residual,
    check_unit,
    check_symbols,
    check_spans,
    check_empty_line,
    check_decode,
    check_extended,
    check_growing_text,
    check_residual_bits,
    check_residual_code,
    check_save,
    check_fit_again,
    check_word_starts,
)
