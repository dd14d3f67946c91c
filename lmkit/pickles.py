"""Detect pickles by their names and first bytes: loading one can run any code, so lmkit never does."""

from pathlib import Path

from lmkit.errors import ModelError

SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
"""The usual suffixes of files of `torch.save` and `pickle.dump`."""

_ZIP = b"PK\x03\x04"
_PICKLE_PROTO = 0x80
_HIGHEST_PROTOCOL = 5


def refuse_pickle(path: Path, *, by_name: bool = False) -> None:
    """Raise ModelError when the file is a pickle or a zip of pickles, as `torch.save` writes them.

    by_name: a usual suffix is enough. Raises OSError when the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(9)
    if (by_name and path.suffix.lower() in SUFFIXES) or _is_pickle(head):
        raise ModelError(
            f"{path}: is a pickle, which is never loaded, since it can run any code; "
            "use safetensors, or train the model with lmkit"
        )


def _is_pickle(head: bytes) -> bool:
    """Whether the first 9 bytes of a file begin a zip or a pickle of protocol 2 to 5 (PEP 3154)."""
    if head.startswith(_ZIP):
        return True
    # A safetensors file may begin like this: 0x0280 is a header of 640 bytes, whose "{" comes after 8 bytes.
    marked = len(head) > 1 and head[0] == _PICKLE_PROTO and 2 <= head[1] <= _HIGHEST_PROTOCOL
    return marked and head[8:] != b"{"
