"""Check the text of the first model: the share of its words in the training text, and spans copied from it.

lmkit train --model gru --out runs/first
python benchmarks/first_run.py runs/first
"""

import argparse
from pathlib import Path

from lmkit import load
from lmkit.recipe import build, read_recipe
from lmkit.training.text import open_texts

LONGEST = 20
"""Length in tokens of the spans that must not be copies."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--num", type=int, default=50, help="texts to generate")
    parser.add_argument("--max-tokens", type=int, default=100)
    parser.add_argument("--temperature", type=float, default=0.8)
    settings = parser.parse_args()

    recipe = build(read_recipe(settings.run / "recipe.toml"))
    text, _ = open_texts(recipe, validates=True)
    lines = [line.text for line in text]
    words = {word for line in lines for word in line.split()}
    model = load(settings.run)
    eos = model.tokenizer.vocabulary.eos_id
    tokens = [token for line in lines for token in (*model.tokenizer.ids(line).tolist(), eos)]
    seen = {tuple(tokens[i : i + LONGEST]) for i in range(len(tokens) - LONGEST + 1)}

    texts = model.generate(
        num=settings.num, max_tokens=settings.max_tokens, temperature=settings.temperature, seed=1
    )
    said = [word for text in texts for word in text.text.split()]
    copied = 0
    for entry in texts:
        ids = [t for line in entry.text.split("\n") for t in (*model.tokenizer.ids(line).tolist(), eos)]
        copied += sum(tuple(ids[i : i + LONGEST]) in seen for i in range(len(ids) - LONGEST + 1))
    known = sum(word in words for word in said)
    print(f"{known / len(said):.1%} of {len(said):,} words generated are in the training text")
    print(f"{copied} spans of {LONGEST} tokens are copies")
    print(texts[0].text)


if __name__ == "__main__":
    main()
