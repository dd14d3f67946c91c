"""Makes the text that the encoder is trained on: novels, Wikipedia and the treebank's words, one sentence a line.

python examples/tagging/prepare.py DATA OUT [--without-treebank]

DATA holds en_novels, wikitext-2 and ud_english_ewt. OUT gets train.txt, its lines in random order, and valid.txt:
lines of the novels and articles that are kept for validation. Of the treebank only the words of its training part
are taken, no tag. All text is split into words as the treebank is.
"""

import argparse
import random
import re
from collections.abc import Iterator
from pathlib import Path

from splitting import sentences
from treebank import read_part

SEED = 1
HIDDEN = "\ufffd"
"""Stands for the words that WikiText-2 has as <unk>, so that they are one mark."""

VALID_LINES = 2000
"""Lines of valid.txt: enough for a perplexity to two digits, and soon read."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--without-treebank", action="store_true", help="leave out the treebank's words")
    settings = parser.parse_args()
    settings.out.mkdir(parents=True, exist_ok=True)
    train = list(raw_text(settings.data, "train"))
    if not settings.without_treebank:
        train += [
            " ".join(sentence.words) for sentence in read_part(settings.data / "ud_english_ewt", "train")
        ]
    write(settings.out / "train.txt", train)
    write(settings.out / "valid.txt", list(raw_text(settings.data, "valid")), VALID_LINES)


def raw_text(data: Path, part: str) -> Iterator[str]:
    """The sentences of the novels and articles of a part, their words apart."""
    novels = (data / "en_novels" / f"{part}.txt").read_text(encoding="utf-8")
    articles = (data / "wikitext-2" / f"{part}.txt").read_text(encoding="utf-8")
    for paragraph in [*novel_paragraphs(novels), *article_paragraphs(articles)]:
        for sentence in sentences(paragraph):
            # WikiText hides its rare words, half its sentences have one: English has no such word to learn.
            if HIDDEN not in sentence:
                yield " ".join(sentence)


def novel_paragraphs(text: str) -> Iterator[str]:
    """Paragraphs, which blank lines part, without the marks of italics; rows of stars are left out."""
    for paragraph in re.split(r"\n\s*\n", text.replace("_", "").replace("`", "'")):
        if any(c.isalpha() for c in paragraph):
            yield paragraph


def article_paragraphs(text: str) -> Iterator[str]:
    """Paragraphs and titles of WikiText as they were before its own splitting: "17 @-@ match", "1 @,@ 000"."""
    text = re.sub(r" @([-,.])@ ", r"\1", text).replace("<unk>", HIDDEN)
    text = re.sub(r"(?<=\w)n 't\b", "n't", text).replace(" '", "'")
    for line in text.split("\n"):
        if paragraph := line.strip(" ="):
            yield paragraph


def write(path: Path, lines: list[str], most: int | None = None) -> None:
    """The lines in random order, `most` of them at most."""
    random.Random(SEED).shuffle(lines)
    path.write_text("".join(f"{line}\n" for line in lines[:most]), encoding="utf-8")


if __name__ == "__main__":
    main()
