"""Compare lmkit's cells with torch.nn's layers, forward and backward, alternating in one process.

Every round runs each side once, so that a noisy machine slows all of them; with one CPU thread the clock is that of
the process. A ratio is the median over rounds of the peer's time divided by the cell's: above 1 the cell is faster.
"many" resets are one per 25 steps, as for lines; "few" are one per window, as for documents.

    python benchmarks/cells.py --threads 1 --hidden 200 650
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit.options import choose
from lmkit.recurrence import Cell, GatedCell
from lmkit.training.memory import keep_large_blocks

WARM_UP = 2
PEERS = {"nn.LSTM": nn.LSTM, "nn.GRU": nn.GRU, "nn.RNN": nn.RNN}
ROWS = [
    # cell, tier, resets, peer
    ("lstm", "auto", "none", "nn.LSTM"),
    ("lstm", "auto", "few", "nn.LSTM"),
    ("lstm", "loop", "many", "nn.LSTM"),
    ("lstm", "compiled", "many", "nn.LSTM"),
    ("gru", "plain", "none", "nn.GRU"),
    ("gru", "loop", "none", "nn.GRU"),
    ("gru", "compiled", "none", "nn.GRU"),
    ("rnn", "loop", "none", "nn.RNN"),
    ("rnn", "compiled", "none", "nn.RNN"),
    ("mycell", "plain", "none", "nn.LSTM"),
    ("mycell", "loop", "none", "nn.LSTM"),
    ("mycell", "compiled", "none", "nn.LSTM"),
    ("min-gru", "loop", "none", "nn.GRU"),
    ("sru", "loop", "none", "nn.GRU"),
    ("sru", "compiled", "none", "nn.GRU"),
]


class MyCell(GatedCell):
    """A cell without a special kernel."""

    num_gates = 3
    state_names = ("h", "c")

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        f, g, o = (x + h).chunk(3, -1)
        f = torch.sigmoid(f + state[1])
        c = f * state[1] + (1 - f) * F.silu(g)
        return torch.sigmoid(o) * torch.tanh(c), c


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, nargs="+", default=[200, 650])
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--bptt", type=int, default=35)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cells", nargs="+", help="only rows of these cells")
    parser.add_argument("--json", action="store_true")
    settings = parser.parse_args()

    torch.set_num_threads(settings.threads)
    # As in lmkit's trainer; it makes both sides faster.
    keep_large_blocks()
    rows = [row for row in ROWS if not settings.cells or row[0] in settings.cells]
    results = {hidden: measure(rows, hidden, settings) for hidden in settings.hidden}
    if settings.json:
        print(
            json.dumps(
                {"machine": machine(settings), "rows": [line for lines in results.values() for line in lines]}
            )
        )
        return
    print(f"{machine(settings)}; batch {settings.batch}, {settings.bptt} steps\n")
    print("| cell | tier | resets | peer |" + "".join(f" {h}: ms | of peer's speed |" for h in results))
    print("|---|---|---|---|" + "---:|---:|" * len(results))
    for lines in zip(*results.values(), strict=True):
        figures = "".join(f" {line['ms']:.1f} | {line['ratio']:.2f} |" for line in lines)
        print("| " + " | ".join(lines[0][key] for key in ("cell", "tier", "resets", "peer")) + f" |{figures}")


def measure(rows: list[tuple[str, str, str, str]], hidden: int, settings: argparse.Namespace) -> list[dict]:
    """A line of figures for each row."""
    torch.manual_seed(0)
    shape = (settings.bptt, settings.batch, hidden)
    xs = torch.randn(shape, device=settings.device, requires_grad=True)
    weights = torch.randn(shape, device=settings.device)
    sides: dict[Any, Callable[[], None]] = {}
    for name in sorted({row[3] for row in rows}):
        peer = PEERS[name](hidden, hidden).to(settings.device)
        sides[name] = step(peer, lambda xs, peer=peer: peer(xs)[0], xs, weights)
    for row in rows:
        cell = make(row[0], hidden).to(settings.device)
        cell.use_tier(row[1])
        window = (cell.initial_state(settings.batch), resets_of(row[2], shape, settings.device))
        sides[row] = step(cell, lambda xs, cell=cell, window=window: cell.run(xs, *window)[0], xs, weights)
    clock = time.process_time if (settings.threads, settings.device) == (1, "cpu") else time.perf_counter
    seconds: dict[Any, list[float]] = {side: [] for side in sides}
    for index in range(WARM_UP + settings.rounds):
        for side, run in sides.items():
            begun = clock()
            run()
            if index >= WARM_UP:
                seconds[side].append(clock() - begun)
    return [
        {
            **dict(zip(("cell", "tier", "resets", "peer"), row, strict=True)),
            "hidden": hidden,
            "ms": 1000 * statistics.median(seconds[row]),
            "peer_ms": 1000 * statistics.median(seconds[row[3]]),
            "ratio": statistics.median(b / a for a, b in zip(seconds[row], seconds[row[3]], strict=True)),
        }
        for row in rows
    ]


def make(name: str, hidden: int) -> Cell:
    """A layer of a registered cell, or of MyCell, as wide as its input."""
    if name == "mycell":
        return MyCell(hidden, hidden)
    chosen = choose("cell", name, "cell")
    return chosen.load()(hidden, hidden, chosen.options)


def resets_of(kind: str, shape: tuple[int, ...], device: str) -> Tensor | None:
    """(time, batch) bool: none, one, or one in 25 rows and steps on average."""
    if kind == "none":
        return None
    resets = torch.rand(shape[:2]) < (1 / 25 if kind == "many" else 0)
    resets[shape[0] // 3, 0] = True
    return resets.to(device)


def step(
    module: nn.Module, forward: Callable[[Tensor], Tensor], xs: Tensor, weights: Tensor
) -> Callable[[], None]:
    """Forward and backward through a layer, for the gradients of weights and inputs."""

    def run() -> None:
        (forward(xs) * weights).sum().backward()
        module.zero_grad()
        xs.grad = None
        if xs.is_cuda:
            torch.cuda.synchronize()

    return run


def machine(settings: argparse.Namespace) -> str:
    """The environment of the figures."""
    device = torch.cuda.get_device_name() if settings.device.startswith("cuda") else platform.machine()
    capability = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__}, {device} ({capability}), {settings.threads} thread(s)"


if __name__ == "__main__":
    main()
