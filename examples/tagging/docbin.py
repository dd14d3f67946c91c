"""Writes the treebank for spaCy: train.spacy with a random subset of its training part, dev.spacy and test.spacy.

python examples/tagging/docbin.py TREEBANK OUT [--size 1000] [--seed 0]

A document is a sentence, its words apart by spaces, with the universal tags in `token.tag`.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import spacy
from spacy.tokens import Doc, DocBin
from treebank import Sentence, read_part, subset


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("treebank", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=1000, help="sentences to train on")
    parser.add_argument("--seed", type=int, default=0, help="seed of the subset")
    settings = parser.parse_args()
    settings.out.mkdir(parents=True, exist_ok=True)
    train = subset(read_part(settings.treebank, "train"), settings.size, settings.seed)
    write(settings.out / "train.spacy", train)
    for part in ("dev", "test"):
        write(settings.out / f"{part}.spacy", read_part(settings.treebank, part))


def write(path: Path, sentences: Iterable[Sentence]) -> None:
    """The sentences as documents of spaCy."""
    vocab = spacy.blank("en").vocab
    docs = (Doc(vocab, list(one.words), tags=list(one.tags)) for one in sentences)
    DocBin(attrs=["ORTH", "SPACY", "TAG"], docs=docs).to_disk(path)


if __name__ == "__main__":
    main()
