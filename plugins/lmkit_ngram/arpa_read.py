"""Runs from ARPA files, the text format that SRILM, KenLM and most other programs write."""

import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from lmkit import runs
from lmkit.contracts import Tokenizer
from lmkit.errors import ModelError
from lmkit.notes import NOTE
from lmkit.options import choose
from lmkit_ngram.arpa_options import ArpaOptions
from lmkit_ngram.arpa_sections import Arpa, Section, read_sections
from lmkit_ngram.arpa_table import build_table
from lmkit_ngram.arpa_words import END, START, UNKNOWN, changed, original
from lmkit_ngram.files import IMPORTED, StoredModel
from lmkit_ngram.model import NgramModel
from lmkit_ngram.options import MOST_IDS
from lmkit_ngram.table import NgramTable

NO_UNKNOWN = -100.0
"""log10 p of unknown words where a file has no `<unk>`, as KenLM's (lm/config.cc, unknown_missing_logprob)."""
LINE = 1000
"""Words that a tokenizer is given at once."""
TOKENIZER = {"name": "lmkit:word", "min_count": 1, "vocab_size": MOST_IDS}

log = logging.getLogger(__name__)


def read_arpa(
    file: Path, out: Path, *, overwrite: bool = False, max_expansion: float, options: ArpaOptions
) -> None:
    """Make a run of the n-grams in an ARPA file: any order, compressed or not, with or without `<unk>`.

    max_expansion: refuse a compressed file that grows by more than this factor, past 64 MiB (0: no limit).
    Raises UsageError when `out` is taken, ModelError when the file is damaged; `out` is untouched then.
    """
    runs.check_free(out, overwrite=overwrite)
    arpa = read_sections(file, max_expansion)
    try:
        words = ordinary_words(arpa, options)
        tokenizer_choice = choose("tokenizer", TOKENIZER, "import")
        tokenizer: Tokenizer = tokenizer_choice.load().fit(_lines(words), tokenizer_choice.options)
        table = make_table(arpa, words, tokenizer)
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from error
    chosen = choose("model", {"name": "lmkit:ngram", "order": table.order, "store_text": False}, "import")
    stored = StoredModel(table, None, IMPORTED, normalized=True)
    model = NgramModel.from_table(chosen.options, tokenizer.vocabulary, stored)
    runs.make_run(
        out, model, tokenizer, model_choice=chosen, tokenizer_choice=tokenizer_choice,
        data={"description": f"imported from {file.name}"}, overwrite=overwrite,
    )  # fmt: skip


def ordinary_words(arpa: Arpa, options: ArpaOptions) -> list[bytes]:
    """The words of a file but `<s>`, `</s>` and `<unk>`, in their order, under the names that they have in texts.

    Raises ModelError when two of them are one word then.
    """
    names = [name for name in arpa.names if name not in (START, END, *UNKNOWN)]
    if options.keep_names:
        return names
    words = [original(name) for name in names]
    if told := changed(names, words):
        log.log(NOTE, "words are taken for those that export renames (not so with --keep-names): %s", told)
    if len(set(words)) < len(words):
        raise ModelError("two of its words are one when @s@ and the like are renamed; give --keep-names")
    return words


def make_table(arpa: Arpa, words: list[bytes], tokenizer: Tokenizer) -> NgramTable:
    """The table of a file's n-grams under the ids of a tokenizer that knows its ordinary words.

    Without `<s>` in the file a line begins in no context. Without `<unk>` unknown words have KenLM's -100.
    Raises ModelError for a file without `</s>`, with two unknown words, or of n-grams that cannot be.
    """
    vocabulary = tokenizer.vocabulary
    assert vocabulary.unk_id is not None, "the word tokenizer has an unknown id"
    special = {START: vocabulary.size, END: vocabulary.eos_id} | dict.fromkeys(UNKNOWN, vocabulary.unk_id)
    found = [name for name in arpa.names if name in special]
    if END not in found:
        raise ModelError("it has no </s>, so that no line can end; make it with sentence ends")
    if START not in found:
        log.warning("the file has no <s>: the first word of each line is scored without a context")
    unknown = [name for name in found if name in UNKNOWN]
    if len(unknown) > 1:
        raise ModelError("<unk> and <UNK> both stand in it; KenLM takes them for one: rename one")
    if not unknown:
        log.log(
            NOTE,
            "the file has no <unk>: unknown words have the log10 probability %g, as in KenLM",
            NO_UNKNOWN,
        )
    ids = np.empty(len(arpa.names), np.int32)
    ordinary = np.array([name not in special for name in arpa.names], np.bool_)
    ids[ordinary] = np.concatenate([np.zeros(0, np.int32), *map(tokenizer.ids, _lines(words))])
    ids[~ordinary] = [special[name] for name in found]
    size = vocabulary.size + 1
    log_probs, backoffs = np.full(size, -np.inf, np.float32), np.zeros(size, np.float32)
    if not unknown:
        log_probs[vocabulary.unk_id] = NO_UNKNOWN
    log_probs[ids], backoffs[ids] = arpa.sections[0].log_probs, arpa.sections[0].backoffs
    unigrams = Section(np.arange(size, dtype=np.int32)[:, None], log_probs, backoffs)
    names = [b""] * size
    for number, name in zip(ids.tolist(), arpa.names, strict=True):
        names[number] = name
    for section in arpa.sections[1:]:
        np.take(ids, section.rows, out=section.rows)
    return build_table([unigrams, *arpa.sections[1:]], vocabulary.size, names)


def _lines(words: list[bytes]) -> Iterator[str]:
    """The words as lines of text."""
    rest = iter(words)
    while line := list(islice(rest, LINE)):
        yield b" ".join(line).decode()
