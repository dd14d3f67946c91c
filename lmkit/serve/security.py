"""Refuse requests that no client of this server sends: foreign hosts and pages, missing tokens, too large bodies."""

import asyncio
import hmac
from collections.abc import Collection, Mapping
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from lmkit import strict_json
from lmkit.serve import limits
from lmkit.serve.errors import ApiError, too_long

LOCAL = ("127.0.0.1", "localhost", "::1")
ANY = "*"
OPEN = ("/health", "/", "/favicon.ico")
"""Paths without a token, besides the files of the page."""
PAGE_FILES = (".html", ".js", ".css", ".svg", ".png", ".ico")


def host_of(header: str) -> str:
    """The name in a Host header, without the port and the brackets of an IPv6 address."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.rpartition(":")[0].lower() if header.count(":") == 1 else header.lower()


class Guard:
    """An ASGI application around another, which lets only its own clients in.

    hosts: the names under which the server may be addressed, against pages elsewhere whose name is pointed here (DNS
    rebinding); "*" for any. A request from a page has an Origin, which must be this server. token: the bearer token
    that every request needs, or None.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], token: str | None) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
                return
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if ANY not in self._hosts and host_of(host) not in self._hosts:
            raise ApiError(
                403,
                f"the host {host[:100]!r} is not one of this server's; start it with --allow-host NAME to allow it",
                code="host",
            )
        origin = headers.get(b"origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise ApiError(403, "pages of other origins may not use this server", code="origin")
        if self._token is not None and not _is_open(scope):
            given = headers.get(b"authorization", "").partition(" ")
            same = hmac.compare_digest(given[2].strip().encode("latin-1"), self._token.encode())
            if given[0].lower() != "bearer" or not same:
                raise ApiError(
                    401,
                    "give the server's token, as in the header Authorization: Bearer TOKEN",
                    code="invalid_api_key",
                    headers={"WWW-Authenticate": "Bearer"},
                )


def _is_open(scope: Scope) -> bool:
    """Whether a path needs no token: the server's health, and the page, which has no data."""
    path: str = scope["path"]
    return scope["method"] in ("GET", "HEAD") and (
        path in OPEN or (path.count("/") == 1 and path.endswith(PAGE_FILES))
    )


async def read_json(request: Request) -> Any:
    """The JSON of a request's body; ApiError if it is too large, too slow or no JSON."""
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limits.BODY:
        raise _too_large()
    data = bytearray()
    try:
        async with asyncio.timeout(limits.BODY_SECONDS):
            async for part in request.stream():
                data += part
                if len(data) > limits.BODY:
                    raise _too_large()
    except TimeoutError:
        raise ApiError(408, f"the request took more than {limits.BODY_SECONDS:g} seconds to arrive") from None
    try:
        return strict_json.parse(bytes(data))
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ApiError(400, f"the request is not JSON: {reason}", code="invalid_json") from None


def _too_large() -> ApiError:
    return too_long("request", f"it is larger than {limits.BODY >> 20} MiB")


def page_headers() -> Mapping[str, str]:
    """Headers of the page: it takes nothing from other addresses, and no page may show it inside."""
    return {
        "Content-Security-Policy": (
            "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
