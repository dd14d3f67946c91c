"""The OpenAPI document of the server."""

from collections.abc import Sequence
from typing import Any

from lmkit import __version__
from lmkit.serve import limits

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
IDS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}}
TEXTS: Schema = {"type": "array", "items": TEXT}
MODEL: Schema = {"type": "string", "description": "A served name; it may be left out if there is one."}
RUNS: Schema = {"oneOf": [TEXT, TEXTS], "description": "A run, or several; all if left out."}
BLANK: Schema = {"type": "string", "description": "A line with one blank: two or more underscores."}
LINES: Schema = {"oneOf": [TEXT, TEXTS], "description": "A text, or a list of lines."}


def _whole(least: int, most: int | None = None, **more: Any) -> Schema:
    return {"type": "integer", "minimum": least, **({} if most is None else {"maximum": most}), **more}


def _one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


NORMALIZE = _one_of("none", "token", "char", "pmi")
REQUESTS: dict[str, tuple[str, Schema, list[str]]] = {
    "/v1/completions": (
        "Continue prompts, or give the log-probabilities of their tokens",
        {
            "model": MODEL,
            "prompt": {"oneOf": [TEXT, TEXTS, IDS, {"type": "array", "items": IDS}]},
            "max_tokens": _whole(0, default=16),
            "logprobs": _whole(0, limits.LOGPROBS),
            "echo": FLAG,
            "stream": FLAG,
            "stream_options": {
                "type": "object",
                "properties": {"include_usage": FLAG, "continuous_usage_stats": FLAG},
            },
            "n": _whole(1, limits.CHOICES, default=1),
            "best_of": _whole(1, limits.CHOICES, description="1, or equal to n"),
            "stop": {"oneOf": [TEXT, TEXTS]},
            "temperature": {**NUMBER, "minimum": 0, "default": 1, "description": "0: the likeliest token"},
            "top_p": {**NUMBER, "minimum": 0, "maximum": 1, "default": 1},
            "seed": _whole(0),
            "ignore_eos": FLAG,
            "user": TEXT,
        },
        ["prompt"],
    ),
    "/v1/embeddings": (
        "A vector for each text",
        {
            "model": MODEL,
            "input": {"oneOf": [TEXT, TEXTS]},
            "encoding_format": _one_of("float", "base64"),
            "dimensions": _whole(1, description="the width of the model's vectors"),
            "user": TEXT,
        },
        ["input"],
    ),
    "/tokenize": ("The ids of a text", {"prompt": TEXT, "add_special_tokens": FLAG}, ["prompt"]),
    "/detokenize": ("The text of ids", {"tokens": IDS}, ["tokens"]),
    "/score": (
        "Perplexities and bits per byte of a text, as lmkit eval",
        {"model": RUNS, "text": LINES, "independent": FLAG},
        ["text"],
    ),
    "/surprisal": (
        "The surprisal of each unit of a text, as lmkit surprisal",
        {
            "model": RUNS,
            "text": LINES,
            "by": _one_of("word", "token", "char", "line"),
            "entropy": FLAG,
            "rank": FLAG,
            "oov": _one_of("model", "spelled"),
            "independent": FLAG,
        },
        ["text"],
    ),
    "/fill": (
        "Candidates in a blank, as lmkit fill",
        {
            "model": RUNS,
            "text": BLANK,
            "candidates": TEXTS,
            "top": _whole(1, default=10),
            "max_tokens": _whole(1, default=3),
            "normalize": NORMALIZE,
            "why": FLAG,
        },
        ["text"],
    ),
    "/why": (
        "The words of a line that support an answer in its blank",
        {
            "model": RUNS,
            "text": BLANK,
            "answer": TEXT,
            "candidates": TEXTS,
            "max_tokens": _whole(1, default=3),
            "normalize": NORMALIZE,
        },
        ["text"],
    ),
    "/next": (
        "The likeliest next tokens after a text",
        {
            "model": RUNS,
            "text": TEXT,
            "k": _whole(1, limits.MOST_NEXT, default=10),
            "context": _whole(0, description="read exactly so many of the last tokens"),
            "start": {**FLAG, "default": True},
        },
        [],
    ),
}
ANSWERS = {
    "/v1/models": "The served runs",
    "/v1/models/{id}": "One served run",
    "/tokenizer_info": "The spelling of the end of text",
    "/health": "200 while the server works",
}
ERROR: Schema = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": TEXT,
                "type": TEXT,
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def document(names: Sequence[str]) -> dict[str, Any]:
    """The document for these served runs; every address also exists under /runs/NAME."""
    paths: dict[str, Any] = {}
    for path, summary in ANSWERS.items():
        parameters = [{"name": "id", "in": "path", "required": True, "schema": _one_of(*names)}]
        paths[path] = {
            "get": {
                "summary": summary,
                "responses": _responses(),
                **({"parameters": parameters} if "{" in path else {}),
            }
        }
    for path, (summary, properties, required) in REQUESTS.items():
        schema = {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }
        paths[path] = {
            "post": {
                "summary": summary,
                "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
                "responses": _responses(),
            }
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lmkit serve",
            "version": __version__,
            "description": f"Runs: {', '.join(names)}. Each address is also under /runs/NAME for one of them.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _responses() -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"200": {"description": "The answer"}, "default": {"description": "An error", "content": error}}
