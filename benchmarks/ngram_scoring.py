"""Measure how fast an n-gram model scores: a whole text, its surprisals, and one sentence a call, beside KenLM.

python benchmarks/ngram_scoring.py runs/kn5 text.txt [--arpa kn5.arpa] [--table]

CPU seconds of one thread, without start-up, in rounds that alternate; one sentence a call in groups of 100 sentences
that alternate, with the ratio to KenLM. With --arpa (lmkit export RUN FILE --to arpa)
KenLM's Python module (pip install kenlm) scores the same lines. The model uses its hash table, which it builds once it
has scored enough words, from the beginning with --table, and else never.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

import lmkit
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text
from lmkit.evaluation.records import column_names
from lmkit.evaluation.writers import write_records

SENTENCES, GROUP = 2000, 100


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--arpa", type=Path)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    model = lmkit.load(settings.run)
    model.causal._scorer._walked = (1 << 60) * (1 if settings.table else -1)  # pyright: ignore[reportAttributeAccessIssue]
    text = Text([str(settings.text)], DataOptions())
    lines = settings.text.read_text(encoding="utf-8").splitlines()
    tokens = model.score_text(text).tokens  # also warms up
    some = [line for line in lines if line.strip()][:SENTENCES]

    def write() -> None:
        names = column_names(entropy=False, rank=False)
        with Path("/dev/null").open("wb") as sink:
            write_records(model.surprisal_text(text), names, "tsv", sink)

    work: dict[str, tuple[Callable[[], object], int]] = {
        "eval": (lambda: model.score_text(text), tokens),
        "surprisal to TSV": (write, tokens),
    }
    calls: dict[str, Callable[[str], object]] = {
        "line_scores, a call": lambda line: model.line_scores([line]),
        "sentence_scores, a call": lambda line: model.sentence_scores([line]),
    }
    if settings.arpa is not None:
        import kenlm

        peer = kenlm.Model(str(settings.arpa))
        work["KenLM, every line"] = (lambda: [peer.score(line) for line in lines], tokens)
        calls["KenLM, a call"] = peer.score
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(settings.rounds):
        for name, (action, _) in work.items():
            seconds[name].append(timed(action))
    for name, (_, count) in work.items():
        show(name, [1e6 * spent / count for spent in seconds[name]], "token")
    each: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(settings.rounds):
        for first in range(0, len(some), GROUP):
            group = some[first : first + GROUP]
            for name, call in calls.items():
                spent = timed(lambda call=call, group=group: [call(line) for line in group])
                each[name].append(1e6 * spent / len(group))
    for name, spent in each.items():
        peers = each.get("KenLM, a call", [])
        show(name, spent, "call", [mine / other for mine, other in zip(spent, peers, strict=False)])


def timed(action: Callable[[], object]) -> float:
    begun = time.process_time()
    action()
    return time.process_time() - begun


def show(name: str, each: list[float], unit: str, ratios: Sequence[float] = ()) -> None:
    ratio = f", {statistics.median(ratios):.2f} times KenLM's" if ratios else ""
    print(
        f"{name:25s} {statistics.median(each):8.2f} us a {unit} ({min(each):.2f} to {max(each):.2f}){ratio}"
    )


if __name__ == "__main__":
    main()
