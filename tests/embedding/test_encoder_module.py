"""An encoder within somebody's network."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lmkit.contracts import Encoder
from lmkit.embedding.module import EncoderModule
from lmkit.errors import UsageError


class WordLengths(Encoder):
    """An encoder that is no module."""

    num_layers, width = 1, 1  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def embed(self, sentences: Sequence[str] | Sequence[Sequence[str]]) -> list[Tensor]:
        return [torch.tensor([[[float(len(word))] for word in sentence]]) for sentence in sentences]

    def save(self, directory: Path) -> None: ...

    @classmethod
    def load(cls, directory: Path, options: Any, vocabulary: Any) -> "WordLengths":
        return cls()


SENTENCES = [["the", "cat", "sat"], [], ["a"]]


@pytest.mark.parametrize("name", ["gru", "elmo"])
def test_a_padded_batch_and_its_mask(trained_model, name: str) -> None:
    """Vectors are those of `Model.embed`, padded with zeros; the mask says where they are."""
    model = trained_model(name)
    vectors, mask = EncoderModule(model)(SENTENCES)
    assert mask.tolist() == [[True] * 3, [False] * 3, [True, False, False]]
    assert vectors.shape == (3, 3, model.encoder.width)
    for rows, own, wanted in zip(vectors, mask, model.embed(SENTENCES, "mix"), strict=True):
        assert torch.allclose(rows[own], wanted, atol=1e-6)
        assert not rows[~own].any()
    every = EncoderModule(model, mix=False)
    vectors, mask = every(["the cat"])
    assert torch.allclose(vectors[0], model.embed(["the cat"])[0].transpose(0, 1).flatten(1), atol=1e-6)
    assert every.width == vectors.shape[-1]
    assert [part.shape for part in every([])] == [(0, 0, every.width), (0, 0)]


def frozen_and_free(model, trainable: bool) -> dict[str, bool]:
    """Which parameters an update changes, in a network with a linear layer on top."""
    module = EncoderModule(copy.deepcopy(model.encoder), trainable=trainable)
    network = nn.ModuleDict({"encoder": module, "top": nn.Linear(module.width, 2)})
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.5, weight_decay=0.1)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    vectors, mask = module(["the cat sat on the mat", "a dog"])
    network["top"](vectors)[mask].square().sum().backward()
    optimiser.step()
    return {name: not torch.equal(p, before[name]) for name, p in network.named_parameters()}


@pytest.mark.parametrize("name", ["gru", "elmo"])
def test_frozen_or_trained(trained_model, name: str) -> None:
    """The mix and what is above it learn always, the encoder only when it is trainable."""
    for trainable in (False, True):
        changed = frozen_and_free(trained_model(name), trainable)
        assert changed["encoder.mix.weights"]
        assert changed["top.weight"]
        inside = [moved for key, moved in changed.items() if key.startswith("encoder.encoder.")]
        assert any(inside) == trainable


def test_a_frozen_encoder_stays_in_evaluation_mode(trained_model) -> None:
    """Its dropout stays off in training; a trainable one's is on."""
    encoder = copy.deepcopy(trained_model("elmo").encoder)
    module = EncoderModule(encoder)
    nn.Sequential(module).train()
    assert module.training
    assert not encoder.training
    assert torch.equal(module(["the cat"])[0], module(["the cat"])[0])
    EncoderModule(encoder, trainable=True).train()
    assert encoder.training


def test_state_dict(trained_model) -> None:
    """Mix and encoder are in it, and a network loaded from it gives the same bits."""
    first = EncoderModule(copy.deepcopy(trained_model("gru").encoder))
    with torch.no_grad():
        first.mix.weights.copy_(torch.tensor([1.0, 2.0, 3.0]))  # pyright: ignore[reportOptionalMemberAccess]
        first.encoder.model.embedding.weight.mul_(2)  # pyright: ignore[reportAttributeAccessIssue]
    second = EncoderModule(copy.deepcopy(trained_model("gru").encoder))
    assert not torch.equal(first(["the cat"])[0], second(["the cat"])[0])
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(["the cat"])[0], second(["the cat"])[0])


def test_an_encoder_that_is_no_module_cannot_be_trained() -> None:
    """It is a UsageError to ask; frozen, it works."""
    module = EncoderModule(WordLengths())
    assert module([["the", "cats"]])[0].shape == (1, 2, module.width)
    with pytest.raises(UsageError, match="WordLengths is not a torch module"):
        EncoderModule(WordLengths(), trainable=True)
