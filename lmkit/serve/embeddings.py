"""`/v1/embeddings`: a vector for each text, that of `lmkit embed --pool mean`."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lmkit.serve import limits
from lmkit.serve.completions import check_length, check_tokens
from lmkit.serve.errors import ApiError, invalid, too_long
from lmkit.serve.fields import Fields, checked_text
from lmkit.serve.limits import Limits
from lmkit.serve.models import Models, Served

FIELDS = ("model", "input", "encoding_format", "dimensions", "user")
TOGETHER = 32
"""Texts of one question to the engine, so that others need not wait for a long list."""
LAYER, POOL = "mix", "mean"
TEXT_ONLY = "ids are not read here: send text; in langchain-openai set check_embedding_ctx_length=False"


@dataclass(frozen=True)
class Asked:
    """A checked request."""

    served: Served
    texts: list[str]
    base64: bool
    dimensions: int | None


def read_request(body: Any, models: Models, bounds: Limits, name: str | None = None) -> Asked:
    """Check a request's JSON; name: of the run in the address. Raises ApiError."""
    fields = Fields(body, FIELDS)
    served = models.only(fields.text("model") if name is None else name)
    form = fields.one_of("encoding_format", ("float", "base64"), "float")
    texts = _texts(fields.get("input"))
    for text in texts:
        check_length("input", text, bounds)
    dimensions = fields.whole("dimensions", 0, 1) if "dimensions" in fields else None
    return Asked(served, texts, form == "base64", dimensions)


def _texts(given: Any) -> list[str]:
    if isinstance(given, str):
        return [checked_text("input", given)]
    if not isinstance(given, list) or not given:
        raise invalid("input", "give a text, or a list of texts")
    if any(isinstance(item, int | list) for item in given):
        raise invalid("input", TEXT_ONLY)
    if not all(isinstance(item, str) for item in given):
        raise invalid("input", "give a text, or a list of texts")
    if len(given) > limits.PROMPTS:
        raise too_long("input", f"{len(given)} texts are more than {limits.PROMPTS}")
    return [checked_text("input", item) for item in given]


def check_model(asked: Asked) -> None:
    """400 for a model without vectors, or for another width; in the engine's thread."""
    width = asked.served.width
    if width is None:
        raise ApiError(
            400,
            f"{asked.served.name}: this model has no vectors; name a run of an encoder or of a neural model",
            param="model",
        )
    if asked.dimensions not in (None, width):
        raise invalid(
            "dimensions", f"is {asked.dimensions}, but the vectors of {asked.served.name} have {width}"
        )


def vectors(asked: Asked, texts: Sequence[str], first: int, bounds: Limits) -> tuple[list[Any], int]:
    """The vectors of some texts as the answer writes them, and the number of tokens; in the engine's thread."""
    tokens = 0
    for place, text in enumerate(texts, first):
        count = len(asked.served.model.tokenizer.ids(text))
        check_tokens(f"input[{place}]", count, bounds)
        tokens += count
    found = asked.served.model.embed(list(texts), LAYER, POOL)
    return [_written(asked, vector, first + place) for place, vector in enumerate(found)], tokens


def _written(asked: Asked, vector: torch.Tensor, place: int) -> Any:
    if not bool(vector.isfinite().all()):
        raise ApiError(400, f"input[{place}]: the model gives a vector with numbers that are not finite")
    if asked.base64:
        return base64.b64encode(vector.float().numpy().astype("<f4").tobytes()).decode()
    return vector.float().tolist()


def answer(asked: Asked, found: list[Any], tokens: int) -> dict[str, Any]:
    """The answer."""
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": place, "embedding": vector} for place, vector in enumerate(found)
        ],
        "model": asked.served.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
