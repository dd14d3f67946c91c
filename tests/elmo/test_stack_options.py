"""The options of layers that the bidirectional encoder shares with the recurrent model, and what they do there."""

from dataclasses import fields
from typing import Any

import pytest
import torch
from lmkit_elmo.model import BiLM
from lmkit_elmo.options import BiLMOptions
from lmkit_recurrent.model import RecurrentLanguageModel
from lmkit_recurrent.model_options import RecurrentOptions
from torch import Tensor

from lmkit.contracts import Vocabulary
from lmkit.options import choose
from lmkit.recurrence import LayerOptions, Recurrent, StackOptions

VOCABULARY = Vocabulary(20, 0, 1, "test")
COMMON = {"cell": "lstm", "hidden_size": 6, "num_layers": 2, "residual": False, "dropout": 0.0}
VARIANTS: dict[str, dict[str, Any]] = {
    "norm layer": {"norm": "layer"},
    "norm rms": {"norm": "rms"},
    "weight drop": {"weight_drop": 0.5},
    "locked": {"dropout": 0.5, "locked": True},
    "cell clip": {"cell_clip": 0.02},
}


def encoder(**table: Any) -> BiLM:
    torch.manual_seed(0)
    options = choose("model", {"name": "elmo", "inputs": "tokens", **COMMON, **table}, "test").options
    return BiLM(options, VOCABULARY)


def recurrent(**table: Any) -> RecurrentLanguageModel:
    torch.manual_seed(1)
    options = choose("model", {"name": "recurrent", **COMMON, **table}, "test").options
    return RecurrentLanguageModel(options, VOCABULARY)


def outputs(stack: Recurrent, x: Tensor) -> Tensor:
    """What a stack gives in training, with the random numbers of one seed."""
    torch.manual_seed(2)
    return torch.stack(stack.train().layer_outputs(x)[0])


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_options_do_what_they_do_in_the_recurrent_model(options: dict[str, Any], backward: bool) -> None:
    """With the same weights, each direction gives the outputs of the recurrent model's layers."""
    stack, other = encoder(**options).stack(backward), recurrent(**options).stack
    other.load_state_dict(stack.state_dict())
    x = torch.randn(3, 7, 6)
    found = outputs(stack, x)
    torch.testing.assert_close(found, outputs(other, x))
    without = encoder(**{name: COMMON[name] for name in options if name in COMMON}).stack(backward)
    without.load_state_dict(stack.state_dict(), strict=False)
    assert not torch.equal(found, outputs(without, x))


@pytest.mark.parametrize("locked", [False, True])
def test_locked_dropout_of_the_inputs_and_outputs(locked: bool) -> None:
    """One mask holds for a window, as in the recurrent model; rows and directions have masks that differ."""
    dropped = encoder(dropout=0.5, locked=locked)._drop(torch.ones(2, 3, 40, 6))
    assert torch.equal(dropped, dropped[:, :, :1].expand_as(dropped)) is locked
    assert not torch.equal(dropped[0], dropped[1])
    assert not torch.equal(dropped[:, 0], dropped[:, 1])


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_vectors_and_training_work_with_them(options: dict[str, Any]) -> None:
    """Gradients reach every weight, and vectors are the same with other sentences around them."""
    from lmkit.corpus.readers import Text
    from lmkit.corpus.store import TokenStore

    chosen = choose("tokenizer", {"name": "word", "min_count": 1}, "test")
    lines = ["the cat sat", "a dog sat on the mat", "the dog"]
    tokenizer = chosen.load().fit(lines, chosen.options)
    table = {"name": "elmo", "inputs": "tokens", "tied": False, **COMMON, **options, "residual": True}
    model = BiLM(choose("model", table, "test").options, tokenizer.vocabulary)
    model.use_tokenizer(tokenizer)
    streams = model.train().streams(TokenStore.build(Text.from_lines(lines), tokenizer), 1, 20)
    model.step_loss(streams.window(0), model.blank_state(1))[0].backward()
    assert not [name for name, weight in model.named_parameters() if weight.grad is None]
    model.eval()
    with torch.no_grad():
        for line, found in zip(lines, model.embed(lines), strict=True):
            torch.testing.assert_close(found, model.embed([line])[0], rtol=0, atol=1e-6)


def test_options_of_layers_are_declared_once() -> None:
    """Both models inherit them; the encoder changes only the defaults that differ for it."""
    shared = {item.name for kind in (StackOptions, LayerOptions) for item in fields(kind)}
    assert not shared & vars(RecurrentOptions)["__annotations__"].keys()
    changed = shared & vars(BiLMOptions)["__annotations__"].keys()
    assert changed == {"hidden_size", "num_layers", "residual"}
