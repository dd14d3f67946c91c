"""What a cell learns of a text: bits per byte by tokens and by time, and how far back its gradient reaches."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmkit import run_paths
from lmkit.api import Model, train
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text
from lmkit.errors import DataError
from lmkit.evaluation.context import read_stream
from lmkit.evaluation.gradients import gradient_curves, targets
from lmkit.recurrence import NeuralLanguageModel
from lmkit.training.report import Silent

ROWS, STEPS = 32, 64
"""Streams and bytes of a window."""
VALID_BYTES = 20_000
BLOCK = 100
"""Lines that go to one part of the text together."""
VALIDATIONS = 8
WINDOWS = 16
"""Places of the text at which gradients are measured."""
SMALL = 0.1
"""A gradient reaches as far back as its norm is at least this share of that one step back."""


@dataclass(frozen=True)
class Learned:
    """A training: bits per byte of the validation text after numbers of tokens and seconds of processor time.

    gradient: median norms of the gradient of a loss by the state 1, 2, ... steps back, after training.
    """

    units: int
    parameters: int
    tokens: tuple[int, ...]
    seconds: tuple[float, ...]
    bits: tuple[float, ...]
    gradient: tuple[float, ...]

    def bits_at(self, seconds: float) -> float:
        """Bits per byte after this time, between two validations on a straight line."""
        return float(np.interp(seconds, self.seconds, self.bits))

    @property
    def reach(self) -> int:
        """The steps back up to which the gradient is not SMALL."""
        least = SMALL * self.gradient[0]
        return next((k for k, norm in enumerate(self.gradient) if norm < least), len(self.gradient))


def write_parts(text: Iterable[str], folder: Path, steps: int) -> tuple[Path, Path]:
    """train.txt, as much of the lines as `steps` windows read, and valid.txt: every tenth block of lines."""
    paths = folder / "train.txt", folder / "valid.txt"
    wanted, sizes = (steps * ROWS * STEPS, VALID_BYTES), [0, 0]
    with paths[0].open("w", encoding="utf-8") as first, paths[1].open("w", encoding="utf-8") as second:
        for number, line in enumerate(text):
            part = int(number // BLOCK % 10 == 9)
            if sizes[part] < wanted[part]:
                sizes[part] += (first, second)[part].write(f"{line}\n")
            elif sizes[1 - part] >= wanted[1 - part]:
                break
    if not sizes[1]:
        raise DataError(f"the text has fewer than {9 * BLOCK + 1:,} lines: give a longer one")
    return paths


def lines_of(texts: list[str]) -> Iterator[str]:
    """The lines of the texts, by their names on the command line."""
    return (line.text for line in Text(texts, DataOptions()))


def learn(
    model: Any, parts: tuple[Path, Path], out: Path, *, params: str, steps: int, seed: int, device: str
) -> Learned:
    """Train a byte model of a cell; `model` as in `lmkit.train`."""
    trained = train(
        parts[0], valid=parts[1], model=model, tokenizer="byte", params=params, batch_size=ROWS, bptt=STEPS,
        max_steps=steps, valid_every=-(-steps // VALIDATIONS), schedule="constant", seed=seed, threads=1,
        device=device, out=out, reporter=Silent(),
    )  # fmt: skip
    lines = (out / run_paths.METRICS).read_text(encoding="utf-8").splitlines()
    validations = [record for record in map(json.loads, lines) if "valid_loss" in record]
    causal = next(iter(trained.directions.values()))
    assert isinstance(causal, NeuralLanguageModel)
    return Learned(
        units=trained.run.model_choice.options.hidden_size,
        parameters=causal.parameter_count(),
        tokens=tuple(record["step"] * ROWS * STEPS for record in validations),
        seconds=tuple(record["cpu_seconds"] for record in validations),
        bits=tuple(record["valid_bits_per_byte"] for record in validations),
        gradient=_gradient(trained, causal, parts[1]),
    )


def _gradient(trained: Model, causal: NeuralLanguageModel, text: Path) -> tuple[float, ...]:
    stream = read_stream(causal, trained.tokenizer, Text([str(text)], DataOptions()))
    places, steps = targets(stream, windows=WINDOWS)
    return tuple(gradient_curves(causal, stream, places, steps).medians.tolist())
