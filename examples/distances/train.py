"""Trains models of one size on the distance task, for `lmkit distances`, `lmkit fill` and `lmkit context`.

python examples/distances/train.py OUT [--language zh] [--seed 1] [--models ngram-8,rnn,gru,lstm,elmo]
    [--seconds 125] [--params 100k] [--answers X]

Each model's run is OUT/LANGUAGE_MODEL_seedSEED. A neural model trains for some seconds of one core, an encoder for
three times as many.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import lmkit
from lmkit.cli.console import TrainReporter, say
from lmkit.corpus.distances import LANGUAGES, answers
from lmkit.errors import LmkitError
from lmkit.neural.output import OutputLayer

MODELS = "ngram-5,ngram-8,ngram-11,window-13,rnn,gru,lstm,elmo"

VALIDATION = 2000
"""Sentences by which the best weights are chosen, so that all 40,000 are learned from and words are the same for all.

Their distractor clauses are those of training; the test's are others.
"""

ANSWERS, ENCODER_ANSWERS = 10.0, 30.0
ENCODER_TIMES = 3
"""An encoder is two networks, to each of which half of the answers, whose cause is on its other side, are noise: its
answers weigh more, and it takes this many times `--seconds`."""

NEURAL: dict[str, Any] = {
    "batch_size": 32,
    "bptt": 128,
    "learning_rate": 0.01,
    "dropout": 0.0,
    "tier": "compiled",
    "threads": 1,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--language", choices=list(LANGUAGES), default="zh")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--models", default=MODELS, help=f"the default: {MODELS}")
    parser.add_argument("--seconds", type=float, default=125, help="of training a neural model")
    parser.add_argument("--params", default="100k", help="the size of a recurrent model")
    parser.add_argument(
        "--answers",
        type=float,
        help=f"how much an answer's tokens weigh in the loss (default {ANSWERS:g}, an encoder's {ENCODER_ANSWERS:g})",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="OPTION=X", help="an option of training"
    )
    settings = parser.parse_args()
    torch.set_num_threads(1)
    try:
        for model in settings.models.split(","):
            train(model, settings)
    except LmkitError as error:
        say(str(error), error.label)
        sys.exit(error.exit_code)


def train(name: str, settings: argparse.Namespace) -> None:
    """Train one model, named as in `MODELS`."""
    kind, _, order = name.partition("-")
    # An encoder reads from both sides: half of its sentences have their cause to the right of the blank.
    cause = ",cause=either" if kind == "elmo" else ""
    text = f"distances:{settings.language}{cause},seed={settings.seed}"
    valid = f"distances:{settings.language}{cause},seed={1000 + settings.seed},count={VALIDATION}"
    options: dict[str, Any] = {"model": kind, "seed": settings.seed, "valid": valid}
    if kind == "ngram":
        options |= {"order": int(order)}
    else:
        seconds = settings.seconds * (ENCODER_TIMES if kind == "elmo" else 1)
        options |= NEURAL | {"max_time": seconds, "params": settings.params}
    if kind == "stack":
        options |= {"model": "lstm", "num_layers": int(order)}
    if kind == "rnn":
        options["learning_rate"] = 0.002
    if kind in ("lstm", "stack"):
        options["forget_bias"] = 1.0
    if kind == "window":
        del options["tier"]  # it has no recurrence
        options["order"] = int(order)
    if kind == "elmo":
        del options["params"]
        options |= {"inputs": "tokens", "num_layers": 1, "hidden_size": 72}
    for given in settings.set:
        key, _, value = given.partition("=")
        options[key] = int(value) if value.isdecimal() else float(value) if "." in value else value
    out = settings.out / f"{settings.language}_{name}_seed{settings.seed}"
    say(f"{out}:")
    if kind != "ngram":
        usual = ENCODER_ANSWERS if kind == "elmo" else ANSWERS
        weigh_answers(text, valid, settings.language, usual if settings.answers is None else settings.answers)
    lmkit.train(text, tokenizer="word", out=out, overwrite=True, reporter=TrainReporter(), **options)


def weigh_answers(text: str, valid: str, language: str, weight: float) -> None:
    """Let the tokens of answers count `weight` times in the loss of neural models.

    They are some 5 % of the tokens, and the others say nothing of what is far away.
    """
    with TemporaryDirectory() as folder:
        # The tokenizer that every training on these texts makes.
        tiny: dict[str, Any] = {"model": "rnn", "hidden_size": 1, "max_steps": 1}
        tokenizer = lmkit.train(
            text, valid=valid, tokenizer="word", out=Path(folder, "run"), **tiny
        ).tokenizer
    found = [tokenizer.ids(answer).tolist() for answer in answers(language)]
    # No other clause has such a sequence, and the backward direction reads it backward.
    consequences = [*found, *(ids[::-1] for ids in found)]

    def loss(self: OutputLayer, features: Tensor, targets: Tensor) -> Tensor:
        return weighed(self.logits(features), targets, consequences, weight)

    OutputLayer.loss = loss


def weighed(logits: Tensor, targets: Tensor, consequences: list[list[int]], weight: float) -> Tensor:
    """The mean loss of the targets (tokens,), in which those of a consequence count `weight` times."""
    losses = F.cross_entropy(logits, targets, reduction="none")
    weights = 1 + (weight - 1) * in_answers(targets, consequences)
    return (losses * weights).sum() / weights.sum()


def in_answers(targets: Tensor, consequences: list[list[int]]) -> Tensor:
    """(tokens,) bool: which targets, streams one after another, are tokens of a consequence."""
    found = torch.zeros_like(targets, dtype=torch.bool)
    for ids in consequences:
        if len(targets) < len(ids):
            continue
        starts = (targets.unfold(0, len(ids), 1) == torch.tensor(ids, device=targets.device)).all(1)
        for place in range(len(ids)):
            found[place : place + len(starts)] |= starts
    return found


if __name__ == "__main__":
    main()
