"""Train small models in one, two and three processes: `python together.py RANK FOLDER`, three of them at a time.

Writes FOLDER/results-RANK.pt: by the name of a training and its number of processes, the losses, norms and weights.
"""

import sys
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from lmkit.contracts import Vocabulary
from lmkit.corpus.store import TokenStore
from lmkit.options import choose
from lmkit.training.checkpoint import Checkpoints
from lmkit.training.group import Group
from lmkit.training.loop import Trainer
from lmkit.training.metrics import Metrics
from lmkit.training.options import TrainOptions
from lmkit.training.processes import ALONE, Processes
from lmkit.training.report import Silent
from lmkit.training.snapshot import restore
from lmkit.training.validation import ValidationScore

VOCABULARY = Vocabulary(23, 0, 1, "together")
DROPOUT = {"dropout": 0.3, "hidden_size": 6, "num_layers": 2}
PENALTIES = {"word_dropout": 0.2, "weight_drop": 0.2, "activation_penalty": 2.0, "temporal_penalty": 1.0}


@dataclass(frozen=True)
class Case:
    """A training. model: its table. stop_at: the step at which the last process is asked to stop."""

    model: dict[str, Any]
    train: dict[str, Any] = field(default_factory=dict)
    weighted: bool = False
    stop_at: int | None = None
    processes: tuple[int, ...] = (1, 2, 3)


GRU = {"name": "recurrent", "cell": "gru", "reset": "never", **DROPOUT}
CASES = {
    "gru": Case({**GRU, **PENALTIES}),
    "lstm": Case(
        {**GRU, "cell": "lstm", "reset": "line", "locked": True}, {"optimizer": "sgd", "average": 0.9}
    ),
    "adaptive": Case({**GRU, "output": "adaptive", "tied": False, "cutoffs": (9, 20)}),
    "sampled": Case({**GRU, "output": "sampled", "samples": 5, "reset": "document"}),
    "mixture": Case({**GRU, "output": "mixture", "experts": 2}, weighted=True),
    "window": Case({"name": "window", "order": 3, **DROPOUT}, {"vary_bptt": True}),
    "elmo": Case({"name": "elmo", "inputs": "tokens", "samples": 0, **DROPOUT}),
    "elmo sampled": Case(
        {"name": "elmo", "inputs": "tokens", "samples": 5, "tied": False, **DROPOUT}, weighted=True
    ),
    "again": Case({**GRU, **PENALTIES}, processes=(2,)),
    "stopped": Case(GRU, stop_at=5, processes=(1, 2, 3)),
    "plateau": Case(GRU, {"schedule": "plateau", "valid_every": 2, "patience": 3, "asgd_trigger": 1}),
}


class Losses(Silent):
    """Collects the losses and norms of steps."""

    def __init__(self) -> None:
        self.found: list[tuple[float, float]] = []

    def step(self, step: int, **figures: Any) -> None:
        self.found.append((figures["loss"], figures["grad_norm"]))


def corpus(weighted: bool) -> TokenStore:
    random = np.random.default_rng(4)
    lines = [np.append(random.integers(1, VOCABULARY.size, random.integers(1, 9)), 0) for _ in range(60)]
    store = TokenStore.from_lines(lines, VOCABULARY)
    if weighted:
        store.weights = random.integers(0, 3, store.num_tokens).astype(np.float32)
    return store


def make_trainer(case: Case, processes: Processes, folder: Path | None = None) -> Trainer:
    """The trainer of a case, for four streams."""
    torch.manual_seed(5)
    chosen = choose("model", case.model, "model")
    model = chosen.load()(chosen.options, VOCABULARY)
    table = {"batch_size": 4, "bptt": 7, "max_steps": 12, "clip_norm": 0.02, "learning_rate": 0.05}
    options = TrainOptions(**{**table, **case.train})
    store = corpus(case.weighted)
    model.sample_from(torch.from_numpy(store.counts(VOCABULARY.size)))
    streams = model.streams(store, options.batch_size, options.bptt)
    if options.vary_bptt:
        streams.vary(3)
    losses = iter([3.0, 2.0, 2.5, 2.6, 1.9, 2.7, 2.8, 2.9])
    trainer = Trainer(
        model,
        streams,
        options,
        validation_tokens=10**6,
        validate=(lambda: ValidationScore(next(losses))) if "valid_every" in case.train else None,
        keep_best=lambda: None,
        metrics=Metrics(None),
        reporter=Losses(),
        checkpoints=Checkpoints(folder, keep=1, every=4) if folder else None,
    )
    trainer.share(processes)
    return trainer


def train(case: Case, processes: Processes) -> dict[str, Any]:
    trainer = make_trainer(case, processes)
    last = processes.rank == processes.count - 1
    trainer.run(
        stop_requested=lambda: last and case.stop_at is not None and trainer.state.step >= case.stop_at
    )
    return result(trainer)


def result(trainer: Trainer) -> dict[str, Any]:
    with trainer.weights_to_keep():
        weights = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    state = replace(trainer.state, seconds=0.0, cpu_seconds=0.0)
    steps = trainer.reporter.found  # pyright: ignore[reportAttributeAccessIssue]
    return {"steps": steps, "weights": weights, "state": vars(state), "stopped": trainer.stopped}


def resumed(folder: Path, processes: Processes) -> dict[str, Any]:
    """The training of the case "gru", from the checkpoint that two processes wrote."""
    trainer = make_trainer(CASES["gru"], ALONE)
    restore(trainer, Checkpoints(folder, keep=1, every=None).newest())
    trainer.share(processes)
    trainer.run()
    return result(trainer)


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    results: dict[Any, Any] = {}
    for count in (2, 3, 1):
        if rank >= count:
            continue
        processes = ALONE
        if count > 1:
            dist.init_process_group(
                "gloo", init_method=f"file://{folder}/meet{count}", rank=rank, world_size=count,
                timeout=timedelta(seconds=1200),
            )  # fmt: skip
            processes = Group()
        for name, case in CASES.items():
            if count in case.processes:
                results[name, count] = train(case, processes)
        if count == 2:
            make_trainer(CASES["gru"], processes, folder).run(stop_after=5)
            processes.lead(lambda: None)
        results["resumed", count] = resumed(folder, processes)
        results["ranks", count] = processes.rank
        if count > 1:
            dist.destroy_process_group()
    torch.save(results, folder / f"results-{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
