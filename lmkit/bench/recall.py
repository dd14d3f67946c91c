"""The recall task: a symbol, then any number of other tokens, then the question which symbol it was."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit.neural.sizes import solve_hidden_size
from lmkit.recurrence import Recurrent
from lmkit.recurrence.stack import CellLike

SYMBOLS = 8
OTHERS = 8
"""The kinds of tokens that may be asked for, and of those between."""
EMBEDDING = 16
UNITS = 64
"""The units of an LSTM that has as many parameters as each network of the task."""
FARTHEST = 100
"""The largest distance in training; the smallest is 1."""
DISTANCES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""The distances of the test, some of them farther than any in training."""
ROWS = 32
TEST_ROWS = 256
RATE = 0.004
CLIP_NORM = 1.0
RIGHT = 0.9
"""The accuracy from which a distance counts as remembered; guessing has 1 / SYMBOLS."""


@dataclass(frozen=True)
class Recall:
    """The accuracy at each of DISTANCES after training."""

    accuracies: tuple[float, ...]

    @property
    def horizon(self) -> int:
        """The largest distance up to which all are remembered; 0: none is."""
        reached = 0
        for distance, accuracy in zip(DISTANCES, self.accuracies, strict=True):
            if accuracy < RIGHT:
                break
            reached = distance
        return reached


class RecallNetwork(nn.Module):
    """An embedding, one layer of a cell, and a softmax over the symbols after the last token."""

    def __init__(self, cell: CellLike, units: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS + OTHERS, EMBEDDING)
        self.layer = Recurrent(EMBEDDING, units, cell=cell)
        self.output = nn.Linear(self.layer.output_size, SYMBOLS)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (batch, time) to scores (batch, SYMBOLS)."""
        outputs, _ = self.layer(self.embedding(ids))
        return self.output(outputs[:, -1])


def recall(cell: CellLike, *, steps: int, seed: int, device: str = "cpu") -> Recall:
    """Train a network of a cell on distances of 1 to FARTHEST, and test it at each of DISTANCES."""
    dice = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = RecallNetwork(cell, units_for(cell)).to(device)
        optimiser = torch.optim.AdamW(network.parameters(), lr=RATE)
        for _ in range(steps):
            distances = torch.randint(1, FARTHEST + 1, (ROWS,), generator=dice)
            ids, answers = questions(distances, FARTHEST + 1, dice)
            loss = F.cross_entropy(network(ids.to(device)), answers.to(device))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
            optimiser.step()
    network.eval()
    return Recall(tuple(_accuracy(network, distance, device) for distance in DISTANCES))


@torch.no_grad()
def _accuracy(network: RecallNetwork, distance: int, device: str) -> float:
    dice = torch.Generator().manual_seed(distance)
    ids, answers = questions(torch.full((TEST_ROWS,), distance), max(distance, FARTHEST) + 1, dice)
    return float((network(ids.to(device)).argmax(-1).cpu() == answers).double().mean())


def questions(distances: Tensor, time: int, dice: torch.Generator) -> tuple[Tensor, Tensor]:
    """ids (rows, time), whose symbol is `distances` (rows,) steps before the last token, and the symbols (rows,)."""
    rows = len(distances)
    ids = torch.randint(SYMBOLS, SYMBOLS + OTHERS, (rows, time), generator=dice)
    answers = torch.randint(SYMBOLS, (rows,), generator=dice)
    ids[torch.arange(rows), time - 1 - distances] = answers
    return ids, answers


def units_for(cell: CellLike) -> int:
    """The units that give a network of the cell about the parameters of an LSTM of UNITS."""

    def count(cell: CellLike, units: int) -> int:
        with torch.device("meta"):
            return sum(weight.numel() for weight in RecallNetwork(cell, units).parameters())

    return solve_hidden_size(count("lstm", UNITS), lambda units: count(cell, units))
