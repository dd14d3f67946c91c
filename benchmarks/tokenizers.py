"""Compare four tokenizers on one text at equal training time, by bits per byte with signatures.

    python benchmarks/tokenizers.py --seconds 240 --out runs/tokenizers \\
        NAME=TRAIN,VALID,TEST [NAME=TRAIN,VALID,TEST ...]

Prints a Markdown table; each model is one `lmkit train` and one `lmkit eval`, whose command lines are also printed.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

TOKENIZERS = ("word", "sentencepiece", "char", "byte")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", nargs="+", metavar="NAME=TRAIN,VALID,TEST")
    parser.add_argument("--seconds", type=float, default=240, help="training time of each model")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="where the runs go")
    settings = parser.parse_args()
    rows = []
    for text in settings.texts:
        name, _, paths = text.partition("=")
        train, valid, test = paths.split(",")
        for tokenizer in TOKENIZERS:
            run = settings.out / f"{name}-{tokenizer}"
            trained = lmkit(
                "train", train, "--valid", valid, "--model", "lstm", "--tokenizer", tokenizer,
                "--hidden-size", str(settings.hidden), "--max-time", str(settings.seconds),
                "--threads", str(settings.threads), "--out", str(run), "--overwrite",
            )  # fmt: skip
            score = lmkit("eval", str(run), test)
            rows.append((name, tokenizer, trained, score))
            print(row(*rows[-1]), file=sys.stderr, flush=True)
    print("| text | tokenizer | vocabulary | epochs | bits per byte | bits per character | word perplexity "
          "| perplexity | signature |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for entry in rows:
        print(row(*entry))


def row(name: str, tokenizer: str, trained: dict, score: dict) -> str:
    """A line of the table."""
    figures = [
        name,
        tokenizer,
        f"{trained['vocabulary']:,}",
        f"{trained['epochs']:.2f}",
        f"{score['bits_per_byte']:.4f}",
        f"{score['bits_per_character']:.4f}",
        "withheld" if score["word_perplexity"] is None else f"{score['word_perplexity']:.1f}",
        f"{score['perplexity']:.2f}",
        f"`{score['signature']}`".replace("|", "\\|"),
    ]
    return "| " + " | ".join(figures) + " |"


def lmkit(*line: str) -> dict:
    """Run a command of lmkit; its figures."""
    print("lmkit", *line, file=sys.stderr, flush=True)
    command = [sys.executable, "-c", "from lmkit.cli import main; main()", *line, "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


if __name__ == "__main__":
    main()
