"""From the n-gram to ELMo on one text: trains each step of the story, and shows which of them remember.

python examples/story/story.py OUT [--language zh|en] [--seconds 125] [--seed 1]

Sentences of the distance task (docs/comparing.md) are the text. Some 20 minutes of one core; OUT then holds the runs
and the pictures: compare.png, distances.png, context.png, why.png and why.html. Runs that OUT holds already are not
trained again.
"""

import argparse
import shutil
import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "distances"))

import torch
from train import train

from lmkit.cli import INTERRUPTED, cli
from lmkit.cli.console import say
from lmkit.errors import LmkitError
from lmkit.run_paths import MANIFEST
from lmkit.training.signals import Interrupted

STORY = {
    "ngram-5": "counts of five words: it knows what it can still see",
    "ngram-11": "counts of eleven: it sees a clause farther, at a price",
    "window-13": "a network over twelve words: it generalises, and sees no farther",
    "rnn": "a state that carries everything: in principle",
    "lstm": "a memory that it can leave alone",
    "gru": "the same with fewer gates",
    "stack-2": "two LSTMs, one reading the other",
    "elmo": "one LSTM from the left, one from the right",
}

SENTENCES = {
    "zh": (
        "今天天气很好，我去打球，不小心把手机摔坏了，所以我下午要去____。",
        "修手机,喝水,吃饭",
    ),
    "en": (
        "today the weather was good , he went to play , by accident i got the phone broken , "
        "so afterwards i am going to ____ .",
        "repair the phone,drink some water,eat some food",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--language", choices=list(SENTENCES), default="zh")
    parser.add_argument("--seconds", type=float, default=125, help="of training each neural model")
    parser.add_argument("--seed", type=int, default=1)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    runs = {name: settings.out / f"{settings.language}_{name}_seed{settings.seed}" for name in STORY}
    how = Namespace(**vars(settings), params="100k", answers=None, set=[])
    try:
        for name, sense in STORY.items():
            say(f"\n{name}: {sense}")
            if (runs[name] / MANIFEST).is_file():
                say(f"{runs[name]} is there already")
                continue
            try:
                train(name, how)
            except (Interrupted, KeyboardInterrupt):
                # Else the next call would take it for a whole one.
                shutil.rmtree(runs[name], ignore_errors=True)
                say(f"stopped: {runs[name]} was not done and is removed; the next call begins with it")
                sys.exit(INTERRUPTED)
    except LmkitError as error:
        say(str(error), error.label)
        sys.exit(error.exit_code)
    show(settings.out, settings.language, list(map(str, runs.values())))


def show(out: Path, language: str, runs: list[str]) -> None:
    """Ask every model the same questions."""
    text = f"distances:{language},part=test,count=500"
    sentence, candidates = SENTENCES[language]
    recurrent = [run for run in runs if "ngram" not in run and "window" not in run and "elmo" not in run]
    why = ["--why", "--plot", out / "why.png", "--html", out / "why.html"]
    asked = [
        ("Who finds the text likelier?", ["compare", *runs, "--data", text, "--plot", out / "compare.png"]),
        (
            "How far back is the cause still known?",
            ["distances", *runs, "--language", language, "--plot", out / "distances.png"],
        ),
        (
            "What comes into the blank, and why?",
            ["fill", *runs, sentence, "--candidates", candidates, *why],
        ),
        (
            "How far back does learning reach?",
            ["context", *recurrent, "--data", text, "--longest", "50", "--plot", out / "context.png"],
        ),
    ]
    for question, line in asked:
        print(f"\n## {question}\n", flush=True)
        try:
            cli.main([str(part) for part in line])
        except SystemExit as end:
            if end.code:
                raise


if __name__ == "__main__":
    main()
