"""What a saved tokenizer says of itself, and reading it back without trust."""

import hashlib
import reprlib
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from lmkit import strict_json
from lmkit.contracts import Vocabulary
from lmkit.errors import ModelError

FORMAT = 1
LARGEST_JSON = 1 << 26
"""Bytes; what we write is far smaller."""

HEADER = "tokenizer.json"

_PARTS_AT_ONCE = 1 << 12


def fingerprint(kind: str, parts: Iterable[bytes]) -> str:
    """sha256 over everything that decides ids; each part is preceded by its length."""
    digest = hashlib.sha256(f"lmkit {kind} {FORMAT}\n".encode())
    parts = iter(parts)
    while some := list(islice(parts, _PARTS_AT_ONCE)):
        digest.update(b"".join(piece for part in some for piece in (len(part).to_bytes(8, "little"), part)))
    return digest.hexdigest()


def write_header(directory: Path, kind: str, vocabulary: Vocabulary, **more: str | float) -> None:
    """Say what the directory holds, so that `check_header` can tell when it does not."""
    header = {
        "format": FORMAT,
        "tokenizer": kind,
        "size": vocabulary.size,
        "fingerprint": vocabulary.fingerprint,
        **more,
    }
    write_json(directory / HEADER, header)


def read_header(directory: Path, kind: str) -> dict[str, Any]:
    """The header of a tokenizer of this kind; ModelError when it is missing, damaged or of another kind."""
    path = directory / HEADER
    header = read_json(path)
    if not isinstance(header, dict) or type(header.get("size")) is not int:
        raise damaged(path, "it is not the header of a tokenizer")
    if header.get("tokenizer") != kind:
        raise damaged(
            path, f"it describes the tokenizer {reprlib.repr(header.get('tokenizer'))}, not '{kind}'"
        )
    if header.get("format") != FORMAT:
        raise ModelError(
            f"{path}: it has format {reprlib.repr(header.get('format'))}, this version of lmkit reads {FORMAT}; "
            "use the version that wrote it"
        )
    return header


def check_header(directory: Path, header: dict[str, Any], vocabulary: Vocabulary) -> None:
    """ModelError unless the vocabulary that was read is the one that was written."""
    if (header["size"], header.get("fingerprint")) != (vocabulary.size, vocabulary.fingerprint):
        raise damaged(directory, "its vocabulary is not the one that its header describes")


def read_bytes(path: Path, largest: int) -> bytes:
    """A whole file; ModelError when it is missing, is no file, or is larger than any that we write."""
    try:
        if path.exists() and not path.is_file():
            raise damaged(path, "it is a directory or a device, not a file")
        size = path.stat().st_size
        if size > largest:
            raise damaged(path, f"it has {size:,} bytes, more than {largest:,}")
        return path.read_bytes()
    except OSError as error:
        raise damaged(path, f"it cannot be read ({error.strerror or error})") from error


def read_json(path: Path) -> Any:
    """A parsed file; ModelError when it is no JSON, too large or too deep."""
    data = read_bytes(path, LARGEST_JSON)
    try:
        return strict_json.parse(data)
    except ValueError as error:
        raise damaged(path, f"it is not sound JSON ({error})") from error


def write_json(path: Path, value: Any) -> None:
    """The same text for the same value."""
    path.write_text(strict_json.dumps(value, indent=1) + "\n", encoding="utf-8")


def damaged(path: Path, reason: str) -> ModelError:
    """The error for a file that is not what `save` wrote."""
    return ModelError(f"{path}: {reason}; restore it from a backup or train again")
