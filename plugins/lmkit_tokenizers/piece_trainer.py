"""Train sentencepiece in a child process, on lines that it does not drop."""

import logging
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from lmkit import strict_json
from lmkit.errors import DataError, LmkitError, UsageError
from lmkit.notes import NOTE
from lmkit_tokenizers.options import SentencePieceOptions
from lmkit_tokenizers.piece_model import EOS, SPACE, UNK
from lmkit_tokenizers.piece_trainer_child import REFUSED
from lmkit_tokenizers.text import encoded

LONGEST_LINE = 4192
"""Bytes; the trainer drops longer lines."""

# The trainer drops lines with U+2585, its mark for unknown characters, and miscounts at NUL.
_FORBIDDEN = re.compile("[\0\n▅]")
_TOO_SMALL = re.compile(r"smaller than required_chars\. \d+ vs (\d+)")

log = logging.getLogger(__name__)


def train(lines: Iterable[str], options: SentencePieceOptions) -> bytes:
    """A trained model, serialised.

    Raises UsageError when vocab_size is too small for the text, DataError when the text has no characters or the
    trainer was killed.
    """
    feed = CheckedLines(lines)
    with tempfile.TemporaryDirectory(prefix="lmkit-sentencepiece-") as folder:
        model, messages = Path(folder) / "model", Path(folder) / "messages"
        with messages.open("wb") as stderr:
            code = _run(_command(settings(options), options.max_lines, model), feed, stderr)
        feed.report(options.max_lines)
        if code != 0:
            reason = messages.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
            raise _failure(code, reason, feed.fed == 0, options)
        return model.read_bytes()


def settings(options: SentencePieceOptions) -> dict[str, Any]:
    """The trainer's settings.

    No space is added before each line, so pieces spell exactly the line, and the text of two sequences of ids is
    the concatenation of their texts. A space always has a piece, since as bytes it would be decoded as U+2581.
    """
    return {
        "vocab_size": options.vocab_size,
        "model_type": options.model_type,
        "byte_fallback": options.byte_fallback,
        "normalization_rule_name": options.normalization,
        "remove_extra_whitespaces": options.remove_extra_whitespaces,
        "character_coverage": options.character_coverage,
        "num_threads": options.threads,
        "max_sentence_length": LONGEST_LINE,
        "add_dummy_prefix": False,
        "required_chars": SPACE,
        # A vocabulary larger than the text allows is reduced, not refused.
        "hard_vocab_limit": False,
        "eos_id": EOS,
        "unk_id": UNK,
        "bos_id": -1,
        "pad_id": -1,
        "unk_surface": "\ufffd",
        "minloglevel": 2,
    }


class CheckedLines:
    """Lines in UTF-8 that the trainer accepts unchanged: long ones are cut, forbidden characters removed."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self.fed = 0
        self.cut_long = 0
        self.cut_forbidden = 0

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            parts = _FORBIDDEN.split(line)
            self.cut_forbidden += len(parts) > 1
            for part in parts:
                data = encoded(part)
                self.cut_long += len(data) > LONGEST_LINE
                for piece in _cut(data):
                    self.fed += 1
                    yield piece

    def report(self, max_lines: int) -> None:
        """Log how the trainer's input differs from the text."""
        if self.cut_long:
            log.log(
                NOTE,
                "%d lines longer than %d bytes were cut for the training of sentencepiece",
                self.cut_long,
                LONGEST_LINE,
            )
        if self.cut_forbidden:
            log.log(
                NOTE,
                "%d lines were cut at NUL, line feed or U+2585, which sentencepiece cannot be trained on",
                self.cut_forbidden,
            )
        if self.fed > max_lines:
            log.log(
                NOTE,
                "sentencepiece was trained on a sample of %d of %d lines (max_lines)",
                max_lines,
                self.fed,
            )


def _cut(data: bytes) -> Iterator[bytes]:
    """At most LONGEST_LINE bytes at a time, cut before a space or else between characters; no empty line."""
    start = 0
    while len(data) - start > LONGEST_LINE:
        end = data.rfind(b" ", start + 1, start + LONGEST_LINE)
        if end < 0:
            end = start + LONGEST_LINE
            while data[end] & 0xC0 == 0x80:
                end -= 1
        yield data[start:end]
        start = end
    if start < len(data):
        yield data[start:]


def _command(trainer: dict[str, Any], max_lines: int, model: Path) -> list[str]:
    # -P: do not import a file sentencepiece.py in the working directory.
    return [
        sys.executable,
        "-P",
        "-m",
        "lmkit_tokenizers.piece_trainer_child",
        strict_json.dumps(trainer),
        str(max_lines),
        str(model),
    ]


def _run(command: list[str], lines: Iterable[bytes], stderr: IO[bytes]) -> int:
    """Send the input to the child; return its exit code, negative for a signal."""
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        _feed(child, lines)
        return child.wait()
    finally:
        # Still running only after an error in the lines or an interrupt.
        if child.poll() is None:
            child.kill()
            child.wait()


def _feed(child: "subprocess.Popen[bytes]", lines: Iterable[bytes]) -> None:
    assert child.stdin is not None
    for line in lines:
        try:
            child.stdin.write(line + b"\n")
        except BrokenPipeError:  # The child has ended; see its exit code.
            break
    try:
        child.stdin.close()
    except BrokenPipeError:
        return


def _failure(code: int, reason: str, nothing: bool, options: SentencePieceOptions) -> LmkitError:
    if code != REFUSED:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return DataError(
            f"the training of sentencepiece was stopped ({how}), most likely because memory ran out: "
            f"lower max_lines ({options.max_lines}) or threads ({options.threads})"
        )
    if nothing:
        return DataError("the text has no characters to train sentencepiece on: give more text")
    if too_small := _TOO_SMALL.search(reason):
        return UsageError(
            f"vocab_size {options.vocab_size} is too small for the characters of this text: "
            f"it must be at least {too_small[1]}, or character_coverage lower"
        )
    return DataError(f"sentencepiece cannot be trained on this text: {reason}")
