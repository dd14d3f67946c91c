"""Small runs of every kind, served in this process."""

import runpy
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import lmkit

asking = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("asking.py"))))
Client = Any
Serve = Callable[..., Client]


@pytest.fixture(scope="session")
def served_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small run of each kind, and of an encoder."""
    folder = tmp_path_factory.mktemp("served")
    text = folder / "text.txt"
    text.write_text("\n".join([*asking.sentences(200), "中文 é", "中文 é"]) + "\n", encoding="utf-8")
    for name, options in {**asking.KINDS, "elmo": asking.ENCODER}.items():
        lmkit.train(text, out=folder / name, **options)
    return {name: folder / name for name in (*asking.KINDS, "elmo")}


@pytest.fixture(scope="session")
def models(served_runs: dict[str, Path]) -> dict[str, lmkit.Model]:
    """The runs, loaded."""
    return {name: lmkit.load(path, device="cpu") for name, path in served_runs.items()}


@pytest.fixture
def serve(models: dict[str, lmkit.Model]) -> Iterator[Serve]:
    """serve("ngram", "line", token=..., max_queue=...): a client of a server of these runs."""
    pytest.importorskip("starlette")
    from starlette.testclient import TestClient

    from lmkit.serve.app import Server, make_app
    from lmkit.serve.limits import Limits

    with ExitStack() as stack:

        def start(*names: str, aliases: dict[str, str] | None = None, **options: Any) -> Client:
            asked = {(aliases or {}).get(name, name): models[name] for name in names}
            guard = {name: options.pop(name) for name in ("hosts", "token") if name in options}
            server = Server(asked, Limits(**options))
            client = TestClient(make_app(server, **guard), base_url="http://127.0.0.1")
            client.server = server  # pyright: ignore[reportAttributeAccessIssue]
            return stack.enter_context(client)

        yield start


@pytest.fixture(scope="module")
def address(models: dict[str, lmkit.Model]) -> Iterator[Callable[..., str]]:
    """address("ngram", ...): where a server of these runs listens."""
    import uvicorn

    from lmkit.serve.app import Server, make_app
    from lmkit.serve.limits import Limits
    from lmkit.serve.listening import bound

    running: dict[tuple[str, ...], tuple[str, Any, threading.Thread]] = {}

    def start(*names: str) -> str:
        if names not in running:
            listening = bound("127.0.0.1", 0)
            app = make_app(Server({name: models[name] for name in names}, Limits()))
            server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
            thread.start()
            while not server.started:
                time.sleep(0.05)
            running[names] = (f"http://127.0.0.1:{listening.getsockname()[1]}", server, thread)
        return running[names][0]

    yield start
    for _, server, thread in running.values():
        server.should_exit = True
        thread.join(20)
