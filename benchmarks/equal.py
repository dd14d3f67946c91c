"""Models at equal parameters and equal time: kinds of cells, numbers of layers, resets, with and without clipping.

python benchmarks/equal.py cells wikitext-2 --params 6M --seconds 600 --out runs/equal
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
    "clipping": {"clipped at 0.25": LSTM, "not clipped": [*LSTM, "--clip-norm", "0"]},
}
"""The rows of each table and what they change."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("data", type=Path, help="a folder with train.txt, valid.txt and test.txt")
    parser.add_argument("--params", default="6M")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--vocab-size", type=int, default=50_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/equal"))
    settings = parser.parse_args()
    print("| model | parameters | tokens seen | tokens a second | test perplexity | bits per byte |")
    print("|---|---|---|---|---|---|")
    for name, options in TABLES[settings.table].items():
        print(row(name, options, settings), flush=True)


def row(name: str, options: list[str], settings: argparse.Namespace) -> str:
    """Train and score one model; a run that is there already is only scored."""
    run = settings.out / "-".join([part.strip("-") for part in options])
    if not (run / "lmkit.json").exists():
        lmkit(
            "train", str(settings.data / "train.txt"), "--valid", str(settings.data / "valid.txt"), *options,
            "--params", settings.params, "--tokenizer", "word", "--vocab-size", str(settings.vocab_size),
            "--optimizer", "sgd", "--batch-size", "20", "--bptt", "35", "--max-time", str(settings.seconds),
            "--threads", str(settings.threads), "--out", str(run), "--overwrite",
        )  # fmt: skip
    score = lmkit("eval", str(run), str(settings.data / "test.txt"), "--json")
    figures: dict[str, Any] = json.loads(score)
    summary = json.loads((run / "lmkit.json").read_text())["training"]
    tokens = int(summary["step"]) * 20 * 35
    return (
        f"| {name} | {parameters(run):,} | {tokens:,} | {tokens / settings.seconds:,.0f} "
        f"| {figures['perplexity']:.1f} | {figures['bits_per_byte']:.4f} |"
    )


def parameters(run: Path) -> int:
    """The numbers in the weights of a run."""
    from safetensors import safe_open

    with safe_open(run / "model.safetensors", "np") as weights:
        return sum(weights.get_tensor(name).size for name in weights.keys())  # noqa: SIM118


def lmkit(*arguments: str) -> str:
    """The standard output of a command."""
    command = [sys.executable, "-c", "from lmkit.cli import main; main()", *arguments]
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ).stdout


if __name__ == "__main__":
    main()
