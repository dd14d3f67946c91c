"""Comment lines of an ARPA file for facts that the format lacks: the tokenizer, stupid backoff and quantization.

The first is a note in JSON, the others are the tokenizer's files (`arpa_tokenizer`). KenLM treats lines that begin
with `#` there as comments, and other programs skip all lines before `\\data\\`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lmkit import strict_json

WORDS = "lmkit:word"
"""The tokenizer of files without a tokenizer's name."""
PREFIX, PACKED_PREFIX = b"# lmkit: ", b"# lmkit+ "
LINE = 1000
"""Base64 characters in a line: few lines, but short enough for other programs."""
LARGEST = 1 << 28
"""Maximum total bytes of a tokenizer's files; larger ones are not packed."""
MOST_FILES = 100
LONGEST_NAME = 255

_PART = re.compile(r"\w[\w.-]*:\w[\w.-]*")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Note:
    """lmkit's note about a model.

    tokenizer: its long name. fingerprint: of its vocabulary. alpha: of stupid backoff, None for probabilities.
    quantized: whether the model's probabilities have 8 bits. options: of the tokenizer.
    files: the size of each of its files, empty if they are not packed. packed: these files in base64.
    """

    tokenizer: str
    fingerprint: str
    alpha: float | None = None
    quantized: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)
    packed: bytes = b""

    def lines(self) -> Iterator[bytes]:
        facts: dict[str, Any] = {"tokenizer": self.tokenizer, "fingerprint": self.fingerprint}
        if self.alpha is not None:
            facts |= {"alpha": self.alpha, "smoothing": "stupid-backoff"}
        if self.quantized:
            facts["quantized"] = True
        if self.files:
            facts |= {"options": dict(self.options), "files": dict(self.files)}
        yield PREFIX + strict_json.dumps(facts).encode() + b"\n"
        for first in range(0, len(self.packed), LINE):
            yield PACKED_PREFIX + self.packed[first : first + LINE] + b"\n"


def parse(line: bytes) -> Note:
    """The note in a line that begins with PREFIX; ValueError, with the reason, for a damaged one."""
    facts = strict_json.parse(line[len(PREFIX) :])
    if not isinstance(facts, dict):
        raise ValueError("it is not an object")
    tokenizer, fingerprint, alpha = (facts.get(name) for name in ("tokenizer", "fingerprint", "alpha"))
    if not (isinstance(tokenizer, str) and _PART.fullmatch(tokenizer) and len(tokenizer) <= LONGEST_NAME):
        raise ValueError("it has no tokenizer")
    if not isinstance(fingerprint, str):
        raise ValueError("it has no fingerprint")
    if alpha is not None and not (isinstance(alpha, float) and 0 < alpha <= 1):
        raise ValueError("its alpha is not a number from 0 to 1")
    quantized, options, files = (
        facts.get("quantized", False),
        facts.get("options", {}),
        facts.get("files", {}),
    )
    if not isinstance(quantized, bool):
        raise ValueError("its 'quantized' is not true or false")
    if not isinstance(options, dict) or not all(name.isidentifier() for name in options):
        raise ValueError("its options are not those of a tokenizer")
    if not isinstance(files, dict) or not can_pack(files):
        raise ValueError("its files are not those of a tokenizer")
    return Note(tokenizer, fingerprint, alpha, quantized, options, files)


def can_pack(files: Mapping[str, Any]) -> bool:
    """Whether the files can be packed: few, in one folder, not too large."""
    return (
        len(files) <= MOST_FILES
        and all(_FILE.fullmatch(name) for name in files)
        and all(type(size) is int and size >= 0 for size in files.values())
        and sum(files.values()) <= LARGEST
    )
