"""Compare generation by lmkit's LSTM, in float32 and in int8, with a loop over nn.LSTM, alternating in one process.

Plain: nn.Embedding, nn.LSTM, nn.Linear, softmax and torch.multinomial, one token at a time, as in most code.
All three have the same weights; figures are tokens per second, over all streams. On a processor without AVX-512 VNNI
the benchmark says so and leaves out int8.

    python benchmarks/generation.py --threads 1 --streams 1 64
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from lmkit_recurrent.model import RecurrentLanguageModel
from torch import nn

from lmkit.contracts import Vocabulary
from lmkit.options import choose
from lmkit.recurrence.int8 import int8_products, to_int8

SIDES = ("plain", "lmkit", "int8") if int8_products() else ("plain", "lmkit")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, default=650)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=33278)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--tokens", type=int, default=20, help="of each stream in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)

    if "int8" not in SIDES:
        print("int8 is left out: this processor has no int8 products (AVX-512 VNNI)", file=sys.stderr)
    results = []
    with torch.no_grad():
        for streams in settings.streams:
            sides = make_sides(settings, streams)
            seconds: dict[str, list[float]] = {name: [] for name in SIDES}
            for run in sides.values():
                run(2)
            for _ in range(settings.rounds):
                for name, run in sides.items():
                    begun = time.perf_counter()
                    run(settings.tokens)
                    seconds[name].append(time.perf_counter() - begun)
            made = streams * settings.tokens
            speed = {name: made / statistics.median(spent) for name, spent in seconds.items()}
            ratios = {
                name: statistics.median(a / b for a, b in zip(seconds["plain"], seconds[name], strict=True))
                for name in SIDES
            }
            results.append({"streams": streams, "tokens_per_second": speed, "ratio": ratios})
    if settings.json:
        print(json.dumps(results))
        return
    print(f"{settings.layers}x{settings.hidden} LSTM, vocabulary {settings.vocabulary:,}, "
          f"{settings.threads} thread(s)")  # fmt: skip
    for row in results:
        cells = (f"{n} {row['tokens_per_second'][n]:,.0f} ({row['ratio'][n]:.2f}x)" for n in SIDES)
        print(f"  {row['streams']:3d} streams, tokens/s: {'  '.join(cells)}")


def make_sides(settings: argparse.Namespace, streams: int) -> dict[str, Callable[[int], object]]:
    """By name, the functions that generate this many tokens in each stream."""
    vocabulary = Vocabulary(settings.vocabulary, 0, 1, "random")
    table = {
        "name": "recurrent", "cell": "lstm", "hidden_size": settings.hidden, "num_layers": settings.layers,
        "tied": False,
    }  # fmt: skip
    options = choose("model", table, "model").options
    decoder = choose("decoder", "sample", "decoder")
    models = {}
    for name in SIDES[1:]:
        torch.manual_seed(0)
        models[name] = RecurrentLanguageModel(options, vocabulary).eval()
    plain = plain_loop(models["lmkit"], settings, streams)
    if "int8" in models:
        to_int8(models["int8"])

    def loop(model: RecurrentLanguageModel) -> Callable[[int], object]:
        chosen = decoder.load()(decoder.options)
        state, generator = model.initial_state(streams), torch.Generator().manual_seed(0)
        return lambda count: chosen.generate(model, state, max_tokens=count, generator=generator)

    return {"plain": plain, **{name: loop(model) for name, model in models.items()}}


def plain_loop(
    source: RecurrentLanguageModel, settings: argparse.Namespace, streams: int
) -> Callable[[int], object]:
    """The same model and the same task without lmkit."""
    embedding = nn.Embedding(settings.vocabulary, settings.hidden)
    lstm = nn.LSTM(settings.hidden, settings.hidden, settings.layers, batch_first=True)
    output = nn.Linear(settings.hidden, settings.vocabulary)
    embedding.weight.copy_(source.embedding.weight)
    output.weight.copy_(source.output.weight)
    output.bias.copy_(source.output.bias)
    for index, cell in enumerate(source.stack.layers):
        for weight in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(lstm, f"{weight}_l{index}").copy_(getattr(cell, weight))

    def run(count: int) -> torch.Tensor:
        ids, hidden, written = torch.zeros(streams, 1, dtype=torch.long), None, []
        for _ in range(count):
            features, hidden = lstm(embedding(ids), hidden)
            ids = torch.multinomial(output(features[:, -1]).softmax(-1), 1)
            written.append(ids)
        return torch.cat(written, 1)

    return run


if __name__ == "__main__":
    main()
