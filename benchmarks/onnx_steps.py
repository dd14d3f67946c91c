"""Compare generation by onnxruntime's steps with lmkit's own, alternating in one process, in CPU time a token.

All sides sample from the same weights; the file is the one of `lmkit export --to onnx`. On a processor without AVX-512
VNNI, torch's int8 is left out.

    python benchmarks/onnx_steps.py --cells lstm gru rnn --hidden 200 --vocabulary 10000
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from lmkit_recurrent.model import RecurrentLanguageModel

from lmkit.contracts import LanguageModel, Vocabulary
from lmkit.onnx_export.engine import OnnxModel
from lmkit.onnx_export.forms import leaves_of, write_form
from lmkit.onnx_export.sessions import Session
from lmkit.options import choose
from lmkit.recurrence.int8 import int8_products, to_int8

SIDES = ("torch", *(["torch --int8"] if int8_products() else []), "onnx", "onnx-int8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", nargs="+", default=["lstm", "gru", "rnn"])
    parser.add_argument("--hidden", type=int, default=200)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--vocabulary", type=int, default=10_000)
    parser.add_argument("--streams", type=int, nargs="+", default=[1])
    parser.add_argument("--tokens", type=int, default=50, help="of each stream in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    with torch.no_grad():
        rows = [measured(settings, cell, streams) for cell in settings.cells for streams in settings.streams]
    if settings.json:
        print(json.dumps(rows))
        return
    print(
        f"{settings.layers} x {settings.hidden} units, {settings.vocabulary:,} words, one thread, us of CPU a token"
    )
    for row in rows:
        spent = "  ".join(f"{name} {row['microseconds'][name]:,.0f}" for name in SIDES)
        print(f"  {row['cell']:16s} {row['streams']:3d} streams: {spent}")


def measured(settings: argparse.Namespace, cell: str, streams: int) -> dict[str, object]:
    """The median over rounds of each side, in microseconds of CPU a token."""
    sides = make_sides(settings, cell, streams)
    spent: dict[str, list[float]] = {name: [] for name in SIDES}
    for run in sides.values():
        run(5)
    for _ in range(settings.rounds):
        for name, run in sides.items():
            begun = time.process_time()
            run(settings.tokens)
            spent[name].append((time.process_time() - begun) / settings.tokens / streams)
    medians = {name: statistics.median(times) * 1e6 for name, times in spent.items()}
    return {"cell": cell, "streams": streams, "microseconds": medians}


def make_sides(settings: argparse.Namespace, cell: str, streams: int) -> dict[str, Callable[[int], object]]:
    """By name, the functions that generate this many tokens in each stream."""
    decoder = choose("decoder", "sample", "decoder")

    def loop(model: LanguageModel) -> Callable[[int], object]:
        chosen, state = decoder.load()(decoder.options), model.initial_state(streams)
        generator = torch.Generator().manual_seed(0)
        return lambda count: chosen.generate(model, state, max_tokens=count, generator=generator)

    models: dict[str, LanguageModel] = {}
    for name in SIDES:
        torch.manual_seed(0)
        table = {
            "name": "recurrent",
            "cell": cell,
            "hidden_size": settings.hidden,
            "num_layers": settings.layers,
        }
        vocabulary = Vocabulary(settings.vocabulary, 0, 1, "random")
        model = RecurrentLanguageModel(choose("model", table, "model").options, vocabulary).eval()
        if name == "torch --int8":
            to_int8(model)
        models[name] = model
        if name.startswith("onnx"):
            leaves = leaves_of(model)
            proto = write_form(model, "step", leaves, [model.output.weight] if name == "onnx-int8" else [])
            models[name] = OnnxModel(model, Session(proto.SerializeToString(), leaves), leaves)
    return {name: loop(model) for name, model in models.items()}


if __name__ == "__main__":
    main()
