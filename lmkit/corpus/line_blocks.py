"""The ids and the sizes of the lines of a block, all at once."""

from typing import TYPE_CHECKING

import numpy as np

from lmkit.blame import described, remedy_for
from lmkit.corpus.store_files import divides
from lmkit.corpus.words import WHITE_SPACE
from lmkit.errors import PluginError

if TYPE_CHECKING:
    from lmkit.contracts import Tokenizer

_IS_GAP = bytes(chr(byte) in WHITE_SPACE for byte in range(256))


def block_ids(tokenizer: "Tokenizer", raw: bytes) -> tuple[np.ndarray, np.ndarray]:
    """`Tokenizer.block_ids`, checked: PluginError if it gives another number of lines, or lines without ids."""
    ids, ends = tokenizer.block_ids(raw)
    check_integers(tokenizer, ids)
    lines = raw.count(b"\n") + 1
    if len(ends) != lines or not divides(ends, len(ids)):
        raise PluginError(
            f"{described(tokenizer)} gave {len(ends)} lines with {len(ids)} ids for a block of {lines} lines; "
            f"{remedy_for(tokenizer)}"
        )
    return ids, ends


def check_integers(tokenizer: "Tokenizer", ids: object) -> None:
    """Raise PluginError unless a tokenizer's ids are an array of whole numbers."""
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu":
        return
    kind = f"an array of {ids.dtype}" if isinstance(ids, np.ndarray) else f"a {type(ids).__name__}"
    raise PluginError(
        f"{described(tokenizer)} gave {kind} as ids, wanted an array of int32; {remedy_for(tokenizer)}"
    )


def line_sizes(raw: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The bytes and the words of each line of a block, each (lines,) int64."""
    data = raw + b"\n"
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    gap = np.frombuffer(data.translate(_IS_GAP), bool)
    word_ends = np.flatnonzero(gap[1:] > gap[:-1]) + 1
    starts = np.append(0, ends[:-1] + 1)
    return ends - starts, np.diff(np.searchsorted(word_ends, ends, side="right"), prepend=0)
