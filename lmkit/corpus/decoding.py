"""Convert encodings to UTF-8, and explain undecodable bytes with a suggested encoding."""

import codecs
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from lmkit.errors import DataError, UsageError

_MAGIC = ((b"\x1f\x8b", ".gz"), (b"\xfd7zXZ\0", ".xz"), (b"\x28\xb5\x2f\xfd", ".zst"), (b"BZh", ".bz2"))
_ESCAPES = (b"\x1b$B", b"\x1b$@")
"""The escape with which ISO-2022-JP begins Japanese text: its bytes are ASCII, so also valid UTF-8."""
_SAMPLE = 1 << 16
"""Number of bytes from which an encoding is guessed."""
_SEARCHED = 1 << 26
"""Number of bytes of a file in which they are searched for."""
_WIDE = ("utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_UNREADABLE = "\udcff"
"""Replaces bytes that an encoding cannot read: not UTF-8, so the line fails and is skipped."""

Sample = Callable[[], bytes]
"""Returns bytes of a text: see `sample_of`."""

codecs.register_error("lmkit-mark", lambda error: (_UNREADABLE, error.end))  # pyright: ignore


def check_encoding(encoding: str) -> str:
    """The codec's name for an encoding; UsageError if Python does not know it."""
    try:
        "".encode(encoding)
        return codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise UsageError(
            f"--encoding {encoding}: unknown text encoding; try utf-8, gb18030 or latin-1"
        ) from None


def is_utf8(encoding: str) -> bool:
    """Whether an encoding is UTF-8 under any of its names; UsageError if Python does not know it."""
    return check_encoding(encoding) in ("utf-8", "utf-8-sig")


def to_utf8(
    blocks: Iterator[bytes], encoding: str, name: str, *, skip: bool, sample: Sample
) -> Iterator[bytes]:
    """The same text in UTF-8. skip: undecodable bytes make their line unreadable, instead of a DataError.

    UTF-8 itself passes unchecked: decoding its lines finds the problems.
    """
    return blocks if is_utf8(encoding) else _transcoded(blocks, encoding, name, skip, sample)


def _transcoded(
    blocks: Iterable[bytes], encoding: str, name: str, skip: bool, sample: Sample
) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("lmkit-mark" if skip else "strict")
    read = 0
    try:
        for block in blocks:
            read += len(block)
            yield decoder.decode(block).encode("utf-8", "surrogatepass")
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
    except UnicodeError as error:
        # The decoder may still hold bytes of earlier blocks: `error.object` ends at the current position.
        at = read - len(error.object) + error.start if isinstance(error, UnicodeDecodeError) else read
        hint = guess(b"", sample)
        remedy = "fix the file" if hint in (None, encoding) else f"try --encoding {hint}"
        raise DataError(
            f"{name}: byte {at}: not {encoding} text; {remedy}, or --on-bad-line skip to skip such lines"
        ) from None


def without_mark(blocks: Iterator[bytes]) -> tuple[Iterator[bytes], int]:
    """UTF-8 blocks without a byte-order mark at their start, and the length of the removed mark in bytes."""
    start = b""
    for block in blocks:
        start += block
        if len(start) >= len(codecs.BOM_UTF8):
            break
    mark = len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0
    return chain([start[mark:]], blocks), mark


def decoded(raw: bytes) -> str | None:
    """The text of `raw`, or None when it is not UTF-8, a NUL is in it, or Japanese in escapes."""
    if b"\0" in raw or (b"\x1b" in raw and any(escape in raw for escape in _ESCAPES)):
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def wrong_bytes(raw: bytes, sample: "Sample | None" = None) -> tuple[int, str, str]:
    """The offset, the problem and the remedy of a line that `decoded` refuses.

    sample: returns bytes of the whole text, to detect its encoding; without it, only the line is used.
    """
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return error.start, *_not_utf8(raw, error, sample)
    found = guess(raw, sample)
    if b"\0" not in raw:
        at = min(raw.index(escape) for escape in _ESCAPES if escape in raw)
        return at, "an ISO-2022-JP escape sequence", f"try --encoding {found or 'iso2022_jp'}"
    remedy = f"it looks like {found}: try --encoding {found}" if found in _WIDE else "remove it"
    return raw.index(0), "a NUL character", remedy


def guess(raw: bytes, sample: "Sample | None" = None) -> str | None:
    """The encoding that reads the text of which `raw` is a line; None if none is certain."""
    from lmkit.corpus.encodings import guess_encoding

    whole = sample() if sample else b""
    return guess_encoding(whole or raw[:_SAMPLE])


def sample_of(blocks: Iterable[bytes]) -> bytes:
    """The sample to detect an encoding: the beginning if it may be UTF-16, else lines that are not ASCII."""
    found: list[bytes] = []
    size = read = 0
    rest = b""
    for block in blocks:
        head = block[:_SAMPLE]
        if not read and (b"\0" in head or head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))):
            return head
        rest += block if read else block.removeprefix(codecs.BOM_UTF8)
        read += len(block)
        *lines, rest = rest.split(b"\n")
        for line in lines:
            if not line.isascii() or (b"\x1b" in line and any(escape in line for escape in _ESCAPES)):
                found.append(line[:_SAMPLE])
                size += len(line)
        if size > _SAMPLE or read > _SEARCHED or len(rest) > _SAMPLE:
            break
    return b"\n".join([*found, rest[:_SAMPLE]])


def _not_utf8(raw: bytes, error: UnicodeDecodeError, sample: "Sample | None") -> tuple[str, str]:
    packed = next((suffix for magic, suffix in _MAGIC if raw.startswith(magic)), None)
    if packed:
        return "compressed data, not text", f"rename it to end in {packed}"
    if b"\xed" in raw and _reads(raw, "utf-8", "surrogatepass"):
        return "half a surrogate pair, or bytes invalid in this encoding", "fix the line"
    what = f"not UTF-8 (byte 0x{raw[error.start]:02x})"
    whole = (sample() if sample else b"") or raw
    text = whole.decode(errors="replace")
    bad = text.count("\ufffd")
    if sum(c > "\x7f" for c in text) > 10 * bad:
        # Nearly all is UTF-8: another encoding would corrupt the rest.
        return f"not UTF-8 (byte 0x{raw[error.start]:02x} in UTF-8 text)", "fix the line"
    found = guess(raw, (lambda: whole) if sample else None)
    if found is None:
        return f"{what}, and its encoding cannot be detected", "give it with --encoding"
    return what, f"try --encoding {found}"


def _reads(raw: bytes, encoding: str, errors: str = "strict") -> bool:
    try:
        raw.decode(encoding, errors)
    except UnicodeDecodeError:
        return False
    return True
