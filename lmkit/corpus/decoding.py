"""Encodings: turning any into UTF-8, and saying what is wrong with bytes and what would read them."""

import codecs
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from lmkit.errors import DataError, UsageError

_MAGIC = ((b"\x1f\x8b", ".gz"), (b"\xfd7zXZ\0", ".xz"), (b"\x28\xb5\x2f\xfd", ".zst"), (b"BZh", ".bz2"))
_ESCAPES = (b"\x1b$B", b"\x1b$@")
"""How ISO-2022-JP begins to write Japanese: its bytes are ASCII, and so they are UTF-8."""
_SAMPLE = 1 << 16
"""Bytes that an encoding is guessed from."""
_SEARCHED = 1 << 26
"""Bytes of a file in which they are searched for."""
_WIDE = ("utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_UNREADABLE = "\udcff"
"""Stands for bytes that an encoding cannot read: it makes its line fail, and so be skipped, as UTF-8."""

Sample = Callable[[], bytes]
"""Gives bytes of a text: see `sample_of`."""

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


def to_utf8(
    blocks: Iterator[bytes], encoding: str, name: str, *, skip: bool, sample: Sample
) -> Iterator[bytes]:
    """The same text in UTF-8. skip: what cannot be read makes its line unreadable, instead of a DataError.

    UTF-8 itself passes unseen: whoever decodes its lines finds what is wrong with them.
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
        # The decoder may still hold bytes of earlier blocks: its object ends where reading stands.
        at = read - len(error.object) + error.start if isinstance(error, UnicodeDecodeError) else read
        hint = guess(b"", sample)
        remedy = "fix the file" if hint in (None, encoding) else f"try --encoding {hint}"
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

    sample: gives bytes of the whole text, from which its encoding is told; without it the line is all there is.
    """
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return error.start, *_not_utf8(raw, error, sample)
    found = guess(raw, sample)
    if b"\0" not in raw:
        at = min(raw.index(escape) for escape in _ESCAPES if escape in raw)
        return at, "an escape that begins Japanese in ISO-2022-JP", f"try --encoding {found or 'iso2022_jp'}"
    remedy = f"it looks like {found}: try --encoding {found}" if found in _WIDE else "remove it"
    return raw.index(0), "a NUL character", remedy


def guess(raw: bytes, sample: "Sample | None" = None) -> str | None:
    """The encoding that reads the text of which `raw` is a line; None where it cannot be told."""
    from lmkit.corpus.encodings import guess_encoding

    whole = sample() if sample else b""
    return guess_encoding(whole or raw[:_SAMPLE])


def sample_of(blocks: Iterable[bytes]) -> bytes:
    """What tells the encoding of a text: its beginning where that may be UTF-16, else lines that are not ASCII."""
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
        return "not text but compressed", f"give it a name that ends in {packed}"
    if b"\xed" in raw and _reads(raw, "utf-8", "surrogatepass"):
        return "half a surrogate pair, or bytes that its encoding lacks", "fix the line"
    what = f"not UTF-8 (byte 0x{raw[error.start]:02x})"
    whole = (sample() if sample else b"") or raw
    text = whole.decode(errors="replace")
    bad = text.count("\ufffd")
    if sum(c > "\x7f" for c in text) > 10 * bad:
        # Nearly all is UTF-8: another encoding would spoil the rest.
        return f"not UTF-8 (byte 0x{raw[error.start]:02x} in text that is)", "fix the line"
    found = guess(raw, (lambda: whole) if sample else None)
    if found is None:
        return f"{what}, nor in an encoding that can be told from it", "name its encoding with --encoding"
    return what, f"try --encoding {found}"


def _reads(raw: bytes, encoding: str, errors: str = "strict") -> bool:
    try:
        raw.decode(encoding, errors)
    except UnicodeDecodeError:
        return False
    return True
