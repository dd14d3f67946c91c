"""Compare output layers, forward and backward: exact in chunks, exact with all logits (plain PyTorch), adaptive.

Each runs in a separate process; they alternate, so that a noisy machine slows all. Memory is the increase of the
peak of the process beyond features and weights; targets have the frequencies of words (Zipf).

    python benchmarks/output_layer.py --threads 1 --rows 350 --hidden 200 --vocabulary 250000
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from multiprocessing.connection import Connection

SIDES = ("full", "chunked", "adaptive")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=350)
    parser.add_argument("--hidden", type=int, default=200)
    parser.add_argument("--vocabulary", type=int, default=250_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--keep-blocks",
        action="store_true",
        help="all with the allocator that training sets: faster, but larger",
    )
    parser.add_argument("--json", action="store_true")
    settings = parser.parse_args()

    context = multiprocessing.get_context("spawn")
    pipes = {}
    for name in SIDES:
        ours, theirs = context.Pipe()
        context.Process(target=side, args=(name, settings, theirs), daemon=True).start()
        pipes[name] = ours
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    losses = {}
    for repeat in range(settings.repeats + 1):
        for name, pipe in pipes.items():
            pipe.send(True)
            spent, losses[name] = pipe.recv()
            if repeat:  # the first warms up
                seconds[name].append(spent)
    rows = {}
    for name, pipe in pipes.items():
        pipe.send(False)
        rows[name] = {"ms": 1000 * statistics.median(seconds[name]), "mb": pipe.recv(), "loss": losses[name]}
    for row in rows.values():
        row["time_ratio"] = row["ms"] / rows["full"]["ms"]
        row["memory_ratio"] = row["mb"] / rows["full"]["mb"]
    if settings.json:
        print(json.dumps(rows))
        return
    print(f"{settings.rows} rows, {settings.hidden} features, {settings.vocabulary:,} words")
    for name, row in rows.items():
        print(f"  {name:9s} {row['ms']:7.0f} ms ({row['time_ratio']:.2f})  +{row['mb']:,.0f} MB "
              f"({row['memory_ratio']:.2f})  loss {row['loss']:.6f}")  # fmt: skip


def side(name: str, settings: argparse.Namespace, pipe: Connection) -> None:
    """One layer: a forward and backward pass for every True from the pipe."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from lmkit.neural.adaptive import AdaptiveOutputLayer
    from lmkit.neural.output import OutputLayer
    from lmkit.training.memory import keep_large_blocks

    torch.set_num_threads(settings.threads)
    if settings.keep_blocks:
        keep_large_blocks()
    torch.manual_seed(0)
    features = torch.randn(settings.rows, settings.hidden, requires_grad=True)
    weights = 1 / torch.arange(1.0, settings.vocabulary + 1)
    targets = torch.multinomial(weights, settings.rows, replacement=True)
    if name == "adaptive":
        layer = AdaptiveOutputLayer(settings.hidden, settings.vocabulary)
    else:
        layer = OutputLayer(nn.Parameter(torch.empty(settings.vocabulary, settings.hidden)))
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.05)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while pipe.recv():
        features.grad = None
        layer.zero_grad()
        begun = time.perf_counter()
        if name == "full":
            loss = F.cross_entropy(F.linear(features, layer.weight, layer.bias), targets)
        else:
            loss = layer.loss(features, targets)
        loss.backward()
        pipe.send((time.perf_counter() - begun, float(loss.detach())))
    pipe.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


if __name__ == "__main__":
    main()
