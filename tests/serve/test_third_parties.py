"""Models, encoders and tokenizers of third parties are served by their contracts alone."""

from collections.abc import Callable

import pytest

pytest.importorskip("starlette")

SCRIPT = """
import json, lmkit
from pathlib import Path
from starlette.testclient import TestClient
from lmkit.serve.app import Server, make_app
from lmkit.serve.limits import Limits

Path("text.txt").write_text("the cat sat\\na dog ran\\n" * 20)
short = {"max_steps": 3, "batch_size": 2}
models = {
    "counts": lmkit.train("text.txt", model="bigram", tokenizer="lowercase-letters", out="counts"),
    "cell": lmkit.train("text.txt", model="mycell", tokenizer="lowercase-letters", out="cell", bptt=8, **short),
    "encoder": lmkit.train("text.txt", model="neighbours", tokenizer="word", min_count=1, out="encoder", **short),
}
client = TestClient(make_app(Server(models, Limits())), base_url="http://127.0.0.1")
def ask(path, **body):
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()
for name in ("counts", "cell"):
    found = ask("/v1/completions", model=name, prompt="the ca", echo=True, logprobs=2, max_tokens=4, seed=1)
    table = found["choices"][0]["logprobs"]
    assert "".join(table["tokens"]) == found["choices"][0]["text"], found
    wanted = models[name].generate("the ca", max_tokens=4, seed=1)[0].text.removesuffix("\\n")
    assert found["choices"][0]["text"] == "the ca" + wanted, (found, wanted)
    score = -sum(table["token_logprobs"][:6])
    bits = [one["surprisal"] for one in ask("/surprisal", model=name, text="the ca", by="token")["data"]][:6]
    assert abs(score - sum(bits) * 0.6931471805599453) < 1e-4, (score, bits)
assert len(ask("/v1/embeddings", model="encoder", input="the cat")["data"][0]["embedding"]) > 0
assert {one["run"] for one in ask("/next", text="th")["data"]} == {"counts", "cell"}
print("served")
"""


def test_third_parties(python_with_plugins: Callable[..., object]) -> None:
    """A counting model, a cell, an encoder and a tokenizer of plugins: texts, scores and vectors are lmkit's own."""
    result = python_with_plugins("-c", SCRIPT)
    assert result.returncode == 0, result.stderr  # pyright: ignore[reportAttributeAccessIssue]
    assert result.stdout.strip().endswith("served")  # pyright: ignore[reportAttributeAccessIssue]
