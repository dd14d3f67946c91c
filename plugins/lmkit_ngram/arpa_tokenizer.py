"""Store the files of a tokenizer in the comments of an ARPA file, which keeps its codes and its rate of new words."""

import base64
import logging
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from lmkit.corpus.compression import EXPANSION_FLOOR
from lmkit.errors import ModelError, UsageError
from lmkit.notes import NOTE
from lmkit.options import Chosen, choose
from lmkit_ngram.arpa_note import WORDS, Note, can_pack

if TYPE_CHECKING:
    from lmkit.contracts import Tokenizer
    from lmkit.runs import LoadedRun

LARGEST_GROWTH = 100
"""Maximum factor of expansion of packed files, past 64 MiB."""

log = logging.getLogger(__name__)


def note_of(run: "LoadedRun", alpha: float | None, *, quantized: bool = False) -> Note | None:
    """The note of a run, with its tokenizer's files; None if its words are enough. alpha, quantized: see `Note`."""
    name, fingerprint = run.tokenizer_choice.name, run.tokenizer.vocabulary.fingerprint
    if name == WORDS and run.tokenizer.novelty is None and alpha is None and not quantized:
        return None
    with tempfile.TemporaryDirectory() as folder:
        run.tokenizer.save(Path(folder))
        found = sorted(Path(folder).iterdir())
        files = {path.name: path.stat().st_size for path in found if path.is_file()}
        if len(files) < len(found) or not can_pack(files):
            log.log(
                NOTE,
                "the tokenizer's files are too many or too large to be included: bits per byte of an imported run "
                "will not be comparable on a text with unknown tokens",
            )
            return Note(name, fingerprint, alpha, quantized)
        content = b"".join(path.read_bytes() for path in found)
    packed = base64.b64encode(zlib.compress(content))
    options = {key: value for key, value in run.manifest["tokenizer"].items() if key != "name"}
    return Note(name, fingerprint, alpha, quantized, options, files, packed)


def kept_tokenizer(note: Note) -> tuple[Chosen, "Tokenizer"]:
    """The tokenizer whose files a note has; ModelError when they are damaged."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            _unpack(note, Path(folder))
            chosen = choose("tokenizer", {"name": note.tokenizer, **note.options}, "options")
            tokenizer: Tokenizer = chosen.load().load(Path(folder), chosen.options)
            if tokenizer.vocabulary.fingerprint != note.fingerprint:
                raise ValueError("its fingerprint differs")
        except (ModelError, UsageError, ValueError) as error:
            reason = str(error).replace(f"{Path(folder)}/", "").partition("; ")[0]
            raise ModelError(
                f"the tokenizer in the lines that begin with '# lmkit' is damaged ({reason}); get the file again, or "
                "delete these lines and give --tokenizer"
            ) from error
    return chosen, tokenizer


def _unpack(note: Note, folder: Path) -> None:
    """Write the files of a note; ValueError unless they have the sizes in the note."""
    size = sum(note.files.values())
    if size > max(EXPANSION_FLOOR, LARGEST_GROWTH * len(note.packed)):
        raise ValueError("it is larger than the packed data allows")
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(base64.b64decode(note.packed, validate=True), size + 1)
    except zlib.error as error:
        raise ValueError(" ".join(str(error).split())) from None
    if len(content) != size or not stream.eof or stream.unused_data:
        raise ValueError(f"it does not unpack to {size:,} bytes")
    start = 0
    for name, length in note.files.items():
        (folder / name).write_bytes(content[start : start + length])
        start += length
