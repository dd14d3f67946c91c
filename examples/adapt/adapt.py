"""Adapt a model of novels to one author: perplexities before, after some seconds of training, and from nothing.

    python examples/adapt/adapt.py en_novels out

The model is trained on all novels of `train.txt` but Doyle's. The new text is Doyle's "Micah Clarke", of `test.txt`:
its last tenth is the test text, the tenth before it the validation text, the rest the training text.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import lmkit

BOOK_BEGINS, BOOK_ENDS = "MICAH CLARKE", "The Warden"
OTHERS_BEGIN, OTHERS_END = "The Hound of the Baskervilles", "JOHN GALSWORTHY"
"""The title lines of Doyle's novels, and of what follows them."""

MODEL = {"model": "lstm", "hidden_size": 256, "dropout": 0.2, "output": "sampled", "tokenizer": "word"}
WORDS = {"vocab_size": 20_000}
TRAINING = {"learning_rate": 0.005, "threads": 1, "device": "cpu", "valid_every": 1_000_000}
"""One validation, at the end of each training."""
ADAPTING = {**TRAINING, "learning_rate": 0.002}


def main(data: Path, out: Path, before: float, seconds: Sequence[float], new_words: int) -> None:
    """Train all models and print the table."""
    out.mkdir(parents=True, exist_ok=True)
    prepare(data, out)
    novels = out / "novels"
    if not novels.exists():
        valid = out / "novels-valid.txt"
        limit = {"max_cpu_time": before}
        lmkit.train(out / "novels.txt", valid=valid, out=novels, **MODEL, **WORDS, **TRAINING, **limit)
    print("| training on the book | from nothing | from the novels | with new words |", flush=True)
    print("|---|---:|---:|---:|")
    print(f"| none | | {perplexity(novels, out)} | |", flush=True)
    for limit in seconds:
        cells = [perplexity(run, out) for run in train_all(out, novels, limit, new_words)]
        print(f"| {limit:g} s | {' | '.join(cells)} |", flush=True)


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
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def train_all(out: Path, novels: Path, seconds: float, new_words: int) -> Iterator[Path]:
    """The runs of one length: from nothing, from the novels, and from them with new words."""
    text = {"data": out / "book.txt", "valid": out / "book-valid.txt", "max_cpu_time": seconds}
    nothing, adapted, grown = (out / f"{name}-{seconds:g}" for name in ("nothing", "adapted", "grown"))
    if not nothing.exists():
        # With the words of the novels' model, since perplexities of other vocabularies do not compare.
        words = {"tokenizer": f"word:{novels / 'tokenizer' / 'words.txt'}"}
        lmkit.train(**text, out=nothing, **(MODEL | words), **TRAINING)
    yield nothing
    if not adapted.exists():
        lmkit.train(**text, out=adapted, init_from=novels, **ADAPTING)
    yield adapted
    if not grown.exists():
        lmkit.train(**text, out=grown, init_from=novels, new_words=new_words, **ADAPTING)
    yield grown


def perplexity(run: Path, out: Path) -> str:
    """Of the test part of the book; with the bits per byte, which compare vocabularies too."""
    score = lmkit.load(run).score((out / "book-test.txt").read_text(encoding="utf-8"))
    return f"{score.perplexity:.1f} ({score.bits_per_byte:.3f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder with train.txt, valid.txt and test.txt")
    parser.add_argument("out", type=Path, help="a folder for texts and runs")
    parser.add_argument("--before", type=float, default=180, help="CPU seconds of training on the novels")
    parser.add_argument(
        "--seconds", type=float, nargs="+", default=[20, 60, 300], help="of training on the book"
    )
    parser.add_argument("--new-words", type=int, default=2000)
    options = parser.parse_args()
    main(options.data, options.out, options.before, options.seconds, options.new_words)
