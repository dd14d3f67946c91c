"""Check a tokenizer.json of Hugging Face's library, and prepare it for encoding ordinary text."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lmkit import strict_json
from lmkit.specs import MOST_IDS

END_TOKENS = ("</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>")
"""Special tokens that end a line unless another is given."""
MODELS = ("BPE", "Unigram", "WordPiece", "WordLevel")


@dataclass(frozen=True)
class TokenizerFile:
    """The contents of a file.

    table: the JSON for the library, without the parts that add tokens, cut text or depend on chance.
    tokens: the spelling of each id in the library's notation; None for ids that no token has.
    special: the ids that no text gets, without that of the unknown token. eos_id: len(tokens) if no token ends lines.
    """

    table: str
    tokens: tuple[str | None, ...]
    special: frozenset[int]
    eos_id: int
    unk_id: int | None


def parse(data: bytes, end_token: str | None) -> TokenizerFile:
    """The tokenizer in `data`, whose lines end with `end_token`.

    Raises ValueError, with the reason, if lmkit cannot use it.
    """
    table = strict_json.parse(data)
    model = table.get("model") if isinstance(table, dict) else None
    if not isinstance(model, dict):
        raise ValueError("it is not a tokenizer.json of Hugging Face's tokenizers: it has no model")
    # Very old files do not name the type of their model; the library guesses it.
    if model.get("type", "BPE") not in MODELS:
        raise ValueError(f"its model is {model['type']!r}, not one of {', '.join(MODELS)}")
    if any(part.get("type") == "CTC" for part in _parts(table.get("decoder"))):
        raise ValueError("its decoder drops repeated tokens, as in speech recognition")
    _prepare(table, model)
    ids = _vocabulary(model)
    added = _added(table)
    ids |= {token["content"]: token["id"] for token in added}
    tokens = _by_id(ids)
    special = {token["id"] for token in added if token.get("special") is True}
    unk_id = _unknown_id(model, ids)
    eos_id = _end_id(end_token, ids, special, len(tokens))
    if eos_id == unk_id:
        raise ValueError(f"its unknown token {tokens[eos_id]!r} also ends lines; give another end_token")
    return TokenizerFile(
        strict_json.dumps(table, ascii_only=False, sort_keys=True), tokens,
        frozenset((special | {eos_id}) - {unk_id}), eos_id, unk_id,
    )  # fmt: skip


def _prepare(table: dict[str, Any], model: dict[str, Any]) -> None:
    """Remove what frames, cuts or pads text, draws at random, or changes text when decoding."""
    table |= {"post_processor": None, "truncation": None, "padding": None}
    if "dropout" in model:
        model["dropout"] = None
    for part in _parts(table.get("decoder")):
        if "cleanup" in part:
            part["cleanup"] = False  # with it, the text of some ids is no prefix of the text of more


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """A component and those that it consists of."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _parts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _parts(inner)


def _vocabulary(model: dict[str, Any]) -> dict[str, int]:
    """The ids of the model's tokens."""
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, list):  # Unigram: pairs of a piece and its score
        pieces = [pair[0] if isinstance(pair, list) and pair else None for pair in vocabulary]
        return {_text(piece): i for i, piece in enumerate(pieces)}
    if not isinstance(vocabulary, dict):
        raise ValueError("its model has no vocabulary")
    return {token: _id(i) for token, i in vocabulary.items()}


def _added(table: dict[str, Any]) -> list[dict[str, Any]]:
    added = table.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(token, dict) for token in added):
        raise ValueError("its added tokens are not a list of objects")
    return [{**token, "content": _text(token.get("content")), "id": _id(token.get("id"))} for token in added]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("one of its tokens is not a string")
    return value


def _id(value: Any) -> int:
    if type(value) is not int or not 0 <= value < MOST_IDS - 1:
        raise ValueError(f"the id {value!r} of a token is not a whole number below {MOST_IDS - 1:,}")
    return value


def _by_id(ids: dict[str, int]) -> tuple[str | None, ...]:
    size = max(ids.values(), default=-1) + 1
    if size == 0 or size > 2 * len(ids) + 1000:
        raise ValueError(f"it has {len(ids):,} tokens with ids up to {size:,}")
    tokens: list[str | None] = [None] * size
    for token, i in ids.items():
        if tokens[i] is not None:
            raise ValueError(f"its tokens {tokens[i]!r} and {token!r} have the same id")
        tokens[i] = token
    return tuple(tokens)


def _unknown_id(model: dict[str, Any], ids: dict[str, int]) -> int | None:
    """The id of text without tokens; None if there is none: such text has bytes as tokens, or is left out."""
    if isinstance(model["vocab"], list):
        unknown = model.get("unk_id")
        if type(unknown) is not int or not 0 <= unknown < len(model["vocab"]):
            raise ValueError("its Unigram model has no unknown token")
        return unknown
    token = model.get("unk_token")
    if isinstance(token, str) and token in ids:
        return ids[token]
    if model.get("type", "BPE") != "BPE":
        raise ValueError("its unknown token is not in its vocabulary")
    model["unk_token"] = None
    return None


def _end_id(end_token: str | None, ids: dict[str, int], special: set[int], size: int) -> int:
    if end_token is not None:
        if end_token not in ids:
            raise ValueError(f"it has no token {end_token!r} to end lines with")
        return ids[end_token]
    return next((ids[token] for token in END_TOKENS if ids.get(token) in special), size)
