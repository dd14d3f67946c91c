"""Small models, and the libraries of the extra `onnx`."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from lmkit.contracts import Vocabulary
from lmkit.options import choose
from lmkit.recurrence import NeuralLanguageModel

Make = Callable[..., NeuralLanguageModel]


@pytest.fixture(scope="session")
def onnx() -> Any:
    """The library, with onnxruntime; a test that needs it is skipped without them."""
    pytest.importorskip("onnxruntime", reason="needs the extra onnx: pip install '.[onnx]'")
    return pytest.importorskip("onnx", reason="needs the extra onnx: pip install '.[onnx]'")


@pytest.fixture(scope="session")
def make() -> Make:
    """make(model="recurrent", **options): a model with random weights over 11 tokens, ready to be read."""

    def made(model: str = "recurrent", **options: Any) -> NeuralLanguageModel:
        torch.manual_seed(0)
        chosen = choose("model", {"name": model, "hidden_size": 8, **options}, "test")
        found: NeuralLanguageModel = chosen.load()(chosen.options, Vocabulary(11, 0, 1, "eleven"))
        for weight in found.parameters():
            torch.nn.init.uniform_(weight, -0.7, 0.7)
        return found.eval()

    return made
