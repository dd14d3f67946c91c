"""Compare a training step of lmkit's LSTM with the same step in plain PyTorch and with its matrix products only.

Plain: nn.Embedding, nn.LSTM, nn.Linear, F.cross_entropy over all logits, torch.optim, as in most code. Each side is
a separate process, because lmkit changes settings of the C allocator; they alternate step by step, so that a noisy
machine slows all. Weights and windows are the same, so the losses must be too. Limit: only the matrix products of
the step, each by the faster of torch's two libraries.

    python benchmarks/train_step.py --threads 1 --data train.txt
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path

WARM_UP = 2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="text to train on (default: random words)")
    parser.add_argument("--hidden", type=int, default=200)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--bptt", type=int, default=35)
    parser.add_argument("--vocabulary", type=int, default=33278, help="of the random words")
    parser.add_argument("--optimizer", choices=["sgd", "adamw"], default="sgd")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    settings = parser.parse_args()

    context = multiprocessing.get_context("spawn")
    sides = {}
    for name in ("lmkit", "plain", "limit"):
        ours, theirs = context.Pipe()
        process = context.Process(target=side, args=(name, settings, theirs), daemon=True)
        process.start()
        sides[name] = ours
    facts = {name: pipe.recv() for name, pipe in sides.items()}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    losses: dict[str, list[float]] = {name: [] for name in sides}
    for step in range(WARM_UP + settings.steps):
        for name, pipe in sides.items():
            pipe.send(step + 1)
            spent, loss = pipe.recv()
            losses[name].append(loss)
            if step >= WARM_UP:
                seconds[name].append(spent)
    share = statistics.median(b / a for a, b in zip(seconds["lmkit"], seconds["limit"], strict=True))
    memory = {}
    for name, pipe in sides.items():
        pipe.send(None)
        memory[name] = pipe.recv()

    ratios = [b / a for a, b in zip(seconds["lmkit"], seconds["plain"], strict=True)]
    tokens = settings.batch * settings.bptt
    result = {
        "vocabulary": facts["lmkit"],
        "tokens_per_second": {n: round(tokens / statistics.median(s)) for n, s in seconds.items()},
        "speed_up": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "share_of_limit": share,
        "last_loss": {n: losses[n][-1] for n in ("lmkit", "plain")},
        "largest_loss_difference": max(
            abs(a - b) for a, b in zip(losses["lmkit"], losses["plain"], strict=True)
        ),
        "peak_memory_mb": memory,
    }
    if settings.json:
        print(json.dumps(result))
        return
    print(f"{settings.layers}x{settings.hidden} LSTM, vocabulary {facts['lmkit']:,}, batch {settings.batch}, "
          f"bptt {settings.bptt}, {settings.optimizer}, {settings.threads} thread(s)")  # fmt: skip
    for name in result["last_loss"]:
        print(f"  {name:6s} {result['tokens_per_second'][name]:>8,} tokens/s  loss after {len(losses[name])} steps "
              f"{losses[name][-1]:.6f}  peak memory {memory[name]:,} MB")  # fmt: skip
    print(f"  speed-up {statistics.median(ratios):.2f} (steps: {min(ratios):.2f} to {max(ratios):.2f}); "
          f"largest difference of a loss {result['largest_loss_difference']:.1e}; "
          f"{share:.2f} of the limit")  # fmt: skip


def side(name: str, settings: argparse.Namespace, pipe: Connection) -> None:
    """One of the two models: a step for every number from the pipe."""
    import torch

    from lmkit.training.memory import keep_large_blocks

    torch.set_num_threads(settings.threads)
    if name != "plain":
        keep_large_blocks()
    streams, model = lmkit_model(settings)
    pipe.send(model.vocabulary.size)
    step = {"lmkit": lmkit_step, "plain": plain_step, "limit": limit_step}[name](settings, model)
    while (index := pipe.recv()) is not None:
        window = streams.window(index)
        begun = time.perf_counter()
        loss = step(window.inputs, window.targets)
        pipe.send((time.perf_counter() - begun, loss))
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def lmkit_model(settings):
    """Streams of the text, whose state is never reset, and the model, from one seed."""
    import numpy as np
    import torch
    from lmkit_recurrent.model import RecurrentLanguageModel

    from lmkit.contracts import Vocabulary
    from lmkit.corpus.options import DataOptions
    from lmkit.corpus.readers import Text
    from lmkit.corpus.store import TokenStore
    from lmkit.corpus.streams import Streams
    from lmkit.options import choose

    if settings.data:
        chosen = choose("tokenizer", "word", "tokenizer")
        text = Text([str(settings.data)], DataOptions())
        tokenizer = chosen.load().fit((line.text for line in text), chosen.options)
        vocabulary = tokenizer.vocabulary
        store = TokenStore.build(text, tokenizer)
    else:
        vocabulary = Vocabulary(settings.vocabulary, 0, 1, "random")
        count = settings.batch * settings.bptt * (WARM_UP + settings.steps + 2)
        store = TokenStore.from_lines(
            [np.random.default_rng(0).integers(0, vocabulary.size, count)], vocabulary
        )
    torch.manual_seed(0)
    table = {
        "name": "recurrent", "cell": "lstm", "hidden_size": settings.hidden, "num_layers": settings.layers,
        "dropout": 0.0, "tied": False, "reset": "never",
    }  # fmt: skip
    model = RecurrentLanguageModel(choose("model", table, "model").options, vocabulary)
    return Streams(store, settings.batch, settings.bptt, "never", model.start_id), model


def lmkit_step(settings, model):
    """A step of the trainer."""
    import torch

    from lmkit import states
    from lmkit.training.optimiser import make_optimiser
    from lmkit.training.options import TrainOptions

    optimiser = make_optimiser(model, TrainOptions(optimizer=settings.optimizer, weight_decay=0.0))
    hidden = model.blank_state(settings.batch)

    def step(inputs, targets) -> float:
        nonlocal hidden
        optimiser.zero_grad(set_to_none=True)
        loss, after = model.window_loss(inputs, targets, hidden)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimiser.step()
        hidden = states.detach(after)
        return float(loss.detach())

    return step


def plain_step(settings, source):
    """The same model and the same step without lmkit."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from lmkit.training.optimiser import DEFAULT_RATE

    size = source.vocabulary.size
    embedding = nn.Embedding(size, settings.hidden)
    lstm = nn.LSTM(settings.hidden, settings.hidden, settings.layers, batch_first=True)
    output = nn.Linear(settings.hidden, size)
    with torch.no_grad():
        embedding.weight.copy_(source.embedding.weight)
        output.weight.copy_(source.output.weight)
        output.bias.copy_(source.output.bias)
        for index, cell in enumerate(source.stack.layers):
            for weight in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(lstm, f"{weight}_l{index}").copy_(getattr(cell, weight))
    parameters = [*embedding.parameters(), *lstm.parameters(), *output.parameters()]
    if settings.optimizer == "sgd":
        optimiser = torch.optim.SGD(parameters, lr=DEFAULT_RATE["sgd"])
    else:
        optimiser = torch.optim.AdamW(
            parameters, lr=DEFAULT_RATE["adamw"], betas=(0.9, 0.99), weight_decay=0.0
        )
    hidden = None

    def step(inputs, targets) -> float:
        nonlocal hidden
        optimiser.zero_grad()
        features, after = lstm(embedding(inputs), hidden)
        loss = F.cross_entropy(output(features).flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        hidden = tuple(h.detach() for h in after)
        return float(loss.detach())

    return step


def limit_step(settings, model):
    """The matrix products of a step, forward and backward, on random numbers."""
    import torch

    rows, hidden, gates = settings.batch * settings.bptt, settings.hidden, 4 * settings.hidden
    shapes = [(rows, hidden, model.vocabulary.size)] + settings.layers * [(rows, hidden, gates)]
    steps = settings.layers * settings.bptt * [(settings.batch, hidden, gates)]

    def product(m: int, k: int, n: int):
        a, weight = torch.randn(m, k), torch.randn(n, k)
        by_onednn = lambda: torch.ops.mkldnn._linear_pointwise(a, weight, None, "none", [], "")  # noqa: E731
        by_default, transposed = (lambda: a @ weight.t()), weight.t().contiguous()
        return fastest([by_onednn, by_default, lambda: a @ transposed])

    # Forward, the gradient of the input, the gradient of the weight; that of W_hh is one product for all steps.
    products = [product(*order) for m, k, n in shapes for order in ((m, k, n), (m, n, k), (k, m, n))]
    products += [product(k, m, n) for m, k, n in shapes[1:]]
    products += [product(*order) for m, k, n in steps[:1] for order in ((m, k, n), (m, n, k))] * len(steps)

    def step(inputs, targets) -> float:
        with torch.no_grad():
            for run in products:
                run()
        return 0.0

    return step


def fastest(ways):
    """The way that takes the least time, of three tries each."""
    best = {}
    for way in ways:
        way()
        tries = []
        for _ in range(3):
            begun = time.perf_counter()
            way()
            tries.append(time.perf_counter() - begun)
        best[min(tries)] = way
    return best[min(best)]


if __name__ == "__main__":
    main()
