"""Detect the encoding of bytes, but only if they decode to plausible text of some language.

charset-normalizer gives the encodings in which the bytes are not a mess. There is nearly always more than one, and
for short texts its first choice is wrong in one of five cases. So the decoded texts are compared by the frequent
letters and words of languages (`lmkit.corpus.languages`), and an encoding is suggested only if it is clearly the
best: a wrong one would train on corrupted text without a warning.
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
"""The encodings to try, by group of languages, under charset-normalizer's names.

If several give the same text, the first is suggested."""
_ESCAPE = re.compile(rb"\x1b\$[@B]")
"""The escape with which ISO-2022-JP begins Japanese text: its bytes are ASCII, so also valid UTF-8."""
_CONTROL = re.compile("[\0-\x08\x0e-\x1f\x7f-\x9f\ufffd\ue000-\uf8ff]")
_LETTER = "A-Za-z\xaa\xb5\xba\xc0-\xd6\xd8-\xf6\xf8-\u052f"
"""Scripts with lower-case and upper-case letters."""
_SIGN_INSIDE = re.compile(
    rf"(?<=[{_LETTER}])(?:[^\w\s\x21-\x7e’‘–—…·\u00ad‐\u3000-\u303f\uff00-\uff65]|[¹²³¼½¾ªºˆˇ])(?=[{_LETTER}])|¤|[\u2320\u2321\u2500-\u259f]"
    rf"|[{_LETTER}][¿¡¦¨¬¯±´¸†‡‰ˆˇ˘˙˚˛˜˝≤≥≈∞∂∑∏√∫◊Ω]|[†‡¬¦][{_LETTER}]"
)
"""Signs in unlikely places, a symptom of wrong encodings: within words, box drawing, the currency sign."""
_STUCK = re.compile(rf"\d[\xc0-\u052f](?![{_LETTER}])|(?<![{_LETTER}])[\xc0-\u052f]\d")
"""A single letter outside of ASCII next to a digit."""
_ADVISED = {name: advised for encodings in _ENCODINGS.values() for name, advised in encodings.items()}
ODD_SHARE = 1000
"""At most one in this many characters outside of ASCII may be an unlikely sign."""
LEAD = 2
"""The margin in frequent words of the best reading over the next: at least this many more, and this many times."""


def guess_encoding(raw: bytes) -> str | None:
    """The encoding of `raw`, the beginning or some lines of a text; None if it is uncertain."""
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
    # Without bytes from 80 to 9F it is also Latin-1, which is the better-known name.
    return "latin-1" if found == "windows-1252" and not re.search(b"[\x80-\x9f]", raw) else found


def _foreign(raw: bytes) -> bytes:
    """Lines that are not ASCII; the others carry no information. The last may be cut off."""
    lines = raw.split(b"\n")
    whole = lines[:-1] if len(lines) > 1 and lines[-1] else lines
    return b"\n".join(line for line in whole if not line.isascii()) or lines[-1]


def _standing_out(raw: bytes) -> str | None:
    """The encoding whose text fits a language clearly better than the others, and is not a mess."""
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
    """Whether charset-normalizer accepts an encoding."""
    from charset_normalizer import from_bytes

    logging.getLogger("charset_normalizer").setLevel(logging.ERROR)
    return bool(from_bytes(raw, cp_isolation=[encoding], preemptive_behaviour=False))


def _leads(best: Evidence, other: Evidence) -> bool:
    return best.words >= other.words + LEAD and best.words >= LEAD * other.words


def _wide(raw: bytes) -> str | None:
    """UTF-16 or UTF-32 without a byte-order mark."""
    if len(raw) < 2:
        return None
    found = [name for name in _WIDE if _plausible(text := _decoded(raw, name)) and _sound(text)]
    return found[0] if len(found) == 1 else None


def _sound(text: str) -> bool:
    """Whether text decoded as UTF-16 or UTF-32 is plausible: mostly ASCII, or in languages of one group."""
    if sum(c < "\x7f" for c in text) > 0.7 * len(text):
        return True
    return any(found.fits and found.letters > 0 for found in (evidence(text, group) for group in _ENCODINGS))


def _decoded(raw: bytes, encoding: str) -> str | None:
    """The text without a character cut off at the end; None if the encoding cannot read it."""
    try:
        return codecs.getincrementaldecoder(encoding)("strict").decode(raw)
    except (UnicodeError, LookupError):
        return None


def _plausible(text: str | None) -> TypeGuard[str]:
    """Whether a text has almost no signs of a wrong encoding or of binary data."""
    if not _is_text(text) or text.count("„") > text.count("“") + text.count("”"):
        return False
    if abs(text.count("«") - text.count("»")) > 0.2 * text.count("«"):
        return False
    odd = sum(1 for pattern in (_SIGN_INSIDE, _STUCK) for _ in pattern.finditer(text))
    return odd * ODD_SHARE <= sum(c > "\x7f" for c in text)


def _is_text(text: str | None) -> TypeGuard[str]:
    return bool(text) and not _CONTROL.search(text)
