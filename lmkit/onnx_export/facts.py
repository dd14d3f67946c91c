"""What a file says about its model besides the graph: its state, its vocabulary and where it comes from."""

import base64
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

import lmkit
from lmkit import strict_json
from lmkit.contracts import Tokenizer
from lmkit.errors import LmkitError
from lmkit.files import sha256
from lmkit.onnx_export.encoder_form import code_shape
from lmkit.onnx_export.forms import NEXT, Leaf
from lmkit.recurrence import BidirectionalEncoder
from lmkit.run_facts import model_name
from lmkit.run_paths import MANIFEST, TOKENIZER
from lmkit.runs import LoadedRun

SAMPLES, SAMPLE_LENGTH = 20, 50
"""The rows of random ids on which the spellings of tokens are tried."""
LARGEST_FILES = 1 << 26
"""Bytes of a tokenizer's files in all; larger ones are left out."""

_REPLACED = re.compile("\ufffd+")
_BYTE = re.compile(rb"<0x([0-9A-F]{2})>_*")


def fingerprint(run: LoadedRun) -> str:
    """A hash that differs between runs: of the manifest, which has the hashes of all other files."""
    return sha256(run.directory / MANIFEST)


def facts_of(run: LoadedRun, form: str, weights: str, leaves: Sequence[Leaf]) -> dict[str, str]:
    """The metadata of a file: text by name, lists and tables in JSON."""
    return {
        "lmkit.version": lmkit.__version__,
        "lmkit.form": form,
        "lmkit.weights": weights,
        "lmkit.model": model_name(run.manifest),
        "lmkit.run": fingerprint(run),
        "lmkit.reset": getattr(run.model, "reset_policy", ""),
        "lmkit.state": strict_json.dumps([_state(leaf) for leaf in leaves]),
        "lmkit.tokenizer": strict_json.dumps(_tokenizer(run)),
    }


def _state(leaf: Leaf) -> dict[str, Any]:
    """An input of the state; initial: the numbers of a row, as text since JSON has no infinity, repeated to fill it."""
    values = leaf.blank.flatten().tolist()
    if len(set(values)) == 1:
        values = values[:1]
    return {
        "input": leaf.name,
        "output": NEXT + leaf.name,
        "shape": list(leaf.blank.shape[1:]),
        "type": str(leaf.blank.dtype).removeprefix("torch."),
        "initial": [_written(value) for value in values],
    }


def _written(value: float) -> str:
    """A number in the form that Python's float and JavaScript's Number read."""
    return repr(value).replace("inf", "Infinity")


def _tokenizer(run: LoadedRun) -> dict[str, Any]:
    tokenizer, vocabulary = run.tokenizer, run.tokenizer.vocabulary
    join = " " if tokenizer.unit == "word" else ""
    found: dict[str, Any] = {
        "name": run.tokenizer_choice.name,
        "unit": tokenizer.unit,
        "size": vocabulary.size,
        "start_id": vocabulary.size,
        "eos_id": vocabulary.eos_id,
        "unk_id": vocabulary.unk_id,
        "fingerprint": vocabulary.fingerprint,
        "join": join,
        "tokens": spellings(tokenizer, join),
    }
    if isinstance(run.model, BidirectionalEncoder) and code_shape(run.model):
        found["spellings"] = [symbol.decode("utf-8", "replace") for symbol in tokenizer.symbols()]
    if tokenizer.unit not in ("word", "char", "byte"):
        found["files"] = _files(run)
    return found


def spellings(tokenizer: Tokenizer, join: str) -> list[str | int] | None:
    """The text of each id, or the byte that it is; None unless a text is that of its tokens, with `join` between."""
    special = {tokenizer.vocabulary.eos_id: "", tokenizer.vocabulary.unk_id: "\ufffd"}
    try:
        symbols = tokenizer.symbols()
    except LmkitError:
        symbols = []
    found: list[str | int] = []
    for id_ in range(tokenizer.vocabulary.size):
        text = tokenizer.decode([id_])
        is_byte = text == "\ufffd" and id_ not in special and symbols
        found.append(_byte_of(symbols[id_]) if is_byte else special.get(id_, text))
    generator = np.random.default_rng(0)
    for _ in range(SAMPLES):
        ids = generator.integers(0, len(found), SAMPLE_LENGTH).tolist()
        ids = [id_ for id_ in ids if id_ != tokenizer.vocabulary.eos_id]
        # For bytes that are not UTF-8, sentencepiece writes more replacement characters than Python.
        texts = [joined([found[id_] for id_ in ids], join), tokenizer.decode(ids)]
        if len({_REPLACED.sub("\ufffd", text) for text in texts}) > 1:
            return None
    return found


def joined(tokens: Sequence[str | int], join: str) -> str:
    """The text of tokens."""
    parts = [bytes([token]) if isinstance(token, int) else token.encode() for token in tokens]
    return join.encode().join(parts).decode(errors="replace")


def _byte_of(symbol: bytes) -> str | int:
    """The byte that a symbol spells, or U+FFFD."""
    if len(symbol) == 1:
        return symbol[0]
    match = _BYTE.fullmatch(symbol)
    return int(match[1], 16) if match else "\ufffd"


def _files(run: LoadedRun) -> dict[str, str]:
    """The tokenizer's files, in base 64, for a program that splits texts as it does."""
    folder = run.directory / TOKENIZER
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if sum(path.stat().st_size for path in paths) > LARGEST_FILES:
        return {}
    return {
        path.relative_to(folder).as_posix(): base64.b64encode(path.read_bytes()).decode() for path in paths
    }
