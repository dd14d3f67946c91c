"""Read a list of words from a file: one word per line, or a word, a tab and its count."""

import codecs
import logging
import re
from pathlib import Path

from lmkit.corpus.words import WHITE_SPACE
from lmkit.errors import DataError
from lmkit.notes import NOTE
from lmkit.specs import MOST_IDS
from lmkit_tokenizers.tokenizer_files import read_given

LARGEST = 1 << 34
"""Maximum bytes of a list of words."""

MARKS = (b"<unk>", b"<s>", b"</s>")
"""Words that other programs list for their own use; in a text they are ordinary words."""

log = logging.getLogger(__name__)


def read_vocabulary(path: Path) -> list[bytes]:
    """The words of a file in UTF-8, in its order; counts are checked and ignored, empty lines skipped.

    Raises DataError, with the line, for a word that occurs twice, for several words in a line and for a wrong count.
    """
    raw = read_given(path, LARGEST).removeprefix(codecs.BOM_UTF8)
    _check_utf8(path, raw)
    places: dict[bytes, int] = {}
    for number, line in enumerate(raw.split(b"\n"), 1):
        line = line.removesuffix(b"\r")
        if not line.strip(WHITE_SPACE.encode()):
            continue
        word = _word(path, number, line)
        if word in places:
            raise DataError(
                f"{path}: line {number} repeats the word {word.decode()!r} of line {places[word]}; remove one of them"
            )
        places[word] = number
    if not places:
        raise DataError(f"{path}: it has no words; write one word per line")
    if len(places) > MOST_IDS - 2:
        raise DataError(f"{path}: {len(places):,} words are too many; give at most {MOST_IDS - 2:,}")
    if marks := [mark.decode() for mark in MARKS if mark in places]:
        log.log(
            NOTE,
            "%s lists %s: ordinary words here, since lmkit has its own </s> and unknown word; remove those that the "
            "text lacks, and give --unk-word '<unk>' if <unk> in the text means the unknown word",
            path,
            ", ".join(marks),
        )
    return list(places)


def _word(path: Path, number: int, line: bytes) -> bytes:
    """The word of a line, without its count."""
    word, tab, count = line.partition(b"\t")
    if tab and not re.fullmatch(rb"[0-9]+", count):
        raise DataError(
            f"{path}: line {number} has {count.decode()!r} after the tab, which is no count; "
            "write a word, a tab and a whole number, or only the word"
        )
    if not word or any(space.encode() in word for space in WHITE_SPACE):
        raise DataError(
            f"{path}: line {number}, {word.decode()!r}, is not one word; write one word per line without white space, "
            "or a word, a tab and its count"
        )
    return word


def _check_utf8(path: Path, raw: bytes) -> None:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}: line {line} is not UTF-8; save the list as UTF-8") from error
