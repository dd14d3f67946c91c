"""Hostile and mistaken requests: each gets its status and a sentence, and the server goes on."""

import json
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("starlette")
Serve = Callable[..., Any]

DEEP = "[" * 100_000
HOSTILE: dict[str, tuple[str, str, Any, int, str]] = {
    "no JSON": ("POST", "/v1/completions", b"prompt=a", 400, "is not JSON"),
    "nothing": ("POST", "/v1/completions", b"", 400, "is not JSON"),
    "bytes that are no text": ("POST", "/v1/completions", b'{"prompt": "\xff"}', 400, "is not JSON"),
    "deep nesting": ("POST", "/v1/completions", DEEP.encode(), 400, "nested too deeply"),
    "a key twice": ("POST", "/v1/completions", b'{"prompt": "a", "prompt": "b"}', 400, "twice"),
    "a list": ("POST", "/v1/completions", [1], 400, "send a JSON object"),
    "NaN": ("POST", "/v1/completions", b'{"prompt": "a", "temperature": NaN}', 400, "temperature"),
    "infinity": ("POST", "/v1/completions", b'{"prompt": "a", "temperature": 1e999}', 400, "temperature"),
    "a huge number": (
        "POST", "/v1/completions", b'{"prompt": "a", "max_tokens": ' + b"9" * 5000 + b"}", 400, "JSON",
    ),
    "a huge seed": ("POST", "/v1/completions", {"prompt": "a", "seed": 2**80}, 400, "seed"),
    "half a surrogate": ("POST", "/v1/completions", b'{"prompt": "\\ud800"}', 400, "half a surrogate"),
    "half a surrogate to score": ("POST", "/score", b'{"text": ["\\udc00"]}', 400, "half a surrogate"),
    "an id outside": ("POST", "/v1/completions", {"prompt": [10**9]}, 400, "outside the vocabulary"),
    "a negative id": ("POST", "/v1/completions", {"prompt": [-1]}, 400, "outside the vocabulary"),
    "a huge id": ("POST", "/v1/completions", {"prompt": [2**200]}, 400, "outside the vocabulary"),
    "ids to spell": ("POST", "/detokenize", {"tokens": [10**9]}, 400, "outside the vocabulary"),
    "true as an id": ("POST", "/v1/completions", {"prompt": [True]}, 400, "prompt"),
    "mixed prompts": ("POST", "/v1/completions", {"prompt": ["a", [1]]}, 400, "mixes kinds"),
    "no prompt": ("POST", "/v1/completions", {}, 400, "is missing"),
    "a long text": ("POST", "/v1/completions", {"prompt": "a " * 300}, 413, "--max-prompt"),
    "a very long text": ("POST", "/score", {"text": "a" * 100_000}, 413, "--max-prompt"),
    "many ids": ("POST", "/v1/completions", {"prompt": [1] * 300}, 413, "--max-prompt"),
    "many prompts": ("POST", "/v1/completions", {"prompt": ["a"] * 3000}, 413, "3000"),
    "many choices": ("POST", "/v1/completions", {"prompt": ["a"] * 100, "n": 100}, 413, "--max-queue"),
    "a large body": ("POST", "/v1/completions", b" " * (1 << 24) + b"{}", 413, "16 MiB"),
    "many stop strings": ("POST", "/v1/completions", {"prompt": "a", "stop": ["x"] * 99}, 413, "stop"),
    "many candidates": ("POST", "/fill", {"text": "a __", "candidates": ["b"] * 2000}, 413, "candidates"),
    "a long line to explain": ("POST", "/why", {"text": "a " * 150 + "__" + " a" * 160}, 413, "too many"),
    "a long line with many candidates to explain": (
        "POST", "/why", {"text": "a " * 280 + "__", "candidates": [f"b{i}" for i in range(40)]}, 413, "be read",
    ),
    "no blank": ("POST", "/fill", {"text": "a"}, 400, "0 blanks"),
    "another unit": ("POST", "/surprisal", {"text": "a", "by": "span"}, 400, "word, token"),
    "a path as a model": ("POST", "/v1/completions", {"prompt": "a", "model": "../../etc"}, 404, "is not served"),
    "a path in the address": ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", None, 404, "is not served"),
    "a file of the system": ("GET", "/..%2f..%2f..%2fetc%2fpasswd", None, 404, "there is no"),
    "a file of the package": ("GET", "/../app.py", None, 404, "there is no"),
    "a plugin": ("POST", "/v1/completions", {"prompt": "a", "decoder": "os:system"}, 400, "decoder"),
    "a long name of a model": ("POST", "/v1/completions", {"prompt": "a", "model": "ab" * 10**6}, 404, "is not served"),
    "a long name of a field": ("POST", "/v1/completions", {"prompt": "a", "ab" * 10**6: 1}, 400, "unknown field"),
    "a long value": ("POST", "/surprisal", {"text": "a", "by": "ab" * 10**6}, 400, "give word, token"),
    "half a token": ("POST", "/v1/completions", {"prompt": "a", "max_tokens": 0.5}, 400, "is 0.5; give a whole"),
    "many best choices": ("POST", "/v1/completions", {"prompt": "a", "best_of": 10**300}, 400, "from 1 to 128"),
    "no stop string": ("POST", "/v1/completions", {"prompt": "a", "stop": ["b", 3]}, 400, "stop: has 3 in its list"),
    "an empty encoding": ("POST", "/v1/embeddings", {"input": "a", "encoding_format": ""}, 400, "float, base64"),
    "a run that is not there": ("POST", "/runs/x/v1/completions", {"prompt": "a"}, 404, "is not served"),
    "chat": ("POST", "/v1/chat/completions", {}, 404, "does not chat: use /v1/completions"),
    "chat without /v1": ("POST", "/chat/completions", {}, 404, "does not chat: use /v1/completions"),
    "responses": ("POST", "/v1/responses", {}, 404, "does not chat: use /v1/completions"),
    "filling in the middle": ("POST", "/v1/fim/completions", {}, 404, "/fill"),
    "without /v1": ("POST", "/completions", {}, 404, "did you mean /v1/completions?"),
    "another method": ("GET", "/v1/completions", None, 405, "takes POST"),
    "a method of its own": ("DELETE", "/v1/models", None, 405, "takes GET"),
}  # fmt: skip
"""What is sent, and the status and words that answer."""


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_requests(case: str, serve: Serve) -> None:
    """The answer is an error of OpenAI's shape that names the field or the remedy, without the place of the run."""
    method, path, body, status, words = HOSTILE[case]
    client = serve("line", max_prompt=200 if "explain" not in case else 2000)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.request(method, path, content=None if body is None else content)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert words in error["message"]
    assert "/tmp" not in response.text
    assert len(response.text) < 700
    assert client.post("/v1/completions", json={"prompt": "a"}).status_code == 200


def test_hosts_and_origins(serve: Serve) -> None:
    """A name that somebody points here is refused, and so is a page of another origin; no answer allows one."""
    client = serve("line", hosts=("127.0.0.1", "models.example"))
    for host, status in {
        "127.0.0.1:8000": 200, "models.example": 200, "MODELS.example:80": 200, "evil.example": 403,
        "127.0.0.1.evil.example": 403, "": 403, "[::1]:8000": 403,
    }.items():  # fmt: skip
        response = client.get("/v1/models", headers={"host": host})
        assert response.status_code == status, host
    assert client.get("/v1/models", headers={"origin": "http://127.0.0.1"}).status_code == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:81"):
        response = client.post("/v1/completions", json={"prompt": "a"}, headers={"origin": origin})
        assert response.status_code == 403, origin
        assert not [name for name in response.headers if name.startswith("access-control")]
    assert client.get("/health", headers={"sec-fetch-mode": "cors"}).status_code == 200
    assert serve("line", hosts=("*",)).get("/health", headers={"host": "any.example"}).status_code == 200


def test_token(serve: Serve) -> None:
    """With a token, every request needs it; health and the page do not. Without one, any key is read as none."""
    client = serve("line", token="secret")
    for header, status in {
        None: 401, "Bearer secret": 200, "bearer secret": 200, "Bearer ": 401, "Bearer wrong": 401,
        "Bearer secre": 401, "Basic secret": 401, "Bearer sécret": 401,
    }.items():  # fmt: skip
        headers = {} if header is None else {"authorization": header.encode("latin-1")}
        for path in ("/v1/models", "/openapi.json"):
            response = client.get(path, headers=headers)
            assert response.status_code == status, header
    assert client.post("/next", json={}).status_code == 401
    assert client.get("/health").status_code == 200
    assert client.get("/health").content == b""
    for header in ("Bearer ", "Bearer sk-x"):
        assert serve("line").get("/v1/models", headers={"authorization": header}).status_code == 200
