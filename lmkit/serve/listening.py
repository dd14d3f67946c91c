"""Listen on an address until a signal ends the server, and its streams with it."""

import socket
import sys
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from lmkit.errors import UsageError, reason_of
from lmkit.serve.engine import Engine

SWITCH = 0.0005
"""Seconds after which Python gives another thread its turn: ten times as often as by default, since the engine asks
for it after each of torch's operations."""
LAST_ANSWERS = 5
"""Seconds for clients to read the end of their streams."""
BACKLOG = 2048


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens at an address; port 0: any free one. UsageError if there is none."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(BACKLOG)
    except OSError as error:
        raise UsageError(
            f"--host {host} --port {port}: cannot listen there ({reason_of(error)}); give another --port, or 0 for a "
            "free one"
        ) from error
    return found


def address_of(listening: socket.socket, host: str) -> str:
    """The address for clients on this machine."""
    port = listening.getsockname()[1]
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, host)
    return f"http://{f'[{name}]' if ':' in name and name[0] != '[' else name}:{port}"


class _Uvicorn(uvicorn.Server):
    """Tells the engine of a signal, so that streams end with an error instead of going on."""

    engine: Engine

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.engine.stop()
        super().handle_exit(sig, frame)


def listen(app: ASGIApp, engine: Engine, listening: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, which then have the effect that they had before."""
    sys.setswitchinterval(SWITCH)
    server = _Uvicorn(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=LAST_ANSWERS,
            lifespan="on",
            ws="none",
        )
    )
    server.engine = engine
    server.run(sockets=[listening])
