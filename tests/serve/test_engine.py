"""The engine: bounded queues, time limits, clients that leave, faults of one prompt, kept states."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import lmkit

pytest.importorskip("starlette")

from lmkit.serve.engine import Engine
from lmkit.serve.errors import ApiError
from lmkit.serve.slots import Slots

Serve = Callable[..., Any]


@pytest.fixture
def blocked() -> Iterator[Callable[[Any], threading.Event]]:
    """blocked(server): its engine waits until the event is set."""
    events: list[threading.Event] = []

    def block(server: Any) -> threading.Event:
        go = threading.Event()
        events.append(go)
        started = threading.Event()

        def wait() -> None:
            started.set()
            go.wait(20)

        threading.Thread(target=lambda: asyncio.run(server.engine.ask(wait)), daemon=True).start()
        assert started.wait(20)
        return go

    yield block
    for event in events:
        event.set()


def test_a_full_queue_says_when_to_come_again(serve: Serve, blocked: Any) -> None:
    """More work than --max-queue gets 429 with Retry-After; when it is done, requests work again."""
    client = serve("line", max_queue=1)
    go = blocked(client.server)
    response = client.post("/next", json={"text": "a"})
    assert response.status_code == 429
    assert 1 <= int(response.headers["retry-after"]) <= 120
    go.set()
    for _ in range(2400):
        if client.server.engine.load == 0:
            break
        time.sleep(0.05)
    assert client.post("/next", json={"text": "a"}).status_code == 200


def test_the_time_limit(serve: Serve, blocked: Any) -> None:
    """A request that waits for longer gets 503 with Retry-After, and its work is forgotten."""
    client = serve("line", timeout=0.2)
    blocked(client.server)
    for path, body in (("/next", {"text": "a"}), ("/v1/completions", {"prompt": "a", "stream": True})):
        response = client.post(path, json=body)
        assert response.status_code == 503
        assert "--timeout" in response.json()["error"]["message"]
        assert "retry-after" in response.headers
    assert client.server.engine.load == 1


def test_a_stream_that_takes_too_long_ends_with_an_error(serve: Serve) -> None:
    """A stream that only ended would look complete, so its last chunk is an error."""
    client = serve("bytes", timeout=0.3, max_tokens=10**6)
    with client.stream(
        "POST",
        "/v1/completions",
        json={"prompt": "a", "stream": True, "max_tokens": 10**6, "ignore_eos": True},
    ) as response:
        text = "".join(response.iter_text())
    assert "[DONE]" not in text
    assert '"error"' in text.strip().rpartition("data: ")[2]
    assert client.server.engine.load == 0


def test_stopping_ends_streams_and_refuses_requests(serve: Serve) -> None:
    """After `stop`, a stream ends with an error chunk and new requests get 503."""
    client = serve("bytes", max_tokens=10**6)
    with client.stream(
        "POST",
        "/v1/completions",
        json={"prompt": "a", "stream": True, "max_tokens": 10**6, "ignore_eos": True},
    ) as response:
        threading.Timer(0.3, client.server.engine.stop).start()
        text = "".join(response.iter_text())
    assert "the server is stopping" in text.strip().rpartition("data: ")[2]
    response = client.post("/next", json={"text": "a"})
    assert response.status_code == 503
    assert "retry-after" in response.headers


def test_a_client_that_leaves_frees_its_place(models: dict[str, lmkit.Model]) -> None:
    """When the client of a stream leaves, its continuation ends and no longer counts as work."""
    from lmkit.serve.app import Server, make_app
    from lmkit.serve.limits import Limits

    server = Server({"bytes": models["bytes"]}, Limits(max_tokens=10**6))
    app = make_app(server)
    body = b'{"prompt": "a", "stream": true, "max_tokens": 1000000, "ignore_eos": true}'
    scope = {
        "type": "http", "method": "POST", "path": "/v1/completions", "raw_path": b"/v1/completions",
        "query_string": b"", "headers": [(b"host", b"localhost")], "http_version": "1.1", "scheme": "http",
        "server": ("localhost", 80), "client": ("127.0.0.1", 1), "root_path": "", "asgi": {"version": "3.0"},
    }  # fmt: skip
    sent: list[Any] = []

    async def run() -> None:
        gone = asyncio.Event()
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if messages:
                return messages.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            if len(sent) == 3:
                gone.set()

        await asyncio.wait_for(app(scope, receive, send), 120)

    asyncio.run(run())
    assert server.engine.load == 0
    continuations = server.models.only(None).can_continue()
    for _ in range(2400):
        if not continuations.step():
            break
        time.sleep(0.05)
    server.engine.stop()
    server.engine.join(120)
    assert not any(b"[DONE]" in message.get("body", b"") for message in sent)


def test_a_faulty_prompt_fails_alone(
    serve: Serve, models: dict[str, lmkit.Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt after which the model gives NaN gets an error; others in the same batch get their texts."""
    causal = models["ngram"].causal
    (token,) = models["ngram"].tokenizer.ids("mat").tolist()
    with torch.no_grad():
        _, bad = causal.log_probs(torch.tensor([[token]]), causal.initial_state(1))
    right = causal.next_log_probs

    def wrong(state: Any) -> torch.Tensor:
        rows = right(state).clone()
        rows[state == bad[0]] = torch.nan
        return rows

    monkeypatch.setattr(causal, "next_log_probs", wrong)
    client = serve("ngram")
    codes: dict[str, int] = {}

    def ask(prompt: str) -> None:
        body = {"prompt": prompt, "max_tokens": 1, "seed": 1}
        codes[prompt] = client.post("/v1/completions", json=body).status_code

    threads = [threading.Thread(target=ask, args=(prompt,)) for prompt in ("mat", "the cat", "a dog")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == {"mat": 400, "the cat": 200, "a dog": 200}


def test_a_longer_prompt_reads_its_new_tokens_only(serve: Serve) -> None:
    """The state after a prompt and its continuation is kept: usage counts the tokens that were not read again."""
    client = serve("document")
    prompt, asked = "the cat sat on", {"seed": 3, "max_tokens": 8}
    first = client.post("/v1/completions", json={"prompt": prompt, **asked}).json()
    assert first["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    text = prompt + first["choices"][0]["text"]
    second = client.post("/v1/completions", json={"prompt": text + " the", **asked}).json()
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] == len(text) - 1
    fresh = serve("document").post("/v1/completions", json={"prompt": text + " the", **asked}).json()
    assert fresh["choices"] == second["choices"]


def test_slots_forget_the_oldest() -> None:
    """The longest kept prefix is found; numbers and bytes of states are bounded."""
    slots = Slots(most=3, most_bytes=10_000)
    for length in range(1, 5):
        slots.keep(list(range(length)), torch.full((1, 4), float(length)))
    assert len(slots) == 3
    assert slots.find([0])[0] == 0
    assert slots.find([0, 1, 9])[0] == 2
    found, state = slots.find([0, 1, 2, 3, 4])
    assert (found, float(state[0, 0])) == (4, 4.0)  # pyright: ignore[reportArgumentType,reportOptionalSubscript]
    slots.keep([7], torch.zeros(1, 3000))  # more than all
    assert slots.find([7])[0] == 0
    slots.keep([8], torch.zeros(1, 2400))
    assert slots.num_bytes <= 10_000
    assert slots.find([8])[0] == 1


def test_an_error_reaches_the_one_who_asked() -> None:
    """An exception in the engine's thread is raised by `ask`, and the thread goes on."""
    engine = Engine(max_queue=2)

    async def run() -> int:
        with pytest.raises(ZeroDivisionError):
            await engine.ask(lambda: 1 // 0)
        return await engine.ask(lambda: 7)

    assert asyncio.run(run()) == 7
    engine.stop()
    engine.join(120)

    async def late() -> None:
        with pytest.raises(ApiError) as caught:
            await engine.ask(lambda: 7)
        assert caught.value.status == 503

    asyncio.run(late())


def test_names(served_runs: dict[str, Path]) -> None:
    """--name finds a run by its path or label; unknown runs and equal names are refused."""
    from lmkit.errors import UsageError
    from lmkit.serve.models import public_names

    labels = {name: served_runs[name] for name in ("line", "ngram")}
    assert public_names(labels, {"line": "gpt"}) == {"line": "gpt", "ngram": "ngram"}
    assert public_names(labels, {str(served_runs["ngram"]): "a/b"}) == {"line": "line", "ngram": "a/b"}
    for aliases in ({"other": "x"}, {"line": "ngram"}, {"line": " "}):
        with pytest.raises(UsageError):
            public_names(labels, aliases)
