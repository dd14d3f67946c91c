"""Compare the vectors of an elmo run with a plain implementation of the same network, alternating in one process.

Plain: every occurrence of a word runs its 50 characters through the convolutions; batches of 32 sentences in order,
padded to the longest. It checks that both give the same vectors.

    python benchmarks/embedding.py runs/elmo en_novels/test.txt --lines 2000 --threads 1
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from lmkit_elmo.characters import BOS_ROW, EOS_ROW, spelled
from lmkit_elmo.model import BiLM
from lmkit_elmo.words import WordVectors
from torch import Tensor

import lmkit
from lmkit.api import Model
from lmkit.embedding.batches import embed_all

PLAIN_BATCH = 32
ALIKE = 1e-5
"""The largest allowed difference between two float32 computations, as a share of the largest number."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="of --model elmo, with --inputs characters")
    parser.add_argument("data", type=Path)
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)

    model = lmkit.load(settings.run, device="cpu")
    with settings.data.open(encoding="utf-8") as file:
        sentences = list(islice((line.split() for line in file if line.strip()), settings.lines))
    words = sum(map(len, sentences))
    sides = {"plain": lambda: plain(model, sentences), "lmkit": lambda: fresh(model, sentences)}
    checked = zip(sides["plain"](), sides["lmkit"](), strict=True)
    found = [((one - other).abs().max(), one.abs().max()) for one, other in checked]
    difference, largest = (float(torch.stack(values).max()) for values in zip(*found, strict=True))
    if difference > ALIKE * largest:
        raise SystemExit(f"the vectors differ by {difference:.1e}, the largest number being {largest:.1e}")
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(settings.rounds):
        for name, side in sides.items():
            seconds[name].append(timed(side))
    speed = {name: words / statistics.median(spent) for name, spent in seconds.items()}
    ratio = statistics.median(a / b for a, b in zip(seconds["plain"], seconds["lmkit"], strict=True))
    if settings.json:
        print(
            json.dumps(
                {
                    "words": words,
                    "words_per_second": speed,
                    "ratio": ratio,
                    "difference": difference,
                    "largest": largest,
                }
            )
        )
        return
    print(
        f"{words:,} words in {len(sentences):,} sentences, largest difference {difference:.1e} of {largest:.1e}"
    )
    for name, value in speed.items():
        print(f"{name:6} {value:10,.0f} words a second")
    print(f"ratio  {ratio:10.2f}")


def timed(side: Callable[[], Iterator[Tensor]]) -> float:
    """Seconds to compute all vectors, without keeping them."""
    begun = time.perf_counter()
    for _ in side():
        pass
    return time.perf_counter() - begun


def fresh(model: Model, sentences: list[list[str]]) -> Iterator[Tensor]:
    """lmkit's vectors, with an empty cache of words."""
    encoder = model.run.model
    assert isinstance(encoder, BiLM)
    encoder.inputs.words = WordVectors(encoder.inputs.encoder)
    yield from embed_all(encoder, sentences)


@torch.no_grad()
def plain(model: Model, sentences: list[list[str]]) -> Iterator[Tensor]:
    """(layers, words, features) of each sentence."""
    encoder = model.run.model
    assert isinstance(encoder, BiLM)
    for first in range(0, len(sentences), PLAIN_BATCH):
        batch = sentences[first : first + PLAIN_BATCH]
        longest = max(map(len, batch))
        rows = torch.zeros(len(batch), longest + 2, 50, dtype=torch.int64)
        backward = torch.zeros_like(rows)
        for place, sentence in enumerate(batch):
            own = torch.cat([BOS_ROW[None], spelled(sentence), EOS_ROW[None]])
            rows[place, : len(own)], backward[place, : len(own)] = own, own.flip(0)
        ahead = token_vectors(encoder, rows)
        behind = token_vectors(encoder, backward)
        forward_layers = encoder.forward_stack.layer_outputs(ahead)[0]
        backward_layers = encoder.backward_stack.layer_outputs(behind)[0]
        for place, sentence in enumerate(batch):
            own = slice(1, len(sentence) + 1)
            layers = [torch.cat([ahead[place, own], ahead[place, own]], 1)]
            for one, other in zip(forward_layers, backward_layers, strict=True):
                layers.append(torch.cat([one[place, own], other[place, own].flip(0)], 1))
            yield torch.stack(layers)


def token_vectors(encoder: BiLM, rows: Tensor) -> Tensor:
    """(batch, words, width) of (batch, words, 50) character ids, by torch's convolution."""
    cnn = encoder.inputs.encoder
    table = F.pad(cnn.embedding, (0, 0, 1, 0))
    characters = F.embedding(rows.flatten(0, 1), table).transpose(1, 2).contiguous()
    parts = [
        F.conv1d(characters, weight.permute(2, 1, 0), bias).amax(2)
        for weight, bias in zip(cnn.filters, cnn.biases, strict=True)
    ]
    x = cnn.activation(torch.cat(parts, 1))
    for highway in cnn.highways:
        x = highway(x)
    return cnn.projection(x).view(*rows.shape[:2], -1)


if __name__ == "__main__":
    main()
