"""A causal model's states as vectors."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lmkit.api import Model
from lmkit.embedding.causal import WINDOW, CausalEncoder
from lmkit.errors import ModelError
from lmkit.testing import random_bigram


def test_vectors_are_the_states_after_each_token(trained_model) -> None:
    """Layer 0 is the embedding and the top layer is what predicts the next token, from the start of a text."""
    model = trained_model("gru")
    causal = model.causal
    ids = model.tokenizer.ids("the cat sat on").tolist()
    layers = model.embed(["the cat sat on"])[0]
    assert torch.allclose(layers[0], causal.embedding.weight[ids], atol=1e-6)
    with torch.no_grad():
        state = causal.initial_state(1)
        for token, vector in zip(ids, layers[-1], strict=True):
            state = causal.advance(torch.tensor([token]), state)
            assert torch.allclose(vector, state[0][0], atol=1e-6)


def test_each_sentence_begins_a_text_whatever_the_reset_policy(trained_model) -> None:
    """A model that carries its state over lines in training carries none here."""
    model = trained_model("gru", reset="never")
    first, second, again = model.embed(["the cat", "a dog", "the cat"])
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("tokenizer", ["word", "char", "byte", "sentencepiece"])
def test_a_word_is_its_last_token(trained_model, tokenizer: str) -> None:
    """The words of a list are read as the text that they make, and each is its last token in it."""
    options = {"vocab_size": 300} if tokenizer == "sentencepiece" else {}
    model = trained_model("gru", tokenizer, **options)
    text = "the naïve cat sat"
    (tokens,), (words,) = model.embed([text]), model.embed([text.split()])
    spans = model.tokenize(text)
    ends = [max(i for i, (start, _) in enumerate(spans) if start < end) for end in (3, 9, 13, 17)]
    assert torch.allclose(words, tokens[:, ends], atol=1e-6)


@pytest.mark.parametrize("tokenizer", ["word", "char"])
def test_blank_words_are_zeros_and_not_read(trained_model, tokenizer: str) -> None:
    """Rows align with words: one that is empty or white space has zeros and moves no other vector."""
    model = trained_model("gru", tokenizer)
    (plain,) = model.embed([["the", "cat"]])
    (gaps,) = model.embed([["", "the", " ", "\u3000", "cat", "\n"]])
    assert torch.equal(gaps[:, [1, 4]], plain)
    assert not gaps[:, [0, 2, 3, 5]].any()
    assert [v.shape for v in model.embed([["", " "], []])] == [(3, 2, 8), (3, 0, 8)]
    assert not model.embed([["", " "]])[0].any()


def test_layers_as_wide_as_the_top_one_are_kept(trained_model) -> None:
    """An encoder's layers have one width: those of another are left out."""
    for options, kept in (
        ({"hidden_size": [6, 4], "tied": False, "num_layers": None}, [0, 2]),
        ({"embedding_size": 5, "tied": False}, [1, 2]),
        ({}, [0, 1, 2]),
    ):
        encoder = trained_model("gru", **options).encoder
        assert isinstance(encoder, CausalEncoder)
        layers, _ = encoder.model.layer_features(torch.tensor([[1]]), encoder.model.blank_state(1))
        wanted = [layers[index] for index in kept]
        assert (encoder.num_layers, encoder.width) == (len(kept), wanted[0].shape[-1])
        assert len(layers) == 3


def test_a_model_of_features_alone_has_one_layer(trained_model) -> None:
    """Any neural model is an encoder: one that shows no layers has its features."""
    encoder = trained_model("window").encoder
    assert encoder.num_layers == 1
    assert encoder.embed(["the cat"])[0].shape == (1, 2, encoder.width)


def test_a_model_without_vectors_is_refused() -> None:
    """A model that is not neural has nothing to give; the error names the run and the model."""
    choice = SimpleNamespace(name="lmkit:ngram")
    run: Any = SimpleNamespace(model=random_bigram(), directory="runs/ngram", model_choice=choice)
    with pytest.raises(ModelError, match=r"runs/ngram holds a model without vectors \(lmkit:ngram\)"):
        Model(run).embed(["the cat"])


def test_long_sentences_are_read_in_windows(trained_model) -> None:
    """Windows carry the state: the vectors are those of the whole read at once."""
    model = trained_model("gru", "char")
    line = "the cat sat " * (WINDOW // 8)
    ids = torch.from_numpy(model.tokenizer.ids(line)).long()[None]
    with torch.no_grad():
        whole, _ = model.causal.layer_features(ids, model.causal.initial_state(1)[1])
    found, short = model.embed([line, "the"])
    assert torch.allclose(found, torch.stack(whole)[:, 0], atol=1e-6)
    assert short.shape[1] == 3


def test_spans_of_tokens(trained_model) -> None:
    """`Model.tokenize` has the characters of each vector."""
    assert trained_model("gru").tokenize("the  cat") == [(0, 3), (5, 8)]
    assert trained_model("gru").tokenize("") == []


def test_gradients_reach_the_weights(trained_model) -> None:
    """`Encoder.embed` cuts no gradient off."""
    encoder = trained_model("gru").encoder
    encoder.requires_grad_()  # the tests share the model, which an EncoderModule freezes
    encoder.zero_grad()
    encoder.embed([["the", "cat"]])[0].sum().backward()
    assert float(encoder.model.embedding.weight.grad.abs().sum()) > 0
    encoder.zero_grad()
