"""Measure how fast a text becomes a token store, by tokenizer, beside sentencepiece's own batches of lines.

python benchmarks/token_store.py text.txt

Megabytes of text per CPU second, over rounds that alternate: reading, ids, checks, files and their hashes included.
The tokenizers are fitted before, on the beginning of the text.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text
from lmkit.corpus.store import TokenStore
from lmkit.options import choose

FITTED = 3_000
"""Lines that the tokenizers are fitted on."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    settings = parser.parse_args()
    text = Text([str(settings.text)], DataOptions())
    lines = settings.text.read_text(encoding="utf-8").split("\n")
    megabytes = settings.text.stat().st_size / 1e6
    work: dict[str, Callable[[], object]] = {}
    for name in ("word", "byte", "sentencepiece"):
        chosen = choose("tokenizer", name, "tokenizer")
        tokenizer = chosen.load().fit(lines[:FITTED], chosen.options)
        work[name] = lambda tokenizer=tokenizer: build(text, tokenizer)
    processor = tokenizer._processor
    work["sentencepiece alone"] = lambda: processor.encode(lines, return_type="numpy", num_threads=1)
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for round_ in range(settings.rounds + 1):
        for name, action in work.items():
            begun = time.process_time()
            action()
            if round_:  # the first one compiles
                seconds[name].append(time.process_time() - begun)
    for name, spent in seconds.items():
        rates = [megabytes / each for each in spent]
        print(f"{name:20s} {statistics.median(rates):7.1f} MB/s ({min(rates):.1f} to {max(rates):.1f})")
    pairs = zip(seconds["sentencepiece alone"], seconds["sentencepiece"], strict=True)
    print(
        f"sentencepiece: {statistics.median([a / b for a, b in pairs]):.2f} of the speed of the library alone"
    )


def build(text: Text, tokenizer: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        TokenStore.build(text, tokenizer, cache=Path(folder))  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    main()
