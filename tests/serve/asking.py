"""Shared code of these tests: the kinds of runs, and asking a server."""

import json
import random
from typing import Any

WORDS = ["the", "cat", "dog", "sat", "ran", "on", "mat", "a", "good", "."]
NEURAL = {"hidden_size": 16, "max_steps": 12, "batch_size": 4, "bptt": 16, "lr": 0.02}
KINDS: dict[str, dict[str, Any]] = {
    "ngram": {"model": "ngram", "order": 3, "tokenizer": "word", "min_count": 1},
    "line": {"model": "gru", "reset": "line", "tokenizer": "word", "min_count": 1, **NEURAL},
    "document": {"model": "lstm", "reset": "document", "tokenizer": "char", **NEURAL},
    "never": {"model": "gru", "reset": "never", "tokenizer": "sentencepiece", "vocab_size": 280, **NEURAL},
    "bytes": {"model": "gru", "reset": "line", "tokenizer": "byte", **NEURAL},
}
"""Causal models by the place where their state is reset, with tokenizers of every kind."""
ENCODER: dict[str, Any] = {"model": "elmo", "hidden_size": 8, "filters": "1x8,2x8", "max_steps": 5}


def sentences(count: int, seed: int = 0) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randint(2, 7))) for _ in range(count)]


Client = Any


def complete(client: Client, path: str = "/v1/completions", **body: Any) -> dict[str, Any]:
    """The answer to a request for completions."""
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def events(text: str) -> list[dict[str, Any]]:
    """The chunks of a stream, which must end with [DONE]."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]
