"""The application: its addresses, and how an answer, a stream or an error is sent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from lmkit import strict_json
from lmkit.errors import suggest
from lmkit.model import Model
from lmkit.serve import completions, embeddings, questions
from lmkit.serve.engine import Engine
from lmkit.serve.errors import ApiError, as_api_error, invalid, json_response, too_slow
from lmkit.serve.fields import Fields
from lmkit.serve.limits import Limits
from lmkit.serve.models import Models, Served
from lmkit.serve.openapi import document
from lmkit.serve.security import LOCAL, Guard, page_headers, read_json
from lmkit.serve.spelling import MARKER, detokenized, tokenized

PAGE = Path(__file__).parent / "page"
RUNS = "/runs/{run:path}"
OWN = {
    "/score": questions.score,
    "/surprisal": questions.surprisal,
    "/fill": questions.fill_blank,
    "/why": questions.why_answer,
    "/next": questions.next_tokens,
}
POSTED = ("/v1/completions", "/v1/embeddings", "/tokenize", "/detokenize", *OWN)
READ = ("/v1/models", "/tokenizer_info", "/health", "/openapi.json")
ELSEWHERE = {
    "/v1/chat/completions": "this model does not chat: use /v1/completions",
    "/v1/responses": "this model does not chat: use /v1/completions",
    "/v1/messages": "this model does not chat: use /v1/completions",
    "/v1/fim/completions": "this model reads to the right only: use /v1/completions, or /fill for a blank",
}
LAST_EVENTS = 10.0
"""Seconds after the time limit in which a client can read the end of a stream."""
CLOSED = 499
"""The status that nobody reads, since the client has gone."""


class Server:
    """The endpoints of some runs.

    models: by their public names.
    """

    def __init__(self, models: Mapping[str, Model], bounds: Limits, *, threads: int | None = None) -> None:
        self.engine = Engine(max_queue=bounds.max_queue, threads=threads)
        self.models = Models(models, self.engine)
        self.bounds = bounds
        self.created = completions.now()

    # Models and tokens

    async def list_models(self, request: Request) -> Response:
        name = self._run(request)
        asked = self.models if name is None else [self.models.named(name)]
        return json_response({"object": "list", "data": [self._record(one) for one in asked]})

    async def one_model(self, request: Request) -> Response:
        return json_response(self._record(self.models.named(request.path_params["id"])))

    def _record(self, served: Served) -> dict[str, Any]:
        return {
            "id": served.name,
            "object": "model",
            "created": self.created,
            "owned_by": "lmkit",
            "lmkit": served.facts,
        }

    async def health(self, request: Request) -> Response:
        return Response()

    async def openapi(self, request: Request) -> Response:
        return json_response(document(self.models.names))

    def _tokenizer(self, request: Request, name: str | None = None) -> Served:
        """The run whose tokenizer is asked; 404 with the addresses if several runs are served and none is named."""
        name = self._run(request) or name
        if name is None and len(self.models) > 1:
            places = ", ".join(f"/runs/{one}{request.url.path}" for one in self.models.names)
            raise ApiError(404, f"there are several models, each with its own tokenizer: use {places}")
        return self.models.only(name)

    async def tokenizer_info(self, request: Request) -> Response:
        served = self._tokenizer(request)
        return json_response({"eos_token": MARKER, "model": served.name})

    async def tokenize(self, request: Request) -> Response:
        fields = Fields(await read_json(request), ("model", "prompt", "add_special_tokens"))
        served = self._tokenizer(request, fields.text("model"))
        fields.flag("add_special_tokens")  # there are none
        text = fields.text("prompt")
        if text is None:
            raise invalid("prompt", "is missing: give a text")
        completions.check_length("prompt", text, self.bounds)
        async with self._limited():
            ids = await self._with_client(request, self.engine.ask(tokenized, served.model.tokenizer, text))
        return json_response(
            {"tokens": ids, "count": len(ids), "max_model_len": self.bounds.max_prompt, "model": served.name}
        )

    async def detokenize(self, request: Request) -> Response:
        fields = Fields(await read_json(request), ("model", "tokens"))
        served = self._tokenizer(request, fields.text("model"))
        ids = fields.get("tokens")
        if not isinstance(ids, list) or not all(map(completions.is_id, ids)):
            raise invalid("tokens", "give a list of ids")
        completions.check_tokens("tokens", len(ids), self.bounds)
        completions.check_ids("tokens", ids, served.vocabulary_size)
        async with self._limited():
            text = await self._with_client(request, self.engine.ask(detokenized, served.model.tokenizer, ids))
        return json_response({"prompt": text, "model": served.name})

    # Texts and vectors

    async def complete(self, request: Request) -> Response:
        asked = completions.read_request(
            await read_json(request), self.models, self.bounds, self._run(request)
        )
        async with self._limited() as deadline:
            readings = await self._with_client(
                request, self.engine.ask(completions.read_prompts, asked, self.bounds)
            )
            answer = completions.Answer(asked, readings, self.engine)
            answer.begin()
            if asked.settings.live:
                return _Stream(self._events(answer, deadline), answer, deadline)
            try:
                return json_response(await self._with_client(request, answer.whole()))
            finally:
                answer.end()

    async def _events(self, answer: completions.Answer, deadline: float) -> AsyncIterator[str]:
        """The events of a stream; a fault is an event too, since a stream that only ends looks complete."""
        asked = answer.asked
        usage = {"usage": None} if asked.include_usage else {}
        try:
            async for number, chunk in answer.chunks(deadline):
                if asked.every_usage:
                    usage = {"usage": answer.usage()}
                yield _event({**answer.table([completions.choice(number, chunk)]), **usage})
            if asked.include_usage:
                yield _event({**answer.table([]), "usage": answer.usage()})
            yield "data: [DONE]\n\n"
        except TimeoutError:
            yield _event(too_slow(self.bounds.timeout).body())
        except Exception as error:
            yield _event(as_api_error(error).body())

    async def embed(self, request: Request) -> Response:
        asked = embeddings.read_request(
            await read_json(request), self.models, self.bounds, self._run(request)
        )
        async with self._limited():
            return json_response(await self._with_client(request, self._vectors(asked)))

    async def _vectors(self, asked: embeddings.Asked) -> dict[str, Any]:
        await self.engine.ask(embeddings.check_model, asked)
        found: list[Any] = []
        tokens = 0
        for first in range(0, len(asked.texts), embeddings.TOGETHER):
            some = asked.texts[first : first + embeddings.TOGETHER]
            vectors, count = await self.engine.ask(embeddings.vectors, asked, some, first, self.bounds)
            found += vectors
            tokens += count
        return embeddings.answer(asked, found, tokens)

    async def question(self, request: Request, read: Callable[..., questions.Question]) -> Response:
        """One of lmkit's own questions."""
        asked = read(await read_json(request), self.models, self.bounds, self._run(request))
        async with self._limited():
            return json_response(await self._with_client(request, self._answers(asked)))

    async def _answers(self, asked: questions.Question) -> dict[str, Any]:
        """The records of all runs, and the errors of those that have none; an error if none has any."""
        data: list[dict[str, Any]] = []
        errors: list[tuple[str, ApiError]] = []
        for served in asked.served:
            try:
                data += await self.engine.ask(asked.answer, served)
            except Exception as error:
                found = as_api_error(error, {str(served.model.run.directory): served.name})
                if found.status >= 429 or len(asked.served) == 1:
                    raise found from error
                errors.append((served.name, found))
        if not data:
            raise ApiError(400, "; ".join(f"{name}: {error}" for name, error in errors))
        return {
            "object": "list",
            "data": data,
            "errors": [{"run": name, "message": str(error)} for name, error in errors],
        }

    # Requests

    def _run(self, request: Request) -> str | None:
        """The run in the address; 404 if it is not served."""
        name = request.path_params.get("run")
        return None if name is None else self.models.named(name).name

    @contextlib.asynccontextmanager
    async def _limited(self) -> AsyncIterator[float]:
        """The time limit of a request; gives the time of the loop at which it is over."""
        deadline = asyncio.get_running_loop().time() + self.bounds.timeout
        try:
            async with asyncio.timeout_at(deadline):
                yield deadline
        except TimeoutError:
            raise too_slow(self.bounds.timeout) from None

    async def _with_client(self, request: Request, work: Awaitable[Any]) -> Any:
        """The result of work, which is cancelled when the client leaves."""
        task = asyncio.ensure_future(work)
        watch = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientDisconnect
            return task.result()
        finally:
            for one in (task, watch):
                one.cancel()
            await asyncio.gather(task, watch, return_exceptions=True)

    def routes(self) -> list[BaseRoute]:
        """The addresses of the API."""
        posted: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/v1/completions": self.complete,
            "/v1/embeddings": self.embed,
            "/tokenize": self.tokenize,
            "/detokenize": self.detokenize,
            **{path: partial(self.question, read=read) for path, read in OWN.items()},
        }
        found: list[BaseRoute] = []
        for prefix in ("", RUNS):
            found += [Route(prefix + path, _answered(end), methods=["POST"]) for path, end in posted.items()]
            found += [
                Route(prefix + "/v1/models", _answered(self.list_models)),
                Route(prefix + "/v1/models/{id:path}", _answered(self.one_model)),
                Route(prefix + "/tokenizer_info", _answered(self.tokenizer_info)),
                Route(prefix + "/health", _answered(self.health)),
            ]
        return [
            *found,
            Route("/openapi.json", _answered(self.openapi)),
            Mount("/", Page(directory=PAGE, html=True)),
        ]


class _Stream(StreamingResponse):
    """Server-sent events; whatever ends them, the answer ends too."""

    def __init__(self, events: AsyncIterator[str], answer: completions.Answer, deadline: float) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._answer = answer
        self._deadline = deadline + LAST_EVENTS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with contextlib.suppress(TimeoutError):  # the client does not read
                async with asyncio.timeout_at(self._deadline):
                    await super().__call__(scope, receive, send)
        finally:
            self._answer.end()


class Page(StaticFiles):
    """The files of the page, with headers that keep it to itself."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(page_headers())
        return response


def make_app(server: Server, *, hosts: Collection[str] = LOCAL, token: str | None = None) -> ASGIApp:
    """The ASGI application of a server.

    hosts: the names under which it may be addressed. token: the bearer token that requests need, or None.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        server.engine.stop()
        await asyncio.to_thread(server.engine.join, 5.0)

    app = Starlette(
        routes=server.routes(),
        lifespan=lifespan,
        exception_handlers={HTTPException: _no_route},
    )
    return Guard(app, hosts, token)


def _answered(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint whose errors are answers."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ClientDisconnect:
            return Response(status_code=CLOSED)
        except Exception as error:
            return as_api_error(error).response()

    return answer


async def _no_route(request: Request, error: Exception) -> Response:
    """The answer for an address or a method that does not exist."""
    assert isinstance(error, HTTPException)
    path = request.url.path.rstrip("/")
    if error.status_code not in (404, 405):
        return ApiError(error.status_code, error.detail).response()
    known = [*POSTED, *READ]
    if any(path == one or (path.startswith("/runs/") and path.endswith(one)) for one in known):
        method = "POST" if path.endswith(POSTED) else "GET"
        message = f"{path} takes {method}, not {request.method}"
        return ApiError(405, message, headers={"Allow": method}).response()
    return ApiError(404, f"there is no {path or '/'}; {_hint(path, known)}", code="not_found").response()


def _hint(path: str, known: list[str]) -> str:
    """What to do instead of an unknown address."""
    if path.count("/") > 1 or path.removeprefix("/v1") != path:
        for unsupported, instead in ELSEWHERE.items():
            if path.endswith(unsupported.removeprefix("/v1")):
                return instead
    close = [one for one in known if path and one.endswith(path)]
    return f"did you mean {close[0]}?" if close else suggest(path, known)


async def _gone(request: Request) -> None:
    """Wait until the client has left."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return


def _event(value: Any) -> str:
    return f"data: {strict_json.report(value)}\n\n"
