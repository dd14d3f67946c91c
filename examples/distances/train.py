"""Trains models of one size on the distance task, for `lmkit distances`, `lmkit fill` and `lmkit context`.

python examples/distances/train.py OUT [--language zh] [--seed 1] [--models ngram-8,rnn,gru,lstm,elmo]
    [--seconds 125] [--params 100k] [--answers 1]

Each model's run is OUT/LANGUAGE_MODEL_seedSEED. A neural model trains for some seconds of one core.
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
from lmkit.recurrence import NeuralLanguageModel
from lmkit.states import State

MODELS = "ngram-5,ngram-8,ngram-11,window-13,rnn,gru,lstm,elmo"

NEURAL: dict[str, Any] = {
    "batch_size": 32,
    "bptt": 128,
    "learning_rate": 0.005,
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
        "--answers", type=float, default=1, help="how much an answer's tokens weigh in the loss"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="OPTION=X", help="an option of training"
    )
    settings = parser.parse_args()
    torch.set_num_threads(1)
    try:
        if settings.answers != 1:
            text = f"distances:{settings.language},seed={settings.seed}"
            weigh_answers(text, settings.language, settings.answers)
        for model in settings.models.split(","):
            train(model, settings)
    except LmkitError as error:
        say(str(error), error.label)
        sys.exit(error.exit_code)


def train(name: str, settings: argparse.Namespace) -> None:
    """Train one model, named as in `MODELS`."""
    kind, _, order = name.partition("-")
    text = f"distances:{settings.language},seed={settings.seed}"
    options: dict[str, Any] = {"model": kind, "seed": settings.seed}
    if kind == "ngram":
        options = {"model": kind, "order": int(order)}
    else:
        options |= NEURAL | {"max_time": settings.seconds, "params": settings.params}
        for given in settings.set:
            key, _, value = given.partition("=")
            options[key] = int(value) if value.isdecimal() else float(value) if "." in value else value
    if kind == "window":
        options["order"] = int(order)
    if kind == "elmo":
        # Half of the sentences have their cause to the right of the blank.
        text += ",cause=either"
        del options["params"]
        options |= {"inputs": "tokens", "num_layers": 1, "hidden_size": 72}
    out = settings.out / f"{settings.language}_{name}_seed{settings.seed}"
    say(f"{out}:")
    lmkit.train(text, tokenizer="word", out=out, overwrite=True, reporter=TrainReporter(), **options)


def weigh_answers(text: str, language: str, weight: float) -> None:
    """Let the tokens of answers count `weight` times in the loss of causal neural models.

    They are some 5 % of the tokens, and the others say nothing of what is far away.
    """
    with TemporaryDirectory() as folder:
        # The tokenizer that every training on this text makes.
        tokenizer = lmkit.train(
            text, tokenizer="word", model="rnn", hidden_size=1, max_steps=1, out=Path(folder, "run")
        ).tokenizer
    consequences = [tokenizer.ids(answer).tolist() for answer in answers(language)]

    def window_loss(
        self: NeuralLanguageModel,
        inputs: Tensor,
        targets: Tensor,
        state: State,
        *,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        features, state = self.features(inputs, state, reset=reset)
        losses = F.cross_entropy(self.output.logits(features).transpose(1, 2), targets, reduction="none")
        weights = 1 + (weight - 1) * in_answers(targets, consequences)
        return (losses * weights).sum() / weights.sum(), state

    NeuralLanguageModel.window_loss = window_loss


def in_answers(targets: Tensor, consequences: list[list[int]]) -> Tensor:
    """(batch, time) bool: which targets are tokens of a consequence; no other clause has such a sequence."""
    found = torch.zeros_like(targets, dtype=torch.bool)
    for ids in consequences:
        if targets.shape[1] < len(ids):  # the last window of a stream may be short
            continue
        windows = targets.unfold(1, len(ids), 1)
        starts = (windows == torch.tensor(ids, device=targets.device)).all(2)
        for place in range(len(ids)):
            found[:, place : place + starts.shape[1]] |= starts
    return found


if __name__ == "__main__":
    main()
