"""Import ARPA files, the text format that SRILM, KenLM and most other programs write."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lmkit import runs
from lmkit.contracts import Tokenizer
from lmkit.errors import ModelError, UsageError
from lmkit.notes import NOTE
from lmkit.options import Chosen, choose
from lmkit.specs import MOST_IDS
from lmkit_ngram import stupid_backoff
from lmkit_ngram.arpa_note import WORDS, Note
from lmkit_ngram.arpa_options import ArpaOptions
from lmkit_ngram.arpa_sections import Arpa, Section, read_sections
from lmkit_ngram.arpa_sums import Sums, check_sums
from lmkit_ngram.arpa_table import build_table
from lmkit_ngram.arpa_tokenizer import kept_tokenizer
from lmkit_ngram.arpa_words import END, START, UNKNOWN, changed, original
from lmkit_ngram.model import NgramModel
from lmkit_ngram.model_files import IMPORTED, StoredModel
from lmkit_ngram.quantize import pack, unpack
from lmkit_ngram.table import NgramTable

NO_UNKNOWN = -100.0
"""log10 p of unknown words if a file has no `<unk>`, as in KenLM (lm/config.cc, unknown_missing_logprob)."""
ALL_WORDS = {"min_count": 1, "vocab_size": MOST_IDS}
"""Options of the word tokenizer, which keeps each word of a file."""
SINGLE, FEWEST = 0.9, 20
"""Above this share of single characters, the file may be of a model of characters, unless it has very few words."""

log = logging.getLogger(__name__)


def read_arpa(
    file: Path, out: Path, *, overwrite: bool = False, max_expansion: float, options: ArpaOptions
) -> None:
    """Create a run from the n-grams in an ARPA file: any order, compressed or not, with or without `<unk>`.

    max_expansion: refuse a compressed file that grows by more than this factor, past 64 MiB (0: no limit).
    Raises UsageError when `out` is taken, or for a tokenizer that cannot be created, ModelError when the file is
    damaged; then `out` is unchanged.
    """
    runs.check_free(out, overwrite=overwrite)
    arpa = read_sections(file, max_expansion, options.encoding)
    try:
        words = ordinary_words(arpa, options)
        tokenizer_choice, tokenizer = make_tokenizer(arpa, words, options)
        table, lacking = make_table(arpa, words, tokenizer)
        stored = _judged(table, lacking, arpa.note, tokenizer)
        if options.quantize:
            stored = _quantized(stored)
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from error
    facts = {"name": "lmkit:ngram", "order": table.order, "store_text": False, "quantize": options.quantize}
    if stored.alpha is not None:
        facts |= {"smoothing": "stupid-backoff", "alpha": stored.alpha}
    chosen = choose("model", facts, "import")
    model = NgramModel.from_table(chosen.options, tokenizer.vocabulary, stored)
    data = {"description": f"imported from {file.name}"}
    if notice := _notice(stored, tokenizer):
        data["notice"] = notice
    runs.make_run(
        out, model, tokenizer, model_choice=chosen, tokenizer_choice=tokenizer_choice, data=data,
        overwrite=overwrite,
    )  # fmt: skip


def _notice(stored: StoredModel, tokenizer: Tokenizer) -> str | None:
    """Notes on the scores of the run, which `lmkit info` also prints."""
    if not stored.normalized:
        return "the probabilities do not sum to one: scores are for ranking, and no perplexity is printed"
    if tokenizer.novelty is not None:
        return None
    notice = (
        "bits per byte of this run are not comparable on a text with unknown tokens: the file does not say how often "
        "new words occur"
    )
    log.log(NOTE, notice)
    return notice


def _judged(table: NgramTable, lacking: np.ndarray, note: Note | None, tokenizer: Tokenizer) -> StoredModel:
    """The model, with a check whether its scores are probabilities and a note or a warning about it."""
    if note is not None and note.quantized:
        log.log(NOTE, "the probabilities are those of a quantized model, of 8 bits")
    if note is not None and note.alpha is not None:
        plain = stupid_backoff.from_file(table, note.alpha)
        if plain is not None:
            log.log(
                NOTE,
                "the scores are those of stupid backoff with alpha %g: they do not sum to one",
                note.alpha,
            )
            return StoredModel(plain, None, "stupid-backoff", normalized=False, alpha=note.alpha)
        log.warning("the file claims stupid backoff, but its backoffs do not match: they are used unchanged")
    sums = check_sums(table, tokenizer.vocabulary.eos_id, lacking)
    log.log(NOTE, "after %d of its contexts probabilities sum to %s", sums.contexts, _span(sums))
    if sums.wrong:
        symbols = [*tokenizer.symbols(), START]
        worst = b" ".join(symbols[word] for word in sums.worst).decode()
        log.warning(
            "the probabilities after %d of %d contexts do not sum to one (%.4f after '%s'): %s",
            sums.wrong, sums.contexts, sums.farthest, worst,
            "perplexity is still printed" if sums.normalized
            else "the scores are for ranking only, and no perplexity is printed",
        )  # fmt: skip
    return StoredModel(table, None, IMPORTED, sums.normalized)


def _quantized(stored: StoredModel) -> StoredModel:
    """The model with quantized probabilities, which sum to one."""
    if not stored.normalized:
        raise ModelError(
            "its scores are not probabilities, so they cannot be quantized: leave out --quantize"
        )
    packed = pack(stored.table)
    return replace(stored, table=unpack(packed), packed=packed)


def _span(sums: Sums) -> str:
    least, most = f"{sums.least:.4f}", f"{sums.most:.4f}"
    return least if least == most else f"{least} to {most}"


def make_tokenizer(arpa: Arpa, words: list[bytes], options: ArpaOptions) -> tuple[Chosen, Tokenizer]:
    """The given tokenizer, or the one in the file's note, or the word tokenizer.

    It has its codes if the note has its files.
    Raises UsageError if it cannot be created, ModelError if the words are not of that tokenizer.
    """
    name, note = options.tokenizer, arpa.note
    if not name:
        name = WORDS if note is None else note.tokenizer
        if note is None:
            _warn_of_characters(words)
    table = {"name": name}
    chosen = choose("tokenizer", table, "import")
    file = getattr(chosen.options, "file", None)
    if file is None and note is not None and note.files and note.tokenizer == chosen.name:
        kept = kept_tokenizer(note)
        if set(words) <= set(kept[1].symbols()):
            return kept
        log.warning("the file has words that its tokenizer lacks: using a new tokenizer of its words instead")
    if chosen.name == WORDS and file is None:
        chosen = choose("tokenizer", table | ALL_WORDS, "import")
    kind = chosen.load()
    if file is None:
        return chosen, kind.from_symbols(words, chosen.options)
    tokenizer = kind.from_file(Path(file), chosen.options)
    if (
        note is not None
        and note.tokenizer == chosen.name
        and note.fingerprint != tokenizer.vocabulary.fingerprint
    ):
        raise UsageError(f"{file} is not the tokenizer of the model in the ARPA file; give the right one")
    return chosen, tokenizer


def _warn_of_characters(words: list[bytes]) -> None:
    single = sum(len(word.decode()) == 1 for word in words if len(word) <= 4)
    if len(words) >= FEWEST and single > SINGLE * len(words):
        log.warning(
            "nearly all words of the file are single characters; if it is a model of characters, and not of text "
            "with spaces between them, import it with --tokenizer char"
        )


def ordinary_words(arpa: Arpa, options: ArpaOptions) -> list[bytes]:
    """The words of a file except `<s>`, `</s>` and `<unk>`, in order, with their names in texts.

    Raises ModelError if two of them become the same word.
    """
    names = [name for name in arpa.names if name not in (START, END, *UNKNOWN)]
    if options.keep_names:
        return names
    words = [original(name) for name in names]
    if told := changed(names, words):
        log.log(NOTE, "some words get the names that export replaces (--keep-names keeps them): %s", told)
    if len(set(words)) < len(words):
        raise ModelError(
            "two of its words become the same when @s@ and the like are renamed; give --keep-names"
        )
    return words


def make_table(arpa: Arpa, words: list[bytes], tokenizer: Tokenizer) -> tuple[NgramTable, np.ndarray]:
    """The table of a file's n-grams with the ids of a tokenizer that has its ordinary words; ids missing in the file.

    Without `<s>` in the file, a line begins without context. Without `<unk>`, unknown words have KenLM's -100; ids
    missing in the file score like unknown words. Raises ModelError for a file without `</s>`, with two unknown
    words, with words that the tokenizer lacks, or with impossible n-grams.
    """
    vocabulary = tokenizer.vocabulary
    found = _special_names(arpa, vocabulary.unk_id is not None)
    symbols = tokenizer.symbols()
    ids = np.array(_ids_of(arpa.names, words, symbols, tokenizer), np.int32)
    size = vocabulary.size + 1
    log_probs, backoffs = np.full(size, NO_UNKNOWN, np.float32), np.zeros(size, np.float32)
    log_probs[vocabulary.size] = -np.inf
    known = ids >= 0
    unknown = next((arpa.names.index(name) for name in found if name in UNKNOWN), None)
    if unknown is not None:
        log_probs[: vocabulary.size] = arpa.sections[0].log_probs[unknown]
    log_probs[ids[known]] = arpa.sections[0].log_probs[known]
    backoffs[ids[known]] = arpa.sections[0].backoffs[known]
    absent = np.ones(size, np.bool_)
    absent[ids[known]] = False
    lacking = np.flatnonzero(absent[: vocabulary.size])
    lacking = lacking[lacking != vocabulary.unk_id]
    if len(lacking):
        log.warning(
            "%s tokens of the tokenizer are not in the file: they score like unknown words",
            f"{len(lacking):,}",
        )
    unigrams = Section(np.arange(size, dtype=np.int32)[:, None], log_probs, backoffs)
    names = [*symbols, START]
    sections = [unigrams]
    for section in arpa.sections[1:]:
        np.take(ids, section.rows, out=section.rows)
        sections.append(section if known.all() else _without_unknown(section))
    return build_table(sections, vocabulary.size, names), lacking


def _special_names(arpa: Arpa, has_unknown: bool) -> list[bytes]:
    """Which of `<s>`, `</s>`, `<unk>` and `<UNK>` the file has; a warning or a ModelError for missing ones."""
    found = [name for name in arpa.names if name in (START, END, *UNKNOWN)]
    if END not in found:
        raise ModelError("it has no </s>, so no line can end; create it with sentence ends")
    if START not in found:
        log.warning("the file has no <s>: the first word of each line is scored without a context")
    unknown = [name for name in found if name in UNKNOWN]
    if len(unknown) > 1:
        raise ModelError("it has both <unk> and <UNK>, which are the same for KenLM; rename one")
    if not unknown and has_unknown:
        log.log(
            NOTE,
            "the file has no <unk>: unknown words have the log10 probability %g, as in KenLM",
            NO_UNKNOWN,
        )
    return found


def _ids_of(
    names: list[bytes], words: list[bytes], symbols: Sequence[bytes], tokenizer: Tokenizer
) -> list[int]:
    """The id of each name; -1 for the unknown word if the tokenizer has none."""
    vocabulary = tokenizer.vocabulary
    unknown = -1 if vocabulary.unk_id is None else vocabulary.unk_id
    special = {START: vocabulary.size, END: vocabulary.eos_id} | dict.fromkeys(UNKNOWN, unknown)
    known = {symbol: i for i, symbol in enumerate(symbols) if i not in (vocabulary.eos_id, unknown)}
    rest = iter(words)
    ids = [special[name] if name in special else known.get(next(rest), -2) for name in names]
    if -2 in ids:
        raise ModelError(
            f"its word {names[ids.index(-2)].decode()!r} is not of the tokenizer; give --tokenizer word"
        )
    return ids


def _without_unknown(section: Section) -> Section:
    kept = (section.rows >= 0).all(1)
    return Section(section.rows[kept], section.log_probs[kept], section.backoffs[kept])
