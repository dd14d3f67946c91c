"""Small encoders: states of causal models, and the bidirectional one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import lmkit
from lmkit.api import Model

LINES = ["the cat sat on the mat", "a dog lay by the door", "", "in the tree, by the house, a bird sang"]


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """More threads only wait for each other here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("embedding") / "text.txt"
    path.write_text("\n".join(LINES * 20) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="package")
def trained_model(text: Path):
    """trained_model(model, tokenizer="word", **options): a model of two steps, each made once."""
    made: dict[str, Model] = {}

    def train(model: str, tokenizer: str = "word", **options: Any) -> Model:
        key = repr((model, tokenizer, sorted(options.items())))
        if key not in made:
            sizes = {"hidden_size": 8, "num_layers": 2, "batch_size": 2, "bptt": 8, "max_steps": 2}
            out = text.parent / f"run-{len(made)}"
            settings: dict[str, Any] = {**sizes, **options, "device": "cpu"}
            made[key] = lmkit.train(text, model=model, tokenizer=tokenizer, out=out, **settings)
        return made[key]

    return train
