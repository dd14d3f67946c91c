"""Compare models at equal parameters and equal time: cells, numbers of layers, resets, with and without clipping.

python benchmarks/equal.py cells wikitext-2 --params 6M --seconds 600 --out runs/equal

Each model tries every rate of --rates for a tenth of the time and is trained with the one with the lowest
validation loss, since no single rate suits all cells.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LSTM = ["--model", "lstm"]
TABLES: dict[str, dict[str, list[str]]] = {
    "cells": {
        "rnn": ["--model", "rnn"],
        "lstm": LSTM,
        "gru": ["--model", "gru"],
        "mogrifier-lstm": ["--model", "mogrifier-lstm"],
        "min-gru": ["--model", "min-gru"],
        "window, N = 5": ["--model", "window", "--order", "5"],
    },
    "layers": {f"{n} layer{'s' * (n > 1)}": [*LSTM, "--num-layers", str(n)] for n in (1, 2, 3)},
    "resets": {f"reset by {when}": [*LSTM, "--reset", when] for when in ("line", "document", "never")},
    "clipping": {
        f"{cell}, {name}": ["--model", cell, *clip]
        for cell in ("rnn", "lstm")
        for name, clip in (("clipped at 0.25", []), ("not clipped", ["--clip-norm", "0"]))
    },
}
"""The rows of each table and their options."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("data", type=Path, help="a folder with train.txt, valid.txt and test.txt")
    parser.add_argument("--params", default="6M")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--rates", type=lambda text: text.split(","), default=["20", "5"])
    parser.add_argument("--vocab-size", type=int, default=50_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/equal"))
    settings = parser.parse_args()
    print("| model | rate | parameters | tokens seen | tokens a second | test perplexity | bits per byte |")
    print("|---|---|---|---|---|---|---|")
    for name, options in TABLES[settings.table].items():
        print(row(name, options, settings), flush=True)


def row(name: str, options: list[str], settings: argparse.Namespace) -> str:
    """Train and score one model; an existing run is only scored."""
    run = settings.out / "-".join([part.strip("-") for part in options])
    if not (run / "lmkit.json").exists():
        trials = {
            rate: trained(
                options, rate, settings.seconds / 10, run.with_name(f"{run.name}-at-{rate}"), settings
            )
            for rate in settings.rates
        }
        rate = min(trials, key=trials.__getitem__)
        if trained(options, rate, settings.seconds, run, settings) == float("inf"):
            return f"| {name} | {rate} | | | | diverged | |"
    figures: dict[str, Any] = json.loads(lmkit("eval", run, settings.data / "test.txt", "--json").stdout)
    summary = json.loads((run / "lmkit.json").read_text())["training"]
    tokens = int(summary["step"]) * 20 * 35
    return (
        f"| {name} | {learning_rate(run)} | {parameters(run):,} | {tokens:,} | {tokens / settings.seconds:,.0f} "
        f"| {figures['perplexity']:.1f} | {figures['bits_per_byte']:.4f} |"
    )


def trained(options: list[str], rate: str, seconds: float, run: Path, settings: argparse.Namespace) -> float:
    """Train a run; its best validation loss, infinite when it diverges."""
    done = lmkit(
        "train", settings.data / "train.txt", "--valid", settings.data / "valid.txt", *options,
        "--params", settings.params, "--tokenizer", "word", "--vocab-size", settings.vocab_size,
        "--optimizer", "sgd", "--learning-rate", rate, "--batch-size", 20, "--bptt", 35, "--max-time", seconds,
        "--threads", settings.threads, "--out", run, "--overwrite", "--json",
    )  # fmt: skip
    if "lower --learning-rate" in done.stderr:
        return float("inf")  # it diverged
    if done.returncode:
        sys.exit(done.stderr)
    return float(json.loads(done.stdout)["valid_loss"])


def learning_rate(run: Path) -> str:
    """The learning rate of a run."""
    import tomllib

    return f"{tomllib.loads((run / 'recipe.toml').read_text())['train']['learning_rate']:g}"


def parameters(run: Path) -> int:
    """The numbers in the weights of a run."""
    from safetensors import safe_open

    with safe_open(run / "model.safetensors", "np") as weights:
        return sum(weights.get_tensor(name).size for name in weights.keys())  # noqa: SIM118


def lmkit(*arguments: object) -> subprocess.CompletedProcess[str]:
    """A command that has run."""
    command = [sys.executable, "-c", "from lmkit.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    main()
