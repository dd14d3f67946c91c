"""Write and check the header and files of a saved tokenizer, which are untrusted."""

import hashlib
import reprlib
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from lmkit import strict_json
from lmkit.contracts import Vocabulary
from lmkit.errors import DataError, ModelError, reason_of
from lmkit.files import read_bounded
from lmkit.runs import read_json

FORMAT = 1
HEADER = "tokenizer.json"

_PARTS_AT_ONCE = 1 << 12


def fingerprint(kind: str, parts: Iterable[bytes]) -> str:
    """sha256 over everything that decides ids; each part is preceded by its length."""
    digest = hashlib.sha256(f"lmkit {kind} {FORMAT}\n".encode())
    parts = iter(parts)
    while some := list(islice(parts, _PARTS_AT_ONCE)):
        digest.update(b"".join(piece for part in some for piece in (len(part).to_bytes(8, "little"), part)))
    return digest.hexdigest()


def write_header(directory: Path, kind: str, vocabulary: Vocabulary, **more: str | float | None) -> None:
    """Write the header of the directory, for `check_header`."""
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
    if type(header.get("size")) is not int:
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
    """Raise ModelError unless the vocabulary is the one that was written."""
    if (header["size"], header.get("fingerprint")) != (vocabulary.size, vocabulary.fingerprint):
        raise damaged(directory, "its vocabulary does not match its header")


def read_bytes(path: Path, largest: int) -> bytes:
    """A whole file; ModelError when it is missing, not a file, or larger than any that lmkit writes."""
    try:
        return read_bounded(path, largest)
    except OSError as error:
        raise damaged(path, f"it cannot be read ({reason_of(error)})") from error
    except ValueError as error:
        raise damaged(path, str(error)) from error


def read_given(path: Path, largest: int) -> bytes:
    """A whole file that the user named; DataError when it is missing, not a file, or too large."""
    try:
        return read_bounded(path, largest)
    except OSError as error:
        raise DataError(
            f"the tokenizer's file {path} cannot be read ({reason_of(error)}); check the path"
        ) from error
    except ValueError as error:
        raise DataError(f"the tokenizer's file {path}: {error}; give another file") from error


def write_json(path: Path, value: Any) -> None:
    """The same text for the same value."""
    path.write_text(strict_json.dumps(value, indent=1) + "\n", encoding="utf-8")


def damaged(path: Path, reason: str) -> ModelError:
    """The error for a file that has changed since `save`."""
    return ModelError(f"{path}: {reason}; restore it from a backup or train again")
