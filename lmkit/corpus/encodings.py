"""Which encoding bytes are in: only what reads them as plausible text of some language, else nothing.

charset-normalizer says in which encodings the bytes are no mess; in nearly all cases that is more than one, and
for short texts its own choice is wrong one time in five. So the texts that they give are compared by the
frequent letters and words of languages (`lmkit.corpus.languages`), and unless one of them stands out, none is
advised: a wrong encoding would train on other text without a word.
"""

import codecs
import logging
import re
from typing import TypeGuard

from lmkit.corpus.languages import Evidence, evidence

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_ENCODINGS: dict[str, dict[str, str]] = {
    "CJK": {"gb18030": "gb18030", "big5": "big5", "big5hkscs": "big5hkscs"},
    "HANGUL": {"euc_kr": "euc-kr", "cp949": "cp949"},
    "HIRAGANA": {"shift_jis": "shift_jis", "cp932": "cp932", "euc_jp": "euc-jp"},
    "western": {"cp1252": "windows-1252", "iso8859_15": "iso8859-15", "mac_roman": "mac-roman"},
    "central": {"cp1250": "windows-1250", "iso8859_2": "iso8859-2"},
    "turkish": {"cp1254": "windows-1254"},
    "baltic": {"cp1257": "windows-1257"},
    "CYRILLIC": {
        "cp1251": "windows-1251", "koi8_r": "koi8-r", "koi8_u": "koi8-u", "iso8859_5": "iso8859-5",
        "cp866": "cp866", "mac_cyrillic": "mac-cyrillic",
    },
    "GREEK": {"cp1253": "windows-1253", "iso8859_7": "iso8859-7"},
    "HEBREW": {"cp1255": "windows-1255", "iso8859_8": "iso8859-8"},
    "ARABIC": {"cp1256": "windows-1256", "iso8859_6": "iso8859-6"},
    "THAI": {"cp874": "cp874"},
}  # fmt: skip
"""The encodings that are tried, by group of languages and charset-normalizer's names.

Of those that give the same text the first is advised."""
_ESCAPE = re.compile(rb"\x1b\$[@B]")
"""How ISO-2022-JP begins to write Japanese: its bytes are ASCII, and so UTF-8."""
_CONTROL = re.compile("[\0-\x08\x0e-\x1f\x7f-\x9f\ufffd\ue000-\uf8ff]")
_LETTER = "A-Za-z\xaa\xb5\xba\xc0-\xd6\xd8-\xf6\xf8-\u052f"
"""Of the scripts that have small letters and capitals."""
_SIGN_INSIDE = re.compile(
    rf"(?<=[{_LETTER}])(?:[^\w\s\x21-\x7e’‘–—…·\u00ad‐\u3000-\u303f\uff00-\uff65]|[¹²³¼½¾ªºˆˇ])(?=[{_LETTER}])|¤|[\u2320\u2321\u2500-\u259f]"
    rf"|[{_LETTER}][¿¡¦¨¬¯±´¸†‡‰ˆˇ˘˙˚˛˜˝≤≥≈∞∂∑∏√∫◊Ω]|[†‡¬¦][{_LETTER}]"
)
"""Signs where text has none, as wrong encodings have them: within words, frames, the currency sign."""
_STUCK = re.compile(rf"\d[\xc0-\u052f](?![{_LETTER}])|(?<![{_LETTER}])[\xc0-\u052f]\d")
"""A letter outside of ASCII that stands by itself at a digit."""
_ADVISED = {name: advised for encodings in _ENCODINGS.values() for name, advised in encodings.items()}
ODD_SHARE = 1000
"""One in this many characters outside of ASCII may be a sign that text hardly has."""
LEAD = 2
"""Frequent words that the best reading must have more than the next one, and as many times more."""


def guess_encoding(raw: bytes) -> str | None:
    """The encoding that reads `raw`, the beginning of a text or lines of it; None where that cannot be told."""
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return name if _is_text(_decoded(raw, name)) else None
    if b"\0" in raw:
        return _wide(raw)
    if _ESCAPE.search(raw):
        return "iso2022_jp" if _is_text(_decoded(raw, "iso2022_jp")) else None
    if _decoded(raw, "utf-8") is not None:
        return "utf-8"
    found = _standing_out(_foreign(raw)) or _wide(raw)
    # Without bytes from 80 to 9F it is Latin-1 too, under a name that everybody knows.
    return "latin-1" if found == "windows-1252" and not re.search(b"[\x80-\x9f]", raw) else found


def _foreign(raw: bytes) -> bytes:
    """Lines that are not ASCII; the others say nothing, and may be of another language. The last may be cut."""
    lines = raw.split(b"\n")
    whole = lines[:-1] if len(lines) > 1 and lines[-1] else lines
    return b"\n".join(line for line in whole if not line.isascii()) or lines[-1]


def _standing_out(raw: bytes) -> str | None:
    """The encoding of the reading that fits a language clearly better than the others, and is no mess."""
    readings: dict[str, tuple[Evidence, str]] = {}
    for group, encodings in _ENCODINGS.items():
        for name in encodings:
            text = _decoded(raw, name)
            if _plausible(text) and (found := evidence(text, group)).fits:
                before = readings.get(text)
                if before is None or before[0].words < found.words:
                    readings[text] = found, before[1] if before else name
    ranked = sorted(readings.values(), key=lambda pair: -pair[0].words)
    if not ranked or (len(ranked) > 1 and not _leads(ranked[0][0], ranked[1][0])):
        return None
    name = ranked[0][1]
    return _ADVISED[name] if _no_mess(raw, name) else None


def _no_mess(raw: bytes, encoding: str) -> bool:
    """Whether charset-normalizer has nothing against an encoding."""
    from charset_normalizer import from_bytes

    logging.getLogger("charset_normalizer").setLevel(logging.ERROR)
    return bool(from_bytes(raw, cp_isolation=[encoding], preemptive_behaviour=False))


def _leads(best: Evidence, other: Evidence) -> bool:
    return best.words >= other.words + LEAD and best.words >= LEAD * other.words


def _wide(raw: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark."""
    if len(raw) < 2:
        return None
    found = [name for name in _WIDE if _plausible(text := _decoded(raw, name)) and _sound(text)]
    return found[0] if len(found) == 1 else None


def _sound(text: str) -> bool:
    """Whether a wide reading is text: ASCII for the most part, or of one group's languages."""
    if sum(c < "\x7f" for c in text) > 0.7 * len(text):
        return True
    return any(found.fits and found.letters > 0 for found in (evidence(text, group) for group in _ENCODINGS))


def _decoded(raw: bytes, encoding: str) -> str | None:
    """The text, but for a character cut at the end; None where the encoding cannot read it."""
    try:
        return codecs.getincrementaldecoder(encoding)("strict").decode(raw)
    except (UnicodeError, LookupError):
        return None


def _plausible(text: str | None) -> TypeGuard[str]:
    """Whether next to nothing in a text is a sign of a wrong encoding or of bytes that are no text."""
    if not _is_text(text) or text.count("„") > text.count("“") + text.count("”"):
        return False
    if abs(text.count("«") - text.count("»")) > 0.2 * text.count("«"):
        return False
    odd = sum(1 for pattern in (_SIGN_INSIDE, _STUCK) for _ in pattern.finditer(text))
    return odd * ODD_SHARE <= sum(c > "\x7f" for c in text)


def _is_text(text: str | None) -> TypeGuard[str]:
    return bool(text) and not _CONTROL.search(text)
