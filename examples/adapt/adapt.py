"""Adapt a model of novels to one author: scores before, after some seconds of training, and from nothing.

    python examples/adapt/adapt.py en_novels out

The model is trained on all novels of `train.txt` but Doyle's. The new text is Doyle's "Micah Clarke", of `test.txt`:
its last tenth is the test text, the tenth before it the validation text, the rest the training text. Seconds are
processor time of training, without validations. Runs that are in `out` already are not trained again.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lmkit

BOOK_BEGINS, BOOK_ENDS = "MICAH CLARKE", "The Warden"
OTHERS_BEGIN, OTHERS_END = "The Hound of the Baskervilles", "JOHN GALSWORTHY"
"""The title lines of Doyle's novels, and of those that follow them."""

PIECES = {"name": "sentencepiece", "vocab_size": 2000, "max_lines": 20_000, "threads": 1}
MODEL: dict[str, Any] = {"model": "lstm", "hidden_size": 256}
TRAINING: dict[str, Any] = {"bptt": 32, "threads": 1, "device": "cpu"}
RATE, ADAPTING_RATE = 0.01, 0.003


def main(data: Path, out: Path, before: float, seconds: Sequence[float]) -> None:
    """Train all models and print the table."""
    out.mkdir(parents=True, exist_ok=True)
    prepare(data, out)
    novels = out / "novels"
    if not novels.exists():
        lmkit.train(
            out / "novels.txt", valid=out / "novels-valid.txt", out=novels, tokenizer=PIECES, max_cpu_time=before,
            learning_rate=RATE, **MODEL, **TRAINING,
        )  # fmt: skip
    print("| training on the book | from nothing | from the novels |\n|---|---:|---:|")
    print(f"| none | | {scores(novels, out)} |", flush=True)
    for limit in seconds:
        runs = from_nothing(out, novels, limit), from_novels(out, novels, limit)
        print(f"| {limit:g} s | {' | '.join(scores(run, out) for run in runs)} |", flush=True)


def prepare(data: Path, out: Path) -> None:
    """Write the texts into `out`."""
    train = (data / "train.txt").read_text(encoding="utf-8").splitlines()
    start = train.index(OTHERS_BEGIN)
    end = train.index(OTHERS_END, start)
    write(out / "novels.txt", train[:start] + train[end:])
    write(out / "novels-valid.txt", (data / "valid.txt").read_text(encoding="utf-8").splitlines()[:500])
    book = (data / "test.txt").read_text(encoding="utf-8").splitlines()
    book = book[book.index(BOOK_BEGINS) : book.index(BOOK_ENDS)]
    tenth = len(book) // 10
    write(out / "book.txt", book[: -2 * tenth])
    write(out / "book-valid.txt", book[-2 * tenth : -tenth])
    write(out / "book-test.txt", book[-tenth:])


def write(path: Path, lines: Sequence[str]) -> None:
    """Write lines as a text file."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def from_nothing(out: Path, novels: Path, seconds: float) -> Path:
    """The run of a new model, with the pieces of the novels, since perplexities of other pieces do not compare."""
    run = out / f"nothing-{seconds:g}"
    pieces = f"sentencepiece:{novels / 'tokenizer' / 'sentencepiece.model'}"
    if not run.exists():
        train_on_book(out, run, seconds, tokenizer=pieces, learning_rate=RATE, **MODEL)
    return run


def from_novels(out: Path, novels: Path, seconds: float) -> Path:
    """The run of the novels' model, adapted."""
    run = out / f"adapted-{seconds:g}"
    if not run.exists():
        train_on_book(out, run, seconds, init_from=novels, learning_rate=ADAPTING_RATE)
    return run


def train_on_book(out: Path, run: Path, seconds: float, **settings: Any) -> None:
    """Train on the new text."""
    texts = {"data": out / "book.txt", "valid": out / "book-valid.txt"}
    lmkit.train(**texts, out=run, max_cpu_time=seconds, **TRAINING, **settings)


def scores(run: Path, out: Path) -> str:
    """Bits per byte, and the perplexity of pieces, on the test part of the book."""
    score = lmkit.load(run, device="cpu").score((out / "book-test.txt").read_text(encoding="utf-8"))
    return f"{score.bits_per_byte:.3f} ({score.perplexity:.1f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Adapt a model of novels to one author")
    parser.add_argument("data", type=Path, help="the folder with train.txt, valid.txt and test.txt")
    parser.add_argument("out", type=Path, help="a folder for texts and runs")
    parser.add_argument("--before", type=float, default=180, help="seconds of training on the novels")
    parser.add_argument(
        "--seconds", type=float, nargs="+", default=[20, 60, 300], help="of training on the book"
    )
    options = parser.parse_args()
    main(options.data, options.out, options.before, options.seconds)
