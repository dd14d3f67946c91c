"""Count how often each way to compare candidates ranks the right one first: python measure.py RUN..."""

import argparse
import json
from pathlib import Path

import lmkit.api
from lmkit.evaluation.fill import fill
from lmkit.evaluation.normalization import NORMALIZATIONS

SENTENCES = Path(__file__).parent / "cloze.jsonl"


def sentences(language: str) -> list[dict]:
    """The sentences of a language: text with a blank, candidates and the answer."""
    with SENTENCES.open(encoding="utf-8") as lines:
        return [item for item in map(json.loads, lines) if item["language"] == language]


def right(model: lmkit.api.Model, items: list[dict], normalize: str) -> int:
    """How many sentences have their answer ranked first."""
    return sum(
        fill(
            model.directions, model.tokenizer, item["text"], item["candidates"], normalize=normalize
        ).candidates[0]
        == item["answer"]
        for item in items
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--language", choices=("en", "zh"), default="en")
    arguments = parser.parse_args()
    items = sentences(arguments.language)
    print("| run |", " | ".join(NORMALIZATIONS), "| of |")
    print("|---|" + "--:|" * (len(NORMALIZATIONS) + 1))
    for run in arguments.runs:
        model = lmkit.load(run)
        counts = [right(model, items, normalize) for normalize in NORMALIZATIONS]
        print(f"| {Path(run).name} |", " | ".join(map(str, counts)), f"| {len(items)} |", flush=True)


if __name__ == "__main__":
    main()
