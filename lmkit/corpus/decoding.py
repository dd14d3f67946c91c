"""Encodings: turning any into UTF-8, and saying what is wrong with bytes and what would read them."""

import codecs
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from lmkit.errors import DataError, UsageError

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAGIC = ((b"\x1f\x8b", ".gz"), (b"BZh", ".bz2"), (b"\xfd7zXZ\0", ".xz"), (b"\x28\xb5\x2f\xfd", ".zst"))
_SAMPLE = 1 << 16
_UNREADABLE = "\udcff"
"""Stands for bytes that an encoding cannot read: it makes its line fail, and so be skipped, as UTF-8."""

codecs.register_error("lmkit-mark", lambda error: (_UNREADABLE, error.end))  # pyright: ignore


def check_encoding(encoding: str) -> str:
    """The codec's own name for an encoding; UsageError when Python has none of that name."""
    try:
        "".encode(encoding)
        return codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise UsageError(
            f"--encoding {encoding}: Python has no text encoding of that name; try utf-8, gb18030 or latin-1"
        ) from None


def is_utf8(encoding: str) -> bool:
    """Whether an encoding is UTF-8 under any of its names; UsageError when Python has none of that name."""
    return check_encoding(encoding) in ("utf-8", "utf-8-sig")


def to_utf8(blocks: Iterator[bytes], encoding: str, name: str, *, skip: bool) -> Iterator[bytes]:
    """The same text in UTF-8. skip: what cannot be read makes its line unreadable, instead of a DataError.

    UTF-8 itself passes unseen: whoever decodes its lines finds what is wrong with them.
    """
    return blocks if is_utf8(encoding) else _transcoded(blocks, encoding, name, skip)


def _transcoded(blocks: Iterable[bytes], encoding: str, name: str, skip: bool) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("lmkit-mark" if skip else "strict")
    read = 0
    sample = b""
    try:
        for block in blocks:
            sample = sample or block[:_SAMPLE]
            read += len(block)
            yield decoder.decode(block).encode("utf-8", "surrogatepass")
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
    except UnicodeError as error:
        # The decoder may still hold bytes of earlier blocks: its object ends where reading stands.
        at = read - len(error.object) + error.start if isinstance(error, UnicodeDecodeError) else read
        hint = guess_encoding(sample)
        remedy = "mend it" if hint == encoding else f"try --encoding {hint}"
        raise DataError(
            f"{name}: byte {at}: not {encoding} text; {remedy}, or --on-bad-line skip to leave such lines out"
        ) from None


def without_mark(blocks: Iterator[bytes]) -> tuple[Iterator[bytes], int]:
    """UTF-8 blocks without a byte-order mark at their start, and how many bytes that mark took."""
    start = b""
    for block in blocks:
        start += block
        if len(start) >= len(codecs.BOM_UTF8):
            break
    mark = len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0
    return chain([start[mark:]], blocks), mark


def wrong_bytes(raw: bytes) -> tuple[int, str, str]:
    """The offset, the problem and the remedy of a line that holds a NUL or is not UTF-8."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return error.start, *_not_utf8(raw, error)
    where = raw.index(0)
    wide = _wide(raw)
    remedy = f"it looks like {wide}: try --encoding {wide}" if wide else "remove it"
    return where, "a NUL character", remedy


def guess_encoding(raw: bytes) -> str:
    """An encoding that reads `raw`, the likeliest first."""
    marked = next((name for mark, name in _MARKS if raw.startswith(mark)), None)
    found = marked or _wide(raw)
    if found:
        return found
    if _reads(raw, "utf-8"):
        return "utf-8"
    shares = {name: _everyday(raw, name, rule) for name, rule in _EVERYDAY.items()}
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] > 0.8 else "latin-1"


def _not_utf8(raw: bytes, error: UnicodeDecodeError) -> tuple[str, str]:
    packed = next((suffix for magic, suffix in _MAGIC if raw.startswith(magic)), None)
    if packed:
        return "not text but compressed", f"give it a name that ends in {packed}"
    if b"\xed" in raw and _reads(raw, "utf-8", "surrogatepass"):
        return "half a surrogate pair, or bytes that its encoding has not", "mend the line"
    decoded = raw.decode(errors="replace")
    bad = decoded.count("\ufffd")
    if sum(c > "\x7f" for c in decoded) > 10 * bad:
        # Nearly all is UTF-8: another encoding would spoil the rest.
        return f"not UTF-8 (byte 0x{raw[error.start]:02x} in text that is)", "mend the line"
    hint = guess_encoding(raw[:_SAMPLE])
    return f"not UTF-8 (byte 0x{raw[error.start]:02x})", f"try --encoding {hint}"


def _reads(raw: bytes, encoding: str, errors: str = "strict") -> bool:
    try:
        raw.decode(encoding, errors)
    except UnicodeDecodeError:
        return False
    return True


def _wide(raw: bytes) -> str | None:
    """UTF-16 without a mark, by the NULs that most scripts leave in every second byte."""
    even, odd = raw[0:_SAMPLE:2].count(0), raw[1:_SAMPLE:2].count(0)
    half = max(1, min(len(raw), _SAMPLE) // 2)
    if odd > half / 3 and even < half / 20:
        return "utf-16-le"
    if even > half / 3 and odd < half / 20:
        return "utf-16-be"
    return None


def _everyday(raw: bytes, encoding: str, everyday: Callable[[bytes, str], bool]) -> float:
    """The share of non-ASCII characters that are everyday ones of an encoding; 0 if it cannot read `raw`.

    Nearly any pair of high bytes is some character of each East Asian encoding; only the right one finds
    common characters in all of them.
    """
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        if len(raw) < _SAMPLE or error.start < len(raw) - 4:
            return 0.0
        text = raw[: error.start].decode(encoding)  # the sample ended inside a character
    foreign = [c for c in text if c > "\x7f"]
    common = sum(everyday(c.encode(encoding), c) for c in foreign)
    return common / len(foreign) if foreign else 0.0


# The first level of each standard holds its common characters; second levels begin at higher lead bytes.
_EVERYDAY: dict[str, Callable[[bytes, str], bool]] = {
    "gb18030": lambda raw, c: len(raw) == 2 and 0xA1 <= raw[0] <= 0xD7 and raw[1] >= 0xA1,
    "big5": lambda raw, c: 0xA1 <= raw[0] <= 0xC6,
    "shift_jis": lambda raw, c: len(raw) == 2 and raw[0] <= 0x98,
}
