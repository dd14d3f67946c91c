"""`lmkit serve`: serve runs over HTTP."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lmkit import run_paths
from lmkit.cli import console
from lmkit.cli.common import load_all, loading_options, runs_argument
from lmkit.errors import UsageError
from lmkit.extras import needs

if TYPE_CHECKING:
    from lmkit.serve.models import Served

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


@click.command()
@runs_argument
@click.option(
    "--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Address to listen on."
)
@click.option(
    "--port",
    metavar="N",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0: any free one.",
)
@click.option(
    "--name",
    "aliases",
    metavar="RUN=ALIAS",
    multiple=True,
    help="Serve a run under another name; may be repeated.",
)
@click.option(
    "--token",
    metavar="TEXT",
    envvar="LMKIT_SERVE_TOKEN",
    help="Bearer token that every request needs; better in the environment variable LMKIT_SERVE_TOKEN, which other "
    "users of the machine cannot see.",
)
@click.option(
    "--allow-host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="Another host name under which clients address the server (*: any); may be repeated.",
)
@click.option(
    "--max-queue",
    metavar="N",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Maximum number of texts and questions in work; others get 429.",
)
@click.option(
    "--max-tokens",
    metavar="N",
    type=click.IntRange(min=0),
    default=4096,
    show_default=True,
    help="Maximum number of new tokens of a text.",
)
@click.option(
    "--max-prompt",
    metavar="N",
    type=click.IntRange(min=1),
    default=16384,
    show_default=True,
    help="Maximum number of tokens of a given text; longer ones get 413.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    help="Maximum time of a request.",
)
@click.option(
    "--threads", metavar="N", type=click.IntRange(min=1), help="Processors that a model uses (default: all)."
)
@loading_options
def command(
    runs: tuple[Path, ...],
    device: str,
    allow_nonfinite: bool,
    split_unknown: str,
    host: str,
    port: int,
    aliases: tuple[str, ...],
    token: str | None,
    hosts: tuple[str, ...],
    max_queue: int,
    max_tokens: int,
    max_prompt: int,
    timeout: float,
    threads: int | None,
) -> None:
    """Serve the models in the directories RUN over HTTP, until Ctrl-C.

    Clients of OpenAI's completions and embeddings work with the address http://ADDRESS:N/v1. lmkit's own questions
    are /score, /surprisal, /fill, /why and /next; a page to try them is at / (docs/serve.md).
    """
    for library in ("starlette", "uvicorn"):
        needs(library, "serve")
    if token is not None and not (token.isascii() and token.isprintable() and token.strip()):
        raise UsageError("--token: give a token of printable ASCII characters")

    from lmkit.serve.app import Server, make_app
    from lmkit.serve.limits import Limits
    from lmkit.serve.listening import address_of, bound, listen
    from lmkit.serve.models import public_names

    labels = run_paths.labels(runs)
    names = public_names(labels, dict(_alias(one) for one in aliases))
    listening = bound(host, port)
    models = load_all(labels, device=device, allow_nonfinite=allow_nonfinite, split_unknown=split_unknown)
    server = Server(
        {names[label]: model for label, model in models.items()},
        Limits(max_queue, max_tokens, max_prompt, timeout),
        threads=threads,
    )
    own = [] if host in ("0.0.0.0", "::", "") else [host.strip("[]")]
    app = make_app(server, hosts=[*LOCAL_HOSTS, *own, *hosts], token=token)
    for served in server.models:
        console.say(_line(served))
    console.say(f"listening at {address_of(listening, host)} (stop with Ctrl-C)")
    if host not in LOCAL_HOSTS and token is None:
        console.say(
            f"--host {host}: other machines may use this server without a token; give --token, or leave --host out",
            "warning",
        )
    listen(app, server.engine, listening)


def _alias(given: str) -> tuple[str, str]:
    run, equals, alias = given.rpartition("=")
    if not equals or not run or not alias:
        raise UsageError(f"--name {given}: give RUN=ALIAS")
    return run, alias


def _line(served: "Served") -> str:
    """What a run is and does, in a line."""
    facts = served.facts
    return f"{served.name}: {facts['model']}, {facts['tokenizer']} tokens; {', '.join(facts['does'])}"
