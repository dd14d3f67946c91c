"""Files that outlive a crash: written through to the disk, put in place by a rename, known by their SHA-256."""

import hashlib
import os
from pathlib import Path


def write_atomic(path: Path, text: str) -> None:
    """Write a file under another name, flush it to the disk, then rename it."""
    hidden = path.with_name(f".{path.name}.part")
    hidden.write_text(text, encoding="utf-8")
    sync_file(hidden)
    hidden.replace(path)


def sync_file(path: Path) -> None:
    """Wait until the contents of a file are on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the entries of a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
