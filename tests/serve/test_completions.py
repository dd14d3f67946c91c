"""Completions: log-probabilities are the model's, texts those of `lmkit generate`, whatever else is in the batch."""

import math
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import lmkit
from lmkit.generation.text import decode_lines, prompt_ids

pytest.importorskip("starlette")
asking = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("asking.py"))))
complete, events, sentences, KINDS = asking.complete, asking.events, asking.sentences, asking.KINDS
Serve = Callable[..., Any]

TEXT = "the cat sat\na dog ran on"


def reference(model: lmkit.Model, ids: list[int]) -> list[torch.Tensor]:
    """The distribution before each token and after the last, token by token."""
    causal, eos = model.causal, model.vocabulary.eos_id
    state, rows = causal.initial_state(1), []
    with torch.no_grad():
        for token in [*ids, None]:
            rows.append(causal.next_log_probs(state)[0])
            if token is not None:
                state = causal.advance(torch.tensor([token]), state)
                if token == eos and causal.reset_policy == "line":
                    state = causal.initial_state(1)
    return rows


def joined(tokens: list[str]) -> str:
    """The text of tokens, with bytes put together."""
    raw = b""
    for token in tokens:
        if token.startswith("bytes:"):
            raw += bytes(int(part, 16) for part in token.removeprefix("bytes:").split("\\x")[1:])
        else:
            raw += token.encode()
    return raw.decode(errors="replace")


@pytest.mark.parametrize("kind", KINDS)
def test_log_probabilities_are_those_of_a_pass_token_by_token(
    kind: str, serve: Serve, models: dict[str, lmkit.Model]
) -> None:
    """`echo` gives each token's log-probability and the likeliest ones; a prompt of ids gives the same as its text."""
    ids = prompt_ids(models[kind].tokenizer, TEXT)
    rows = reference(models[kind], ids)
    client = serve(kind)
    whole = complete(client, prompt=TEXT, echo=True, max_tokens=1, logprobs=3, temperature=0)
    (choice,) = whole["choices"]
    table = choice["logprobs"]
    assert len(table["token_logprobs"]) == len(ids) + 1
    assert whole["usage"]["prompt_tokens"] == len(ids)
    for place, token in enumerate(ids):
        assert table["token_logprobs"][place] == pytest.approx(float(rows[place][token]), abs=1e-5)
    for row, top, own, name in zip(
        rows, table["top_logprobs"], table["token_logprobs"], table["tokens"], strict=True
    ):
        assert top[name] == own
        assert sorted(top.values(), reverse=True) == list(top.values())
        best = row.topk(3).values.tolist()
        assert list(top.values())[:3] == pytest.approx(best, abs=1e-5)
        assert len(top) <= 4
    assert table["top_logprobs"][-1][table["tokens"][-1]] == max(table["top_logprobs"][-1].values())
    assert joined(table["tokens"]) == choice["text"]
    assert choice["text"].startswith(TEXT)
    by_ids = complete(client, prompt=ids, echo=True, max_tokens=1, logprobs=3, temperature=0)
    assert by_ids["choices"][0]["logprobs"]["token_logprobs"] == table["token_logprobs"]
    assert by_ids["choices"][0]["text"] == choice["text"]
    none = complete(client, prompt=[ids], echo=True, max_tokens=0, logprobs=3)
    assert none["choices"][0]["logprobs"]["token_logprobs"] == table["token_logprobs"][:-1]
    assert none["choices"][0]["finish_reason"] == "length"
    assert none["usage"]["completion_tokens"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_first_token_has_a_probability(kind: str, serve: Serve) -> None:
    """Four lists of equal length without null, and each token among the likeliest of its place."""
    table = complete(serve(kind), prompt="ab", logprobs=0, echo=True, max_tokens=0)["choices"][0]["logprobs"]
    assert len({len(values) for values in table.values()}) == 1
    for name, own, top in zip(table["tokens"], table["token_logprobs"], table["top_logprobs"], strict=True):
        assert top == {name: own}
        assert math.isfinite(own)


def test_a_marker_at_the_beginning_means_the_start(serve: Serve, models: dict[str, lmkit.Model]) -> None:
    """The end's id, or the exported tokenizer's beginning, stands for the start of a text, and has no probability."""
    tokenizer = models["line"].tokenizer
    ids = prompt_ids(tokenizer, "the cat")
    client = serve("line")
    plain = complete(client, prompt=ids, echo=True, max_tokens=0, logprobs=1)["choices"][0]["logprobs"]
    for marker in (tokenizer.vocabulary.eos_id, tokenizer.vocabulary.size + 1):
        marked = complete(client, prompt=[marker, *ids], echo=True, max_tokens=0, logprobs=1)
        table = marked["choices"][0]["logprobs"]
        assert table["token_logprobs"] == [None, *plain["token_logprobs"]]
        assert table["top_logprobs"][0] is None
        assert joined(table["tokens"]) == marked["choices"][0]["text"]
    refused = client.post("/v1/completions", json={"prompt": [*ids, tokenizer.vocabulary.size + 1]})
    assert refused.status_code == 400
    assert "outside the vocabulary" in refused.json()["error"]["message"]


def test_offsets_are_those_of_first_letters(serve: Serve) -> None:
    """A word's place is its first letter, so that a space before or after a cut changes no score."""
    for prompt in ("the cat sat", "the  cat sat "):
        table = complete(serve("ngram"), prompt=prompt, echo=True, max_tokens=0, logprobs=0)
        logprobs = table["choices"][0]["logprobs"]
        assert logprobs["text_offset"] == [prompt.index(word) for word in ("the", "cat", "sat")]
        assert "".join(logprobs["tokens"]) == prompt


def test_the_tokens_of_a_prompt_are_its_text(serve: Serve) -> None:
    """White space of a line without words belongs to the line end beside it."""
    client = serve("ngram")
    for prompt, wanted in {
        "the\n ": ["the", "\n "],
        "the\n \n": ["the", "\n", " \n"],
        " \nthe": [" \n", "the"],
        "\n\t": ["\n\t"],
    }.items():
        found = complete(client, prompt=prompt, echo=True, max_tokens=1, logprobs=1)["choices"][0]
        assert found["logprobs"]["tokens"][:-1] == wanted
        assert "".join(found["logprobs"]["tokens"]) == found["text"]


def test_unknown_words_keep_their_spelling(serve: Serve) -> None:
    """Unknown words are spelled as given, and a line end is a line end."""
    prompt = "the zebra\nxyz cat"
    found = complete(serve("ngram"), prompt=prompt, echo=True, max_tokens=0, logprobs=5)["choices"][0]
    assert found["text"] == prompt
    assert found["logprobs"]["tokens"] == ["the", " zebra", "\n", "xyz", " cat"]


def test_bytes_of_letters(serve: Serve) -> None:
    """The bytes of a letter have its place and names of their own; the text has whole letters only."""
    found = complete(serve("bytes"), prompt="a中é", echo=True, max_tokens=0, logprobs=0)["choices"][0]
    assert found["logprobs"]["tokens"] == [
        "a", "bytes:\\xe4", "bytes:\\xb8", "bytes:\\xad", "bytes:\\xc3", "bytes:\\xa9",
    ]  # fmt: skip
    assert found["logprobs"]["text_offset"] == [0, 1, 1, 1, 2, 2]
    cut = complete(serve("bytes"), prompt=list("a中".encode())[:-1], echo=True, max_tokens=0, logprobs=0)
    assert cut["choices"][0]["text"] == "a"
    assert cut["choices"][0]["logprobs"]["tokens"][1:] == ["bytes:\\xe4", "bytes:\\xb8"]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_those_of_generate(kind: str, serve: Serve, models: dict[str, lmkit.Model]) -> None:
    """With a seed, the text is that of `lmkit generate`, for one choice, for several, and for the likeliest tokens."""
    client, model = serve(kind), models[kind]
    for options in ({"temperature": 0.8, "top_p": 0.9, "seed": 3}, {"temperature": 0}, {"seed": 5, "n": 3}):
        settings = {**options, "num": options.get("n", 1), "decoder": "sample", "max_tokens": 12}
        settings.pop("n", None)
        wanted = [one.text for one in model.generate("the cat", **settings)]
        found = complete(client, prompt="the cat", max_tokens=12, **options)["choices"]
        ended = "\n" if model.causal.reset_policy == "line" else ""
        assert [one["text"] for one in found] == [text.removesuffix(ended) for text in wanted]


@pytest.mark.parametrize("kind", ["ngram", "line"])
def test_each_prompt_is_as_if_alone(kind: str, serve: Serve) -> None:
    """32 prompts of unlike length with two choices each, in order, bit for bit as each prompt alone."""
    prompts = [*sentences(31, 4), ""]
    asked: dict[str, Any] = {"n": 2, "seed": 7, "max_tokens": 9, "logprobs": 2}
    together = complete(serve(kind), prompt=prompts, **asked)["choices"]
    assert [one["index"] for one in together] == list(range(64))
    alone = serve(kind)
    for place, prompt in enumerate(prompts):
        found = complete(alone, prompt=prompt, **asked)["choices"]
        for own, other in zip(together[2 * place : 2 * place + 2], found, strict=True):
            assert own["text"] == other["text"]
            assert own["logprobs"]["token_logprobs"] == pytest.approx(
                other["logprobs"]["token_logprobs"], abs=1e-5
            )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", [[], ["at", "g"]])
def test_streams_have_the_same_text(kind: str, stop: list[str], serve: Serve) -> None:
    """The chunks of a stream together are the answer without a stream: text, tokens, offsets and usage."""
    client = serve(kind)
    asked = {
        "prompt": ["the cat", "a\ndog"],
        "n": 2,
        "seed": 2,
        "max_tokens": 15,
        "logprobs": 1,
        "stop": stop,
    }
    whole = complete(client, echo=True, **asked)
    with client.stream(
        "POST",
        "/v1/completions",
        json={**asked, "echo": True, "stream": True, "stream_options": {"include_usage": True}},
    ) as response:
        chunks = events("".join(response.iter_text()))
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    for wanted in whole["choices"]:
        own = [c for chunk in chunks for c in chunk["choices"] if c["index"] == wanted["index"]]
        assert "".join(one["text"] for one in own) == wanted["text"]
        assert [one["finish_reason"] for one in own[:-1]] == [None] * (len(own) - 1)
        assert own[-1]["finish_reason"] == wanted["finish_reason"]
        for name, values in wanted["logprobs"].items():
            assert [value for one in own for value in one["logprobs"][name]] == values


@pytest.mark.parametrize("kind", ["ngram", "bytes", "never"])
def test_stop_strings(kind: str, serve: Serve) -> None:
    """A text ends before the first stop string, and its tokens are the text."""
    client = serve(kind)
    asked = {"prompt": "the", "seed": 1, "max_tokens": 40, "ignore_eos": True}
    plain = complete(client, **asked)["choices"][0]["text"]
    for stop in (plain[5:8], plain[3], plain[-2:]):
        found = complete(client, stop=["\x00", stop], logprobs=0, **asked)["choices"][0]
        assert found["text"] == plain[: plain.index(stop)]
        assert found["finish_reason"] == "stop"
        assert joined(found["logprobs"]["tokens"]) == found["text"]
        assert complete(client, stop=stop, **asked)["choices"][0]["text"] == found["text"]


def test_the_end_of_text(serve: Serve, models: dict[str, lmkit.Model]) -> None:
    """The end is an entry without letters; `ignore_eos` keeps it from being chosen; limits cut without an error."""
    client = serve("ngram", max_tokens=5)
    for seed in range(20):
        found = complete(client, prompt="the cat", seed=seed, max_tokens=1, logprobs=1)["choices"][0]
        assert len(found["logprobs"]["tokens"]) == 1
        if found["finish_reason"] == "stop":
            assert found["logprobs"]["tokens"] == [""]
            assert found["text"] == ""
            break
    else:
        raise AssertionError("no seed ended the text")
    kept = complete(client, prompt="the cat", seed=seed, max_tokens=50, ignore_eos=True)
    assert kept["usage"]["completion_tokens"] == 5
    assert kept["choices"][0]["finish_reason"] == "length"
    model = models["never"]
    ids = prompt_ids(model.tokenizer, "the cat")
    lines = complete(serve("never"), prompt=ids, seed=1, max_tokens=60)["choices"][0]
    assert lines["finish_reason"] == "length"
    assert decode_lines(model.tokenizer, ids) == "the cat"


def test_a_space_at_the_end_of_a_prompt(serve: Serve) -> None:
    """A tokenizer of words drops the space, so the text does not repeat it."""
    client = serve("ngram")
    asked = {"max_tokens": 3, "seed": 4, "ignore_eos": True, "logprobs": 2}
    spaced, plain = (
        complete(client, prompt=prompt, **asked)["choices"][0] for prompt in ("the cat ", "the cat")
    )
    assert " " + spaced["text"] == plain["text"]
    assert "".join(spaced["logprobs"]["tokens"]) == spaced["text"]
    assert spaced["logprobs"]["token_logprobs"] == plain["logprobs"]["token_logprobs"]


def test_fields_that_change_nothing(serve: Serve) -> None:
    """What clients send although it is the default is read, and what would change the answer is refused by name."""
    client = serve("line")
    asked = {"prompt": "the", "seed": 1, "max_tokens": 6}
    nothing = {
        "best_of": 1, "n": 1, "frequency_penalty": 0, "presence_penalty": 0.0, "top_p": 1, "stop": None,
        "suffix": None, "user": "x", "logit_bias": None, "logprobs": None, "strange": None,
    }  # fmt: skip
    assert complete(client, **asked)["choices"] == complete(client, **asked, **nothing)["choices"]
    empty = complete(client, **asked, logit_bias={}, suffix="", stop=[])
    assert empty["choices"] == complete(client, **asked)["choices"]
    for field, value in {
        "best_of": 3, "frequency_penalty": 0.5, "presence_penalty": 1, "suffix": "x", "logit_bias": {"1": 2},
        "logprobs": True, "strange": 1, "n": 0, "temperature": -1, "top_p": 2, "seed": "a", "max_tokens": -1,
        "echo": "yes", "stop": 3, "stream_options": 1, "logprobs ": 1,
    }.items():  # fmt: skip
        response = client.post("/v1/completions", json={**asked, field: value})
        assert response.status_code == 400, field
        assert field.strip() in response.json()["error"]["message"]
        assert response.json()["error"]["param"] == field


def test_models_by_name(serve: Serve) -> None:
    """One run needs no name; of several, one must be named; names may hold slashes."""
    assert complete(serve("line"), prompt="a")["model"] == "line"
    client = serve("line", "ngram", aliases={"line": "a/b"})
    missing = client.post("/v1/completions", json={"prompt": "a"})
    assert missing.status_code == 400
    assert "a/b" in missing.json()["error"]["message"]
    assert "ngram" in missing.json()["error"]["message"]
    assert complete(client, prompt="a", model="a/b")["model"] == "a/b"
    assert complete(client, "/runs/a/b/v1/completions", prompt="a")["model"] == "a/b"
    records = [client.get(f"/v1/models/{name}").json() for name in ("a%2Fb", "a/b")]
    assert records[0] == records[1]
    assert records[0]["id"] == "a/b"
    assert [one["id"] for one in client.get("/v1/models").json()["data"]] == ["a/b", "ngram"]
    assert client.post("/v1/completions", json={"prompt": "a", "model": "c"}).status_code == 404


def test_only_the_end_can_follow(tmp_path: Path) -> None:
    """Where all else has probability zero, the text ends, and `ignore_eos` is refused by name."""
    from starlette.testclient import TestClient

    from lmkit.serve.app import Server, make_app
    from lmkit.serve.limits import Limits

    (tmp_path / "text.txt").write_text("a b c\na b d\n")
    run = {"model": "ngram", "order": 3, "smoothing": "mle", "tokenizer": "word"}
    model = lmkit.train(tmp_path / "text.txt", out=tmp_path / "run", **run)
    with TestClient(make_app(Server({"mle": model}, Limits())), base_url="http://127.0.0.1") as client:
        asked = {"prompt": "a b c", "max_tokens": 2}
        assert complete(client, **asked)["choices"][0]["finish_reason"] == "stop"
        refused = client.post("/v1/completions", json={**asked, "ignore_eos": True})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "ignore_eos")
        (found,) = complete(client, prompt="a b d", echo=True, logprobs=9, max_tokens=0)["choices"]
        last = found["logprobs"]["top_logprobs"][2]
        assert [last.pop(" c"), last.pop(" d")] == pytest.approx([math.log(0.5)] * 2)
        assert set(last.values()) == {-9999.0}


def test_usage_in_each_chunk(serve: Serve) -> None:
    """What guidellm sends: each chunk counts the tokens so far, and `ignore_eos` gives all that were asked for."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    asked = {"max_tokens": 12, "stop": None, "ignore_eos": True, "stream": True, "stream_options": options}
    response = serve("line").post("/v1/completions", json={"prompt": "the cat", **asked})
    counts = [chunk["usage"]["completion_tokens"] for chunk in events(response.text)]
    assert counts == sorted(counts)
    assert counts[-1] == 12
