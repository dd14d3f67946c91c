"""The classic sequence classifier: a recurrent stack of any cell, and a linear layer on its last state.

`python classify.py negative.txt positive.txt --cell gru` reads a text for each class, a sentence a line with white
space between words, keeps a tenth of the lines to choose the epoch and a tenth to test, and prints the accuracy on
them after every epoch.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit.errors import LmkitError
from lmkit.recurrence import Recurrent

PAD, UNKNOWN = 0, 1
"""Ids that no word has: what fills up a batch, and words that were not learned."""

Example = tuple[list[str], int]
"""The words of a line and its class."""


class Classifier(nn.Module):
    """Scores of classes for sentences of words, from the last state of a stack or from all its states pooled."""

    def __init__(self, vocabulary: int, classes: int, settings: argparse.Namespace) -> None:
        super().__init__()
        self.pool = settings.pool
        self.dropout = settings.dropout
        self.embedding = nn.Embedding(vocabulary, settings.embedding_size)
        self.stack = Recurrent(
            settings.embedding_size, settings.hidden_size, settings.num_layers, cell=settings.cell,
            dropout=settings.dropout,
        )  # fmt: skip
        self.linear = nn.Linear(self.stack.output_size, classes)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """(batch, classes) scores of ids (batch, time), padded on the right, of which lengths (batch,) count."""
        vectors = F.dropout(self.embedding(ids), self.dropout, self.training)
        states, _ = self.stack(vectors)  # (batch, time, features)
        return self.linear(F.dropout(pooled(states, lengths, self.pool), self.dropout, self.training))


def pooled(states: Tensor, lengths: Tensor, how: str) -> Tensor:
    """(batch, features) of states (batch, time, features): "last", "mean" or "max" of each row's own steps.

    Of rows of one length "last" is `states[:, -1]`; elsewhere the last step of a short row has read padding.
    """
    if how == "last":
        return states[torch.arange(len(states)), lengths - 1]
    inside = (torch.arange(states.shape[1]) < lengths[:, None])[..., None]  # (batch, time, 1)
    if how == "max":
        return torch.where(inside, states, -torch.inf).amax(1)
    return torch.where(inside, states, 0).sum(1) / lengths[:, None]


def read(paths: Sequence[Path]) -> list[Example]:
    """The lines of one file for each class; empty lines are left out."""
    lines = ((path.read_text(encoding="utf-8").splitlines(), label) for label, path in enumerate(paths))
    return [(words, label) for texts, label in lines for text in texts if (words := text.split())]


def split(examples: Sequence[Example], seed: int) -> tuple[list[Example], list[Example], list[Example]]:
    """Eight tenths to train, one to choose the epoch, one to test, at random."""
    shuffled = random.Random(seed).sample(examples, len(examples))
    tenth = max(1, len(shuffled) // 10)
    return shuffled[2 * tenth :], shuffled[:tenth], shuffled[tenth : 2 * tenth]


def words_to_ids(examples: Sequence[Example], min_count: int) -> dict[str, int]:
    """An id for every word that occurs in the examples at least `min_count` times."""
    counts = Counter(word for words, _ in examples for word in words)
    known = [word for word, count in counts.items() if count >= min_count]
    return {word: place for place, word in enumerate(known, UNKNOWN + 1)}


def batches(examples: Sequence[Example], ids: dict[str, int], size: int) -> Iterator[tuple[Tensor, ...]]:
    """ids (batch, longest) padded on the right, lengths (batch,) and classes (batch,)."""
    for first in range(0, len(examples), size):
        part = examples[first : first + size]
        rows = [torch.tensor([ids.get(word, UNKNOWN) for word in words]) for words, _ in part]
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
        yield padded, torch.tensor([len(row) for row in rows]), torch.tensor([label for _, label in part])


def by_length(examples: Sequence[Example], size: int) -> list[Example]:
    """The examples in an order by which batches hold lines of like lengths, in an order of their own by chance."""
    ordered = sorted(random.sample(examples, len(examples)), key=lambda example: len(example[0]))
    parts = [ordered[first : first + size] for first in range(0, len(ordered), size)]
    return [example for part in random.sample(parts, len(parts)) for example in part]


def train_epoch(
    model: Classifier, optimizer: torch.optim.Optimizer, data: Iterator[tuple[Tensor, ...]]
) -> float:
    """One pass over the batches; the mean loss of a line, in nats."""
    model.train()
    total = lines = 0
    for ids, lengths, labels in data:
        loss = F.cross_entropy(model(ids, lengths), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total, lines = total + loss.item() * len(labels), lines + len(labels)
    return total / lines


@torch.no_grad()
def accuracy(model: Classifier, data: Iterator[tuple[Tensor, ...]]) -> float:
    """The share of lines whose class has the highest score."""
    model.eval()
    right = torch.cat([model(ids, lengths).argmax(1) == labels for ids, lengths, labels in data])
    return float(right.float().mean())


def main(arguments: Sequence[str] | None = None) -> None:
    settings = parsed(arguments)
    random.seed(settings.seed)
    torch.manual_seed(settings.seed)
    train, valid, test = split(read(settings.files), settings.seed)
    ids = words_to_ids(train, settings.min_count)
    size = settings.batch_size
    model = Classifier(len(ids) + 2, len(settings.files), settings)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.lr)
    print(
        f"{len(train)} lines to train, {len(valid)} to choose the epoch, {len(test)} to test; {len(ids)} words"
    )
    best = (0.0, 0.0, 0)
    start = time.monotonic()
    for epoch in range(1, settings.epochs + 1):
        loss = train_epoch(model, optimizer, batches(by_length(train, size), ids, size))
        found = accuracy(model, batches(valid, ids, size)), accuracy(model, batches(test, ids, size)), epoch
        best = max(best, found, key=lambda one: one[0])
        seconds = time.monotonic() - start
        print(
            f"epoch {epoch}: loss {loss:.3f}, valid {found[0]:.1%}, test {found[1]:.1%}, {seconds:.0f} s",
            flush=True,
        )
    print(f"the best epoch on valid is {best[2]}: valid {best[0]:.1%}, test {best[1]:.1%}")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The settings of the command line."""
    parser = argparse.ArgumentParser(
        description="Train a classifier of lines on the states of a recurrent stack."
    )
    parser.add_argument("files", nargs="+", type=Path, help="a text for each class, a line an example")
    parser.add_argument("--cell", default="gru", help="any cell of `lmkit plugins list`")
    parser.add_argument("--pool", default="last", choices=["last", "mean", "max"], help="what is classified")
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--embedding-size", type=int, default=128)
    parser.add_argument("--num-layers", type=int, default=1)
    parser.add_argument(
        "--dropout", type=float, default=0.5, help="on embeddings, between layers, on the states"
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--lr", type=float, default=1e-3, help="of Adam")
    parser.add_argument("--min-count", type=int, default=2, help="rarer words are unknown")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        main()
    except LmkitError as error:  # such as a cell that nobody has registered
        sys.exit(str(error))
