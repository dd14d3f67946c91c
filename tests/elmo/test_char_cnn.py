"""The character encoder: spelling, tables in place of convolutions, vectors of words alone, and their cache."""

import copy
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_elmo.char_cnn import ROWS, CharacterEncoder
from lmkit_elmo.characters import BOS_ROW, EOS_ROW, occupied, spelled
from lmkit_elmo.words import WordVectors
from torch import Tensor

WORDS = [
    "the",
    "a",
    "",
    "cat",
    "x" * 60,
    "naïve",
    "日本語のとても長い言葉であり続けるもの",
    "a\ud800b",
    "<S>",
    "the",
]


def encoder(**options: Any) -> CharacterEncoder:
    torch.manual_seed(1)
    table: dict[str, Any] = {
        "embedding_size": 5, "filters": [(1, 3), (2, 4), (7, 6)], "num_highways": 2, "width": 8, **options
    }  # fmt: skip
    return CharacterEncoder(**table)


def plain(model: CharacterEncoder, rows: Tensor) -> Tensor:
    """The network as the papers write it, over every position."""
    embedding = torch.cat([torch.zeros_like(model.embedding[:1]), model.embedding])
    x = F.embedding(rows, embedding).transpose(1, 2)
    pooled = [
        F.conv1d(x, weight.permute(2, 1, 0), bias).max(2).values
        for weight, bias in zip(model.filters, model.biases, strict=True)
    ]
    y = model.activation(torch.cat(pooled, 1))
    for highway in model.highways:
        weight, bias = highway.linear.weight.chunk(2), highway.linear.bias.chunk(2)  # pyright: ignore
        gate = torch.sigmoid(y @ weight[0].t() + bias[0])
        y = gate * torch.relu(y @ weight[1].t() + bias[1]) + (1 - gate) * y
    return model.projection(y)


def test_spelling() -> None:
    """A word is its begin, at most 48 bytes, its end and padding, all plus one; boundaries are words of one id."""
    rows = spelled(["a", "", "é" * 40, "\ud800"])
    assert rows.shape == (4, 50)
    assert rows[0].tolist() == [259, ord("a") + 1, 260, *[261] * 47]
    assert rows[1].tolist() == [259, 260, *[261] * 48]
    assert rows[2].tolist() == [259, *[0xC3 + 1, 0xA9 + 1] * 24, 260]
    assert rows[3].tolist() == rows[1].tolist()
    assert BOS_ROW[:4].tolist() == [259, 257, 260, 261]
    assert EOS_ROW[:4].tolist() == [259, 258, 260, 261]
    assert occupied(rows).tolist() == [3, 2, 50, 2]
    assert spelled([]).shape == (0, 50)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("options", [{}, {"num_highways": 0}, {"width": 13, "project": False}])
@torch.no_grad()
def test_equals_convolutions(activation: str, options: dict[str, Any]) -> None:
    """The tables and the trimming change nothing but rounding."""
    model = encoder(activation=activation, **options)
    wanted = plain(model, spelled(WORDS))
    torch.testing.assert_close(model(spelled(WORDS)), wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.embed_words(WORDS), wanted, rtol=1e-5, atol=1e-6)


def test_gradients() -> None:
    """Every weight gets the gradient that convolution and maximum give it."""
    model = encoder().double()
    rows = spelled(WORDS)
    wish = torch.randn(len(WORDS), model.width, dtype=torch.float64)
    weights = list(model.parameters())
    wanted = torch.autograd.grad((plain(model, rows) * wish).sum(), weights)
    found = torch.autograd.grad((model.embed_rows(rows) * wish).sum(), weights)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


@torch.no_grad()
def test_without_kernel() -> None:
    """Where no kernel runs, as in half precision or on a GPU, the same is computed by torch alone."""
    model = encoder()
    found = copy.deepcopy(model).bfloat16().embed_words(WORDS)
    torch.testing.assert_close(found.float(), model.embed_words(WORDS), rtol=0.1, atol=0.1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=2 * ROWS + 5), st.randoms(use_true_random=False))
@torch.no_grad()
def test_same_bits_in_any_company(words: list[str], chance: Any) -> None:
    """A word's vector has the same bits alone, among others, and in any order."""
    model = encoder()
    whole = model.embed_words(words)
    order = list(range(len(words)))
    chance.shuffle(order)
    assert torch.equal(model.embed_words([words[i] for i in order]), whole[order])
    for i in order[:2]:
        assert torch.equal(model.embed_words([words[i]])[0], whole[i])


@pytest.mark.parametrize("most_words", [1, 3, 8, 1000])
@torch.no_grad()
def test_cache_gives_the_same_bits(most_words: int) -> None:
    """However little is remembered, and whatever came before, the vectors are the encoder's."""
    model = encoder()
    vectors = WordVectors(model, most_words)
    generator = torch.Generator().manual_seed(2)
    for _ in range(30):
        words = [WORDS[i] for i in torch.randint(len(WORDS), (4,), generator=generator)]
        assert torch.equal(vectors(words), model.embed_words(words))
    for _ in range(2):
        assert torch.equal(vectors.boundaries(), model.embed_rows(torch.stack([BOS_ROW, EOS_ROW])))
    assert vectors([]).shape == (0, model.width)


def test_cache_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A distinct word is computed once, until weights change or it is the one longest unused."""
    model, seen = encoder(), []
    embed = model.embed_rows
    monkeypatch.setattr(model, "embed_rows", lambda rows: (seen.append(len(rows)), embed(rows))[1])
    vectors = WordVectors(model, 3)
    for words in (["a", "b", "a"], ["b", "a", "c"], ["d", "a"], ["b"]):
        vectors(words)
    assert seen == [2, 1, 1, 1]  # "d" took the place of "b", "b" that of "c"
    with torch.no_grad():
        model.biases[0].add_(1)
        assert torch.equal(vectors(["a"]), embed(spelled(["a"])))
    assert seen == [2, 1, 1, 1, 1]
    assert not vectors(["a"]).requires_grad


def test_cache_in_and_out_of_inference_mode() -> None:
    """What was remembered in inference mode serves outside of it, and the other way round."""
    vectors = WordVectors(encoder())
    with torch.inference_mode():
        first = vectors(["a", "b"])
    second = vectors(["b", "c"])
    assert torch.equal(first[1], second[0])


def test_copies_begin_empty() -> None:
    """A deep copy reads its own encoder's weights; a pickled one can be made."""
    model = torch.nn.Module()
    model.encoder = encoder()
    model.words = WordVectors(model.encoder)
    model.words(["a"])
    other = copy.deepcopy(model)
    assert other.words.encoder is other.encoder
    assert torch.equal(pickle.loads(pickle.dumps(model.words))(["a"]), model.words(["a"]))


def test_optimisers_are_noticed() -> None:
    """After a step of an optimiser, fused ones too, or new weights nothing old is given."""
    model = encoder()
    vectors = WordVectors(model)
    for make in (torch.optim.SGD, lambda p: torch.optim.AdamW(p, fused=True), torch.optim.Adagrad):
        vectors(["a"])
        optimiser = make(model.parameters())
        model.embed_words(["a"]).sum().backward()
        optimiser.step()
        with torch.no_grad():
            assert torch.equal(vectors(["a"]), model.embed_words(["a"]))
    model.load_state_dict(encoder().state_dict(), assign=True)
    with torch.no_grad():
        assert torch.equal(vectors(["a"]), encoder().embed_words(["a"]))
