"""Measure `lmkit serve` under load: tokens a second of concurrent streams, times of /next and /score, and memory.

python benchmarks/serve.py runs/lstm --streams 1,32,200 --requests 100000
"""

import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

PROMPTS = ["the first", "in the early years of the", "a new song was", "he said that", "it is the"]
CONNECTIONS = 16
"""Clients that send requests one after another when memory is measured."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("--streams", default="1,32,200", help="numbers of concurrent streams")
    parser.add_argument("--tokens", type=int, default=100, help="tokens of each stream")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--questions", type=int, default=200, help="requests to /next and /score at each load"
    )
    parser.add_argument("--requests", type=int, default=100_000, help="requests while memory is measured")
    parser.add_argument("--threads", default="1", help="of the server's model")
    settings = parser.parse_args()
    command = [
        sys.executable,
        "-m",
        "lmkit",
        "serve",
        settings.run,
        "--port",
        "0",
        "--threads",
        settings.threads,
    ]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        found = next(
            filter(None, (re.search(r"listening at http://(.+):(\d+)", line) for line in server.stderr))
        )
        asyncio.run(measure(found[1], int(found[2]), settings, server.pid))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


async def measure(host: str, port: int, settings: argparse.Namespace, pid: int) -> None:
    """Print all figures."""
    await streams(host, port, 1, 5)
    rates: dict[int, list[float]] = {}
    costs: dict[int, list[float]] = {}
    counts = [int(count) for count in settings.streams.split(",")]
    for _ in range(settings.rounds):
        for count in counts:
            before = cpu_seconds(pid)
            rates.setdefault(count, []).append(await streams(host, port, count, settings.tokens))
            spent = cpu_seconds(pid) - before
            costs.setdefault(count, []).append(spent / (count * settings.tokens))
    one = statistics.median(rates[counts[0]])
    for count, found in rates.items():
        rate = statistics.median(found)
        print(
            f"{count:4d} streams: {rate:8.0f} tokens/s ({min(found):.0f} to {max(found):.0f}), "
            f"{rate / one:.1f} times {counts[0]}; {statistics.median(costs[count]) * 1e3:.2f} ms of CPU a token",
            flush=True,
        )
    for load in (0, 32):
        for path, body in (("/next", {"text": "the first"}), ("/score", {"text": "the first song was new"})):
            times = await under_load(host, port, path, body, load, settings)
            cuts = statistics.quantiles(times, n=100)
            print(
                f"{path} beside {load:2d} streams: p50 {cuts[49] * 1e3:.1f} ms, p95 {cuts[94] * 1e3:.1f} ms"
            )
    await memory(host, port, settings.requests, pid)


async def streams(host: str, port: int, count: int, tokens: int) -> float:
    """Tokens a second of concurrent streams, each of which must be complete."""
    begun = time.monotonic()
    found = await asyncio.gather(*(stream(host, port, number, tokens) for number in range(count)))
    assert found == [tokens] * count, "a stream is not complete"
    return sum(found) / (time.monotonic() - begun)


async def stream(host: str, port: int, number: int, tokens: int) -> int:
    """The tokens that the server reports for one stream."""
    body = {
        "prompt": PROMPTS[number % len(PROMPTS)], "max_tokens": tokens, "seed": number, "ignore_eos": True,
        "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request("/v1/completions", body, close=True))
    text = (await reader.read()).decode()
    writer.close()
    assert "data: [DONE]" in text, text[-300:]
    return int(re.findall(r'"completion_tokens": (\d+)', text)[-1])


def request(path: str, body: object, *, close: bool = False) -> bytes:
    """The bytes of a request."""
    data = json.dumps(body).encode()
    connection = "Connection: close\r\n" if close else ""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\n{connection}\r\n"
    return head.encode() + data


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> float:
    """The seconds of one request on an open connection."""
    begun = time.monotonic()
    writer.write(message)
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    assert head.startswith("HTTP/1.1 200"), head
    await reader.readexactly(int(re.search(r"content-length: (\d+)", head)[1]))
    return time.monotonic() - begun


async def under_load(
    host: str, port: int, path: str, body: object, load: int, settings: argparse.Namespace
) -> list[float]:
    """The seconds of questions, one after another, beside continuous streams."""
    over = False

    async def keep(number: int) -> None:
        while not over:
            await stream(host, port, number, settings.tokens)

    others = [asyncio.create_task(keep(number)) for number in range(load)]
    await asyncio.sleep(0.5)
    reader, writer = await asyncio.open_connection(host, port)
    times = [await ask(reader, writer, request(path, body)) for _ in range(settings.questions)]
    writer.close()
    over = True
    await asyncio.gather(*others)
    return times


async def memory(host: str, port: int, requests: int, pid: int) -> None:
    """The memory of the server before and after many different requests."""
    left = iter(range(requests))
    marks = {requests * part // 10 for part in range(1, 11)}

    async def send() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        for number in left:
            words = f"{PROMPTS[number % len(PROMPTS)]} {number}"
            body = {"prompt": words, "max_tokens": 2, "seed": number, "logprobs": 1}
            await ask(reader, writer, request("/v1/completions", body))
            if number + 1 in marks:
                print(f"{number + 1:7d} requests: {resident(pid):.0f} MiB", flush=True)
        writer.close()

    begun = time.monotonic()
    await asyncio.gather(*(send() for _ in range(min(CONNECTIONS, requests))))
    print(f"{requests} requests in {time.monotonic() - begun:.0f} s")


def cpu_seconds(pid: int) -> float:
    """The seconds that a process has spent on processors."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """The memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
