"""The measurements of a set of cells, over several seeds, and their table."""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lmkit.bench import language, recall
from lmkit.bench.language import Learned, learn, lines_of, write_parts
from lmkit.bench.recall import DISTANCES, Recall
from lmkit.bench.speed import Speed, speeds
from lmkit.contracts import Progress
from lmkit.devices import pick_device
from lmkit.errors import UsageError
from lmkit.evaluation.tables import Table
from lmkit.recurrence.stack import cell_maker
from lmkit.studies.inputs import usual_progress

USUAL = ("rnn", "lstm", "gru")
"""The cells beside which others are measured."""


@dataclass(frozen=True)
class Measured:
    """What was measured of one cell: by tier, and once for each seed."""

    speeds: list[Speed]
    learned: list[Learned]
    recalls: list[Recall]


@dataclass(frozen=True)
class Bench:
    """What was measured of cells, by name. settings: the arguments of `bench`."""

    cells: dict[str, Measured]
    settings: dict[str, Any]

    @property
    def seconds(self) -> float:
        """The processor time of the shortest training, in seconds, after which all are compared."""
        return min(one.seconds[-1] for cell in self.cells.values() for one in cell.learned)

    def table(self) -> Table:
        """A row for each cell, with means and standard deviations over seeds."""
        rows = []
        for name, cell in self.cells.items():
            rows.append(
                [
                    name,
                    str(cell.learned[0].units),
                    _spread([one.bits[-1] for one in cell.learned], 3),
                    _spread([one.bits_at(self.seconds) for one in cell.learned], 3),
                    _spread([one.seconds[-1] for one in cell.learned], 1),
                    _range([one.horizon for one in cell.recalls], DISTANCES[-1]),
                    _range([one.reach for one in cell.learned], len(cell.learned[0].gradient)),
                ]
            )
        first = next(iter(self.cells.values())).learned[0]
        note = (
            f"bits/byte of held-out text after {first.tokens[-1]:,} tokens and after {self.seconds:.1f} s of "
            f"processor time, with about {self.settings['params']} parameters. recall: the distance up to which "
            f"{100 * recall.RIGHT:.0f} percent of symbols are remembered after {self.settings['recall_steps']} steps "
            f"on distances of 1 to {recall.FARTHEST}. gradient: the steps back over which it keeps "
            f"{100 * language.SMALL:.0f} percent. Seeds: {self.settings['seeds']}."
        )
        header = ["cell", "units", "bits/byte", "same time", "train s", "recall", "gradient"]
        return Table(header, rows, note=note)

    def tiers(self) -> Table:
        """A row for each tier of each cell."""
        rows = [
            [name, one.tier, f"{one.forward:.1f}", f"{one.training:.1f}", f"{one.memory / 1000:.1f}"]
            for name, cell in self.cells.items()
            for one in cell.speeds
        ]
        header = ["cell", "tier", "forward µs", "training µs", "kB"]
        note = "per token; training: forward and backward; kB: the most that both hold at one time"
        return Table(header, rows, left=2, note=note)

    def to_json(self) -> dict[str, Any]:
        """All figures as JSON values."""
        return {
            **self.settings,
            "same_time": self.seconds,
            "distances": list(DISTANCES),
            "cells": {name: asdict(cell) for name, cell in self.cells.items()},
        }


def bench(
    cells: Mapping[str, Any] | Sequence[str],
    text: str | Sequence[str] = "pydocs",
    *,
    usual: bool = True,
    params: str = "300k",
    max_steps: int = 300,
    recall_steps: int = 500,
    seeds: int = 3,
    threads: int = 1,
    device: str = "auto",
    progress: Progress = usual_progress,
) -> Bench:
    """Measure cells at equal parameters, beside an RNN, an LSTM and a GRU unless `usual` is False.

    cells: names, or names and classes of cells by label. text: where bytes to learn come from. params: parameters of
    each byte model, as in `train`. max_steps: windows of 2,048 bytes that each model learns from. recall_steps:
    windows of the recall task. seeds: trainings of each cell, with the seeds 0, 1, ... threads: of a CPU.
    """
    named = dict(cells) if isinstance(cells, Mapping) else {name: name for name in cells}
    named |= {name: name for name in USUAL if usual and name not in named}
    if not named:
        raise UsageError("no cell given; give the name of one, or several")
    for one in named.values():
        cell_maker(one)  # reports unknown names at once
    texts = [text] if isinstance(text, str) else list(text)
    place, before = str(pick_device(device)), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with tempfile.TemporaryDirectory() as folder:
            parts = write_parts(lines_of(texts), Path(folder), max_steps)
            learned: dict[str, list[Learned]] = {name: [] for name in named}
            recalls: dict[str, list[Recall]] = {name: [] for name in named}
            trainings = [(seed, name, cell) for seed in range(seeds) for name, cell in named.items()]
            for seed, name, cell in progress(trainings, total=len(trainings), label="cells and seeds"):
                out = Path(folder, f"run-{seed}-{list(named).index(name)}")
                learned[name].append(
                    learn(cell, parts, out, params=params, steps=max_steps, seed=seed, device=device)
                )
                recalls[name].append(recall.recall(cell, steps=recall_steps, seed=seed, device=place))
        units = {name: learned[name][0].units for name in named}
        layers = {name: cell_maker(cell)(units[name], units[name]) for name, cell in named.items()}
        measured = speeds(layers, device=place)
    finally:
        torch.set_num_threads(before)
    settings = {
        "text": texts, "params": params, "max_steps": max_steps, "recall_steps": recall_steps, "seeds": seeds,
        "threads": threads, "device": place, "torch": str(torch.__version__),
    }  # fmt: skip
    return Bench({name: Measured(measured[name], learned[name], recalls[name]) for name in named}, settings)


def _spread(values: Sequence[float], digits: int) -> str:
    """The mean, and the standard deviation of several values."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def _range(values: Sequence[int], most: int) -> str:
    """The least and the most of the values; with a plus sign where nothing farther was measured."""
    ends = dict.fromkeys((min(values), max(values)))
    return " to ".join(f"{value}+" if value >= most else str(value) for value in ends)
