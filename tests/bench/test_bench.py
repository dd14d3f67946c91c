"""Guards the measurements of `lmkit plugins bench`: what each figure is, and the table and picture of all."""

import json
import math
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from lmkit.bench import bench, recall
from lmkit.bench.language import Learned, write_parts
from lmkit.bench.recall import DISTANCES, SYMBOLS, Recall, questions, units_for
from lmkit.bench.speed import peak_memory
from lmkit.cli import cli
from lmkit.errors import DataError, UsageError
from lmkit.recurrence import Cell
from lmkit.states import State

LINES = [f"line {number} of a text about cats and dogs, told again" for number in range(2000)]


class Forgetful(Cell):
    """A cell whose output is its input alone, so that it recalls nothing."""

    def __init__(self, input_size: int, hidden_size: int, options: None = None) -> None:
        super().__init__(input_size, hidden_size, options)
        self.inner = nn.Linear(input_size, hidden_size)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.inner.weight.new_zeros(batch_size, 1)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return torch.tanh(self.inner(x)), state


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


def test_the_symbol_is_as_far_back_as_asked() -> None:
    """One symbol in each row, at its distance from the last token; all other tokens are no symbols."""
    distances = torch.tensor([1, 3, 7])
    ids, answers = questions(distances, 8, torch.Generator().manual_seed(0))
    is_symbol = ids < SYMBOLS
    assert is_symbol.sum(1).tolist() == [1, 1, 1]
    assert (7 - is_symbol.int().argmax(1)).tolist() == distances.tolist()
    assert ids[is_symbol].tolist() == answers.tolist()


def test_the_horizon_ends_at_the_first_distance_that_is_forgotten() -> None:
    """Distances behind it do not count, whatever their accuracy."""
    rest = (1.0,) * (len(DISTANCES) - 3)
    assert Recall((1.0, 0.9, 0.89, *rest)).horizon == DISTANCES[1]
    assert Recall((0.5, 1.0, 1.0, *rest)).horizon == 0
    assert Recall((1.0,) * len(DISTANCES)).horizon == DISTANCES[-1]


def test_networks_of_the_task_have_equal_parameters() -> None:
    """A cell with fewer weights per unit gets more units."""

    def parameters(cell: str) -> int:
        return sum(weight.numel() for weight in recall.RecallNetwork(cell, units_for(cell)).parameters())

    assert units_for("lstm") == recall.UNITS
    for cell in ("rnn", "gru", "min-gru"):
        assert parameters(cell) == pytest.approx(parameters("lstm"), rel=0.02)


def test_the_peak_counts_what_is_held_at_one_time() -> None:
    """Memory that is free again is not counted twice, and a view is no memory."""

    def run() -> None:
        for _ in range(3):
            kept = torch.zeros(1000)
            both = kept.view(10, 100).t(), kept + 1
            del kept, both

    assert peak_memory(run) == 2 * 4000


def test_figures_of_a_training() -> None:
    """Bits at a time lie between two validations; the gradient reaches until it is small."""
    one = Learned(8, 100, (10, 20), (1.0, 3.0), (4.0, 2.0), (1.0, 0.5, 0.09, 0.5))
    assert one.bits_at(2.0) == 3.0
    assert one.reach == 2


def test_parts_of_a_text_do_not_overlap(tmp_path: Path) -> None:
    """A tenth of the blocks is held out; a text without such a block is refused."""
    train, valid = (path.read_text().splitlines() for path in write_parts(LINES, tmp_path, 40))
    assert valid == [line for number, line in enumerate(LINES) if number // 100 % 10 == 9][: len(valid)]
    assert not set(train) & set(valid)
    with pytest.raises(DataError, match="fewer than 901 lines"):
        write_parts(LINES[:900], tmp_path, 40)


def test_a_bench_of_a_class(text: Path) -> None:
    """All figures of a cell of one's own: as many trainings as seeds, about the wanted parameters, every tier."""
    found = bench(
        {"mine": Forgetful}, str(text), usual=False, params="20k", max_steps=10, recall_steps=2, seeds=2
    )
    mine = found.cells["mine"]
    assert [one.tier for one in mine.speeds] == list(Forgetful.tiers())
    assert all(min(one.forward, one.training, one.memory) > 0 for one in mine.speeds)
    assert len(mine.learned) == len(mine.recalls) == 2
    assert mine.learned[0].bits != mine.learned[1].bits
    for one in mine.learned:
        assert one.parameters == pytest.approx(20_000, rel=0.05)
        assert one.tokens[-1] == 10 * 2048
        assert one.bits[-1] < math.log2(256)
    assert mine.recalls[0].horizon == 0
    assert max(map(len, "\n".join(map("  ".join, found.table().rows)).splitlines())) <= 80


def test_the_command(text: Path, tmp_path: Path) -> None:
    """JSON holds what the table shows, and the picture is written."""
    pytest.importorskip("matplotlib")
    picture = tmp_path / "bench.png"
    line = [
        "plugins",
        "bench",
        "min-gru",
        "--no-usual",
        "--text",
        str(text),
        "--params",
        "20k",
        "--seeds",
        "1",
    ]
    line += ["--max-steps", "10", "--recall-steps", "1", "--plot", str(picture), "--json"]
    result = CliRunner().invoke(cli, line)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert list(figures["cells"]) == ["min-gru"]
    assert len(figures["cells"]["min-gru"]["recalls"][0]["accuracies"]) == len(figures["distances"])
    assert figures["max_steps"] == 10
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_unknown_cells_and_empty_lists_are_refused_at_once() -> None:
    """Before anything is trained: what is missing, and the nearest name."""
    with pytest.raises(UsageError, match="min-gru"):
        bench(["min-gruu"])
    with pytest.raises(UsageError, match="no cell given"):
        bench([], usual=False)
