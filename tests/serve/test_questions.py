"""lmkit's own questions have the records of the commands' --json; vectors are those of `lmkit embed`."""

import base64
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import lmkit
from lmkit.cli import cli

pytest.importorskip("starlette")
Serve = Callable[..., Any]
TEXT = "the cat sat\na zebra ran"
BLANK = "the cat ____ on the mat"


def ask(client: Any, path: str, **body: Any) -> dict[str, Any]:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def printed(*line: str) -> Any:
    result = CliRunner().invoke(cli, [*map(str, line)])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout) if result.stdout.startswith(("[", '{"perplexity')) else result.stdout


@pytest.mark.usefixtures("quiet_messages")
def test_records_are_those_of_the_commands(
    serve: Serve, served_runs: dict[str, Path], tmp_path: Path
) -> None:
    """/score, /surprisal and /fill of several runs give what eval, surprisal and fill print as JSON."""
    text = tmp_path / "text.txt"
    text.write_text(TEXT + "\n", encoding="utf-8")
    client = serve("ngram", "line", "elmo")
    runs = [str(served_runs[name]) for name in ("ngram", "line")]
    wanted = printed("eval", *runs, str(served_runs["elmo"]), str(text), "--device", "cpu", "--json")
    for found, row in zip(ask(client, "/score", text=TEXT)["data"], wanted, strict=True):
        assert found == {**row, **{k: pytest.approx(v) for k, v in row.items() if isinstance(v, float)}}
    lines = printed("surprisal", *runs, str(text), "--device", "cpu", "--json", "--entropy", "--rank")
    found = ask(client, "/surprisal", text=TEXT, entropy=True, rank=True)
    assert found["data"] == [json.loads(line) for line in lines.splitlines()]
    assert [error["run"] for error in found["errors"]] == ["elmo"]
    assert found["errors"][0]["message"].startswith("elmo holds an encoder")
    candidates = {"candidates": ["sat", "dog"], "why": True}
    rows = printed("fill", *runs, BLANK, "--device", "cpu", "--json", "--candidates", "sat,dog", "--why")
    assert ask(client, "/fill", text=BLANK, model=["ngram", "line"], **candidates)["data"] == rows


def test_why_explains_an_answer(serve: Serve) -> None:
    """The best answer's words are those of /fill; another answer is explained on request."""
    client = serve("ngram", "elmo")
    best = ask(client, "/fill", text=BLANK, why=True)["data"]
    firsts = {row["run"]: row for row in best if "why" in row}
    for record in ask(client, "/why", text=BLANK)["data"]:
        own = firsts[record["run"]]
        assert record["answer"] == own["text"]
        assert [part and part["cost"] for part in record["words"]] == [
            part and part["cost"] for part in own["why"]["words"]
        ]
        assert [part["text"] for part in record["words"] if part] == ["the", "cat", "on", "the", "mat"]
    (other,) = ask(client, "/why", text=BLANK, answer="dog", model="ngram")["data"]
    assert other["answer"] == "dog"


def test_next(serve: Serve, models: dict[str, lmkit.Model]) -> None:
    """The likeliest tokens after a text, and after exactly k tokens of it; entropy in bits."""
    client = serve("ngram", "line", "elmo")
    found = ask(client, "/next", text="the cat", k=3)
    assert [error["run"] for error in found["errors"]] == ["elmo"]
    for record in found["data"]:
        model = models[record["run"]]
        wanted = model.top_k("the cat", 3, start=True)
        assert [one["log_prob"] for one in record["tokens"]] == pytest.approx(
            [v for _, v in wanted], abs=1e-5
        )
        assert record["tokens"][0]["text"] == {"</s>": "\n"}.get(wanted[0][0], wanted[0][0])
        with torch.no_grad():
            _, state = model.causal.log_probs(
                torch.tensor([model.tokenizer.ids("the cat").tolist()]), model.causal.initial_state(1)
            )
            row = model.causal.next_log_probs(state)[0].double()
        assert record["entropy"] == pytest.approx(-float((row.exp() * row).sum()) / math.log(2), abs=1e-4)
        (short,) = ask(client, "/next", text="a dog the cat", k=3, context=1, model=record["run"])["data"]
        wanted = model.top_k("cat", 3, start=False)
        assert short["read"] == 1
        assert [one["log_prob"] for one in short["tokens"]] == pytest.approx([v for _, v in wanted], abs=1e-5)


def test_one_run_that_cannot(serve: Serve) -> None:
    """A question to one run that it cannot answer is an error in words, with the run's name."""
    client = serve("elmo", "ngram")
    for path in ("/next", "/v1/completions"):
        response = client.post(
            path, json={"text": "a"} if path == "/next" else {"prompt": "a", "model": "elmo"}
        )
        assert (response.status_code == 200) == (path == "/next")
    response = client.post("/v1/completions", json={"prompt": "a", "model": "elmo"})
    assert "has no next token" in response.json()["error"]["message"]
    response = client.post("/v1/embeddings", json={"input": "a", "model": "ngram"})
    assert response.status_code == 400
    assert "no vectors" in response.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["elmo", "line"])
def test_vectors(kind: str, serve: Serve, models: dict[str, lmkit.Model]) -> None:
    """In the order of the texts, equal to `Model.embed`, and the same in base64; a text without tokens has one too."""
    texts = ["the cat", "", "a dog ran on", *(f"the cat {n}" for n in range(40))]
    client = serve(kind)
    found = ask(client, "/v1/embeddings", input=texts)
    assert [one["index"] for one in found["data"]] == list(range(len(texts)))
    vectors = np.array([one["embedding"] for one in found["data"]], np.float32)
    np.testing.assert_allclose(
        vectors, torch.stack(models[kind].embed(texts, "mix", "mean")).numpy(), atol=1e-6
    )
    coded = ask(client, "/v1/embeddings", input=texts, encoding_format="base64", dimensions=vectors.shape[1])[
        "data"
    ]
    raw = [np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in coded]
    assert np.array_equal(np.array(raw), vectors)
    for wrong in ([1, 2], [[1, 2]], [], {}, [None]):
        response = client.post("/v1/embeddings", json={"input": wrong})
        assert response.status_code == 400
    assert "check_embedding_ctx_length=False" in client.post("/v1/embeddings", json={"input": [1]}).text
    assert client.post("/v1/embeddings", json={"input": "a", "dimensions": 3}).status_code == 400


def test_tokens(serve: Serve, models: dict[str, lmkit.Model]) -> None:
    """The harness's three addresses: for one run at the root, for several under each run."""
    client = serve("line")
    tokenizer = models["line"].tokenizer
    assert client.get("/tokenizer_info").json() == {"eos_token": "</s>", "model": "line"}
    eos = tokenizer.vocabulary.eos_id
    assert ask(client, "/tokenize", prompt="</s>", add_special_tokens=False)["tokens"] == [eos]
    ids = ask(client, "/tokenize", prompt="the cat\na dog")["tokens"]
    assert ids == [*tokenizer.ids("the cat"), eos, *tokenizer.ids("a dog")]
    assert ask(client, "/tokenize", prompt="the </s>")["tokens"] != [*tokenizer.ids("the"), eos]
    assert ask(client, "/detokenize", tokens=ids)["prompt"] == "the cat\na dog"
    assert ask(client, "/detokenize", tokens=[eos])["prompt"] == "</s>"
    several = serve("line", "bytes")
    refused = several.get("/tokenizer_info")
    assert refused.status_code == 404
    assert "/runs/bytes/tokenizer_info" in refused.json()["error"]["message"]
    assert ask(several, "/runs/bytes/tokenize", prompt="a")["tokens"] == [ord("a")]
    assert ask(several, "/runs/line/v1/completions", prompt="a")["model"] == "line"
    assert [one["id"] for one in several.get("/runs/line/v1/models").json()["data"]] == ["line"]


def test_openapi_names_every_address(serve: Serve) -> None:
    """The document has each address that answers, and a request for each."""
    client = serve("line")
    paths = client.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        method = next(iter(methods))
        response = client.request(method, path.replace("{id}", "line"), json={} if method == "post" else None)
        assert response.status_code in (200, 400), path
    assert {"/v1/completions", "/v1/embeddings", "/score", "/surprisal", "/fill", "/why", "/next"} <= set(
        paths
    )
